"""Whether a state can be resumed under another configuration, and what becomes of it then.

Sources are matched by name. What follows from each change is in ``docs/slime.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from curriculum_learning.errors import CheckpointError
from curriculum_learning.groups.in_flight import listed, packed

Fingerprint = Mapping[str, Any]
"""What tells whether the rows of a source are the same: plain data, compared entry by entry."""

Grown = Callable[[str, Fingerprint], str | None]
"""Why the rows of a source do not begin with those of a fingerprint; None if they do."""

_SIZE = "n_samples_per_prompt"
_NAMES = "prompt_data_source_names"


class Change(NamedTuple):
    """One difference between a saved state and the configuration."""

    what: str
    """For a person."""
    key: str
    """The configuration key concerned."""
    source: str | None
    needs: str
    """The least ``on_source_change`` that accepts it."""


class Fit(NamedTuple):
    """What becomes of each source."""

    kept: dict[str, str]
    """The sources that go on where they were: their name now, and in the state."""
    restarted: dict[str, str]
    """The sources whose rows or order are others: they begin a new epoch."""
    notes: dict[str, str]
    """How a source has changed; those that have not are left out."""
    resized: bool
    """Groups have another number of samples."""
    changes: list[Change]


def check_fit(saved: Any, now: Mapping[str, Any]) -> None:
    """Whether a state is of this very configuration.

    Args:
        saved: The identity in the state: ``sources`` (fingerprints by name) and the settings that
            decide which prompt a position means.
        now: The same of the configuration.

    Raises:
        CheckpointError: They differ; the message says what to set.
    """
    for change in compare(saved, now, {}, None).changes:
        raise CheckpointError(
            f"{change.what}; resume with what the state was saved with",
            source=change.source,
            key=change.key,
        )


def compare(
    saved: Any, now: Mapping[str, Any], renamed_from: Mapping[str, str], grown: Grown | None
) -> Fit:
    """What has changed between the identity of a state and that of the configuration.

    Args:
        saved: As for ``check_fit``.
        now: As for ``check_fit``.
        renamed_from: The former names of sources.
        grown: Whether a source with another fingerprint has only got more rows; None: never.

    Raises:
        CheckpointError: ``saved`` is no identity.
    """
    try:
        before: dict[str, dict[str, Any]] = {k: dict(v) for k, v in saved["sources"].items()}
        settings = {key: (saved.get(key), value) for key, value in now.items() if key != "sources"}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"this is no state of a data source: {error!r}") from error
    fit = Fit({}, {}, {}, False, [])
    reordered: list[str] = []
    other: list[Change] = []
    for key, (old, new) in settings.items():
        if old == new:
            continue
        what = f"the state was saved with {key}={old}, the configuration has {new}"
        if key == _SIZE:
            fit = fit._replace(resized=True)
            other.append(Change(what, key, None, "adopt"))
        else:
            reordered.append(f"{key} {old} -> {new}")
            other.append(Change(what, key, None, "restart"))
    for name, fingerprint in now["sources"].items():
        old_name = name if name in before else renamed_from.get(name, name)
        if old_name not in before:
            fit.notes[name] = "added"
            what = f"source '{name}' is not among the sources of the state, {sorted(before)}"
            fit.changes.append(Change(what, _NAMES, name, "adopt"))
            continue
        notes = [f"renamed from {old_name}"] if old_name != name else []
        problem = _changed(name, before[old_name], fingerprint, grown)
        if problem is not None:
            what = f"source '{name}' is not what it was when the state was saved: {problem}"
            fit.changes.append(Change(what, "prompt_data", name, "restart"))
        elif before[old_name] != fingerprint:
            rows = [fp.get("served_rows", fp.get("rows")) for fp in (before[old_name], fingerprint)]
            notes.append(f"{rows[0]} -> {rows[1]} rows, from the next epoch on")
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
        fit.changes.append(Change(what, _NAMES, old_name, "adopt"))
    fit.changes.extend(other)
    return fit


def _changed(name: str, old: Fingerprint, new: Fingerprint, grown: Grown | None) -> str | None:
    """Why the rows that a position means are not the same any more."""
    different = [key for key in new if old.get(key) != new[key]]
    if not different:
        return None
    facts = ", ".join(f"{key} {old.get(key)!r} -> {new[key]!r}" for key in different)
    if grown is None:
        return facts
    problem = grown(name, old)
    return problem and f"{facts} ({problem})"


def refuse(changes: Sequence[Change], on_source_change: str) -> None:
    """Raise for the changes that ``on_source_change`` does not accept.

    Args:
        changes: What has changed.
        on_source_change: ``error``, ``adopt`` or ``restart``.
    """
    ranks = ("error", "adopt", "restart")
    refused = [c for c in changes if ranks.index(c.needs) > ranks.index(on_source_change)]
    if not refused:
        return
    needed = max((change.needs for change in refused), key=ranks.index)
    remedy = (
        "on_source_change: adopt (added sources begin, groups of removed ones are dropped, groups "
        "of another size are generated anew)"
        if needed == "adopt"
        else "on_source_change: restart (sources whose rows or order are others begin a new epoch)"
    )
    if any(change.key == _NAMES for change in refused):
        remedy += ", or renamed_from: {new: old} for a source that has only another name"
    raise CheckpointError(
        f"{'; '.join(change.what for change in refused)}. Resume with what the state was saved "
        f"with, or set {remedy}",
        source=refused[0].source,
        key=refused[0].key,
    )


def apply(state: Mapping[str, Any], fit: Fit, now: Mapping[str, Any]) -> dict[str, Any]:
    """The state that the configuration of now goes on with.

    Kept sources go on where they were, restarted ones begin their next epoch, added ones their
    first. Groups of sources that are not kept are dropped. Where groups have another size, all
    that are out are to be generated anew: the same ``group_index``, new sample ids.

    Args:
        state: What ``state_dict`` gave; it is not changed.
        fit: What ``compare`` gave.
        now: The identity of the configuration.
    """
    names = {old: new for new, old in fit.kept.items()}
    everywhere = {**names, **{old: new for new, old in fit.restarted.items()}}
    groups = dict(state["groups"])
    before = listed(groups["in_flight"])
    waiting, in_flight, presumed = (
        [[entry[0], names[entry[1]], *entry[2:]] for entry in entries if entry[1] in names]
        for entries in (state["waiting"], before, listed(groups["presumed"]))
    )
    # What there was of a removed source must not count for another one of its name.
    others = {old: old for old in state["identity"]["sources"] if old not in now["sources"]}
    groups["counts"] = {
        what: {
            {**others, **everywhere}[old]: count
            for old, count in counts.items()
            if old in others or old in everywhere
        }
        for what, counts in groups["counts"].items()
    }
    dropped = groups["counts"]["dropped"]
    for _, source, *_ in (*state["waiting"], *before):
        if source not in names:
            name = everywhere.get(source, source)
            if name in everywhere.values() or name not in now["sources"]:
                dropped[name] = dropped.get(name, 0) + 1
    partials = zip(state["generated_begun"], state["generated_data"], strict=True)
    generated = dict(zip(state["generated"], partials, strict=True))
    if fit.resized:
        generated, presumed = {}, []
        groups["size"] = now[_SIZE]
        for entry in (*in_flight, *waiting):
            entry[2] = groups["next_index"]
            groups["next_index"] += groups["size"]
    out = {entry[0] for entry in (*in_flight, *waiting)}
    generated = {group: partial for group, partial in generated.items() if group in out}
    return {
        **state,
        "identity": now,
        "mixture": {
            "adaptive": _adaptive(state["mixture"]["adaptive"], everywhere),
            "sources": _positions(state, fit, now),
        },
        "replacements": _by_source(state["replacements"], "sources", everywhere),
        "feedback": _by_source(state["feedback"], "rewards", everywhere),
        "groups": {**groups, "in_flight": packed(in_flight), "presumed": packed(presumed)},
        "waiting": waiting,
        "generated": list(generated),
        "generated_begun": [begun for begun, _ in generated.values()],
        "generated_data": [data for _, data in generated.values()],
    }


def _renamed(by_source: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(old, old): value for old, value in by_source.items()}


def _by_source(
    state: Mapping[str, Any] | None, key: str, names: Mapping[str, str]
) -> dict[str, Any] | None:
    """``state`` with what it has by source under ``key``; of sources that are gone nothing."""
    if state is None:
        return None
    there = {old: value for old, value in state[key].items() if old in names}
    return {**state, key: _renamed(there, names)}


def _adaptive(state: Mapping[str, Any] | None, names: Mapping[str, str]) -> dict[str, Any] | None:
    if state is None or state["in_force"] is None:
        return _by_source(state, "emas", names)
    return _by_source(_by_source(state, "emas", names), "in_force", names)


def _positions(state: Mapping[str, Any], fit: Fit, now: Mapping[str, Any]) -> dict[str, Any]:
    saved = state["mixture"]["sources"]
    positions: dict[str, dict[str, Any]] = {}
    for name, fingerprint in now["sources"].items():
        start = {"offset": 0, "rows": fingerprint["served_rows"], "order_name": name}
        if name in fit.kept:
            positions[name] = dict(saved[fit.kept[name]])
        elif name in fit.restarted:
            old = saved[fit.restarted[name]]
            identity = state["identity"]["sources"][fit.restarted[name]]
            same = identity.get("curriculum") == fingerprint["curriculum"]
            positions[name] = {
                "credit": old["credit"],
                "drawn": old["drawn"],
                "curriculum": old["curriculum"] if same else None,
                **start,
                # with intervals, each has an epoch of its own
                "epoch": max(place["epoch"] for place in old.get("intervals", [old])) + 1,
            }
        else:
            positions[name] = {"credit": 0, "drawn": 0, "epoch": 0, "curriculum": None, **start}
    # The credits sum to 0; what removed sources were owed, or owed, is shared by those there are.
    missing = -sum(position["credit"] for position in positions.values())
    share, rest = divmod(missing, len(positions))
    for number, position in enumerate(positions.values()):
        position["credit"] += share + (number < rest)
    return positions


def table(before: Mapping[str, Any], after: Mapping[str, Any], fit: Fit) -> str:
    """What is kept, dropped and restarted, a line for each source.

    Args:
        before: The state as it was saved.
        after: What ``apply`` made of it.
        fit: What ``compare`` gave.
    """
    positions = after["mixture"]["sources"]
    lines = [("source", "has changed", "goes on at", "waiting", "in flight")]
    for name in [*positions, *(name for name in fit.notes if name not in positions)]:
        old_name = fit.kept.get(name) or fit.restarted.get(name) or name
        place = positions.get(name)
        kept = "generated anew" if fit.resized else "kept"
        again = kept if before["groups"]["accounting"] else "not served again"
        outs = ((before["waiting"], kept), (listed(before["groups"]["in_flight"]), again))
        counts = [(sum(entry[1] == old_name for entry in out), fate) for out, fate in outs]
        lines.append(
            (
                name,
                fit.notes.get(name, "-"),
                "-"
                if place is None
                else f"{len(place['intervals'])} intervals"
                if "intervals" in place
                else f"epoch {place['epoch']}, {place['offset']} of {place['rows']} rows",
                *(
                    f"{n} {fate if name in fit.kept else 'dropped'}" if n else "0"
                    for n, fate in counts
                ),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
