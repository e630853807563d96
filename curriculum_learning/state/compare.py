"""Compares a saved state with the configuration: what changed, and whether a resume accepts it.

Sources are matched by name. ``docs/slime.md`` lists what each change means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from curriculum_learning.config.plan import CurriculumRecipe
from curriculum_learning.curricula import RowCurriculum
from curriculum_learning.errors import CheckpointError
from curriculum_learning.prompts.prompts import Prompts

Identity = Mapping[str, Any] | None
"""What identifies the curriculum of a source; None if it has none."""

Fingerprint = Mapping[str, Any]
"""Plain data that tells whether the rows of a source are the same, compared entry by entry."""

SIZE_KEY = "n_samples_per_prompt"
_CURRICULUM = "curriculum"
_NAMES_KEY = "prompt_data_source_names"
_ACCEPTED = ("error", "adopt", "restart")
"""The values of ``on_source_change``; each accepts what those before it accept."""


def identity_of_curriculum(
    recipe: CurriculumRecipe | None, curriculum: RowCurriculum | None
) -> dict[str, Any] | None:
    """Returns the entry ``curriculum`` of a fingerprint."""
    if recipe is None or curriculum is None:
        return None
    shape, kind = curriculum.identity(), type(curriculum).__qualname__
    key = None if shape is None else recipe.complexity_key
    return {"kind": kind, "shape": shape, "complexity_key": key}


class Change(NamedTuple):
    """A difference between a saved state and the configuration."""

    what: str
    """The difference, in words."""
    key: str
    """The configuration key concerned."""
    source: str | None
    needs: str
    """The least ``on_source_change`` that accepts it."""


class Fit(NamedTuple):
    """How a state fits the configuration."""

    kept: dict[str, str]
    """Sources that go on where they were: the name now, and in the state."""
    restarted: dict[str, str]
    """Sources with other rows or another order: they begin a new epoch."""
    other_rows: set[str]
    """The restarted sources whose rows are not those of the state."""
    notes: dict[str, str]
    """What changed, by source; unchanged sources are left out."""
    resized: bool
    """Whether groups have another number of samples."""
    changes: list[Change]


def check_fit(saved: Any, now: Mapping[str, Any]) -> None:
    """Checks that a state was saved with this very configuration.

    Args:
        saved: The identity in the state: ``sources`` (fingerprints by name) and the settings that
            decide which prompt a position means.
        now: The identity of the configuration.

    Raises:
        CheckpointError: They differ; the message says what to set.
    """
    for change in compare(saved, now, {}, {}).changes:
        raise CheckpointError(
            f"{change.what}; resume with what the state was saved with",
            source=change.source,
            key=change.key,
        )


def compare(
    saved: Any,
    now: Mapping[str, Any],
    renamed_from: Mapping[str, str],
    prompts: Mapping[str, Prompts],
) -> Fit:
    """Compares the identity of a state with the identity of the configuration.

    Args:
        saved: As for ``check_fit``.
        now: As for ``check_fit``.
        renamed_from: The former names of sources.
        prompts: The prompts of sources whose files may have grown.

    Raises:
        CheckpointError: ``saved`` is no identity.
    """
    try:
        before: dict[str, dict[str, Any]] = {k: dict(v) for k, v in saved["sources"].items()}
        settings = {key: (saved.get(key), value) for key, value in now.items() if key != "sources"}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"this is not a state of a data source: {error!r}") from error
    fit = Fit({}, {}, set(), {}, False, [])
    reordered: list[str] = []
    other: list[Change] = []
    for key, (old, new) in settings.items():
        if old == new:
            continue
        what = f"the state was saved with {key}={old}, the configuration has {new}"
        if key == SIZE_KEY:
            fit = fit._replace(resized=True)
            other.append(Change(what, key, None, "adopt"))
        else:
            reordered.append(f"{key} {old} -> {new}")
            other.append(Change(what, key, None, "restart"))
    renamed = {
        name: renamed_from[name]
        for name in now["sources"]
        if name not in before and renamed_from.get(name) in before
    }
    taken = set(renamed.values())  # a new source may have the former name of another one
    for name, fingerprint in now["sources"].items():
        old_name = renamed.get(name, name)
        if old_name not in before or (name in taken and name not in renamed):
            fit.notes[name] = "added"
            what = f"source '{name}' is not among the sources of the state, {sorted(before)}"
            fit.changes.append(Change(what, _NAMES_KEY, name, "adopt"))
            continue
        notes = [f"renamed from {old_name}"] if old_name != name else []
        problem = _changed(before[old_name], fingerprint, prompts.get(name))
        if problem is not None:
            what = f"source '{name}' is not what it was when the state was saved: {problem}"
            fit.changes.append(Change(what, "prompt_data", name, "restart"))
            if _has_other_rows(before[old_name], fingerprint, prompts.get(name)):
                fit.other_rows.add(name)
        else:
            notes += _harmless(before[old_name], fingerprint)
        if problem is not None or reordered:
            fit.restarted[name] = old_name
            notes.append(f"restarted: {problem or ', '.join(reordered)}")
        else:
            fit.kept[name] = old_name
        if notes:
            fit.notes[name] = "; ".join(notes)
    for old_name in before.keys() - {*fit.kept.values(), *fit.restarted.values()}:
        fit.notes[old_name] = "removed"
        what = f"source '{old_name}' of the state is not in the configuration"
        fit.changes.append(Change(what, _NAMES_KEY, old_name, "adopt"))
    fit.changes.extend(other)
    return fit


def _changed(old: Fingerprint, new: Fingerprint, prompts: Prompts | None) -> str | None:
    """Says why a position means other rows now; None if it means the same ones."""
    different = [key for key in new if old.get(key) != new[key]]
    if _may_change(old.get(_CURRICULUM), new.get(_CURRICULUM)):
        different = [key for key in different if key != _CURRICULUM]
    if not different:
        return None
    facts = ", ".join(f"{key} {old.get(key)!r} -> {new[key]!r}" for key in different)
    if prompts is None:
        return facts
    problem = _not_grown(old, new, prompts)
    return problem and f"{facts} ({problem})"


def _not_grown(old: Fingerprint, new: Fingerprint, prompts: Prompts) -> str | None:
    """Says why the rows do not begin with those of the state; None if they do."""
    before, now = old.get(_CURRICULUM), new[_CURRICULUM]
    if before != now and not _may_change(before, now):
        return "its curriculum is another"
    if _has_intervals(now):
        return "the intervals of its curriculum have other rows"
    return prompts.grown_from(old)


def _has_other_rows(old: Fingerprint, new: Fingerprint, prompts: Prompts | None) -> bool:
    same = all(old.get(key) == new[key] for key in new if key != _CURRICULUM)
    return not same and (prompts is None or prompts.grown_from(old) is not None)


def _may_change(old: Identity, new: Identity) -> bool:
    """Whether one curriculum may follow the other: of another kind, it starts anew."""
    kinds = [None if identity is None else identity["kind"] for identity in (old, new)]
    return kinds[0] != kinds[1] and not (_has_intervals(old) or _has_intervals(new))


def _has_intervals(identity: Identity) -> bool:
    """Whether positions are those of intervals."""
    return bool(identity and identity["shape"] and identity["shape"].get("focus_new_intervals"))


def _harmless(old: Fingerprint, new: Fingerprint) -> list[str]:
    """Returns notes of what changed although the source goes on where it was."""
    notes = []
    rows = [fingerprint.get("served_rows", fingerprint.get("rows")) for fingerprint in (old, new)]
    if rows[0] != rows[1]:
        notes.append(f"{rows[0]} -> {rows[1]} rows, from the next epoch on")
    if old.get(_CURRICULUM) != new.get(_CURRICULUM):
        notes.append("another curriculum")
    return notes


def refuse(changes: Sequence[Change], on_source_change: str) -> None:
    """Raises CheckpointError if ``on_source_change`` does not accept all changes."""
    accepted = _ACCEPTED.index(on_source_change)
    refused = [change for change in changes if _ACCEPTED.index(change.needs) > accepted]
    if not refused:
        return
    needed = max((change.needs for change in refused), key=_ACCEPTED.index)
    remedy = (
        "on_source_change: adopt (added sources begin, groups of removed ones are dropped, groups "
        "of another size are generated anew)"
        if needed == "adopt"
        else "on_source_change: restart (sources with other rows or another order begin a new "
        "epoch)"
    )
    if any(change.key == _NAMES_KEY for change in refused):
        remedy += ", or renamed_from: {new: old} for a source that has only another name"
    raise CheckpointError(
        f"{'; '.join(change.what for change in refused)}. Resume with what the state was saved "
        f"with, or set {remedy}",
        source=refused[0].source,
        key=refused[0].key,
    )
