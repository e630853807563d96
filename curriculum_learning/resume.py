"""Where the states of a run lie, and whether one of them fits the configuration of now."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curriculum_learning.checkpoint import read_state, write_state
from curriculum_learning.errors import CheckpointError

logger = logging.getLogger(__name__)

_FILE = "curriculum_learning_{}.state"


def saved_rollouts(folder: Path) -> list[int]:
    """The rollouts of which ``folder`` holds a state, ascending."""
    before, after = _FILE.split("{}")
    names = [path.name for path in (folder / "rollout").glob(_FILE.format("*"))]
    ids = [name.removeprefix(before).removesuffix(after) for name in names]
    return sorted(int(number) for number in ids if number.lstrip("-").isdigit())


def state_path(folder: Path, rollout_id: int) -> Path:
    """The file of the state of ``rollout_id``."""
    return folder / "rollout" / _FILE.format(rollout_id)


def save_state(folder: Path, rollout_id: int, state: Mapping[str, Any]) -> None:
    """Write the state of ``rollout_id``; raises as ``checkpoint.write_state``."""
    write_state(state_path(folder, rollout_id), {"rollout_id": rollout_id, **state})


def find_state(
    folder: Path | None, rollout_id: int | None, on_missing: str
) -> dict[str, Any] | None:
    """The state of ``rollout_id``, or of the newest rollout for None; None is a fresh start.

    Args:
        folder: Where states are saved; None where neither ``load`` nor ``save`` is set.
        rollout_id: The rollout to resume after; -1 is a fresh start if it has no state.
        on_missing: ``error`` or ``restart``: what a missing state of a rollout >= 0 is.

    Raises:
        CheckpointError: The state is missing, damaged or foreign.
    """
    saved = [] if folder is None else saved_rollouts(folder)
    if rollout_id is None:
        rollout_id = max(saved, default=-1)
    if folder is not None and rollout_id in saved:
        path = state_path(folder, rollout_id)
        logger.info("resuming from %s", path)
        return read_state(path)
    if rollout_id < 0:
        return None
    problem = f"there is no data source state for rollout {rollout_id}, which is being resumed: "
    if folder is None:
        problem += "neither load nor save is set"
    else:
        problem += (
            f"{state_path(folder, rollout_id)} does not exist; rollouts with a state there: "
            f"{saved or 'none'}"
        )
    if on_missing == "error":
        raise CheckpointError(
            f"{problem}. Resume from one of these, or set on_missing_state: restart to serve all "
            f"prompts from the beginning",
            key="load",
            value=str(folder),
        )
    frame = "!" * 80
    logger.warning(
        "\n%s\n%s.\nALL PROMPTS ARE SERVED FROM THE BEGINNING.\n%s", frame, problem, frame
    )
    return None


def check_fit(saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Whether a state can be resumed under a configuration.

    Args:
        saved: The identity in the state: ``sources`` (fingerprints by name) and the settings that
            decide which prompt a position means.
        now: The same of the configuration.

    Raises:
        CheckpointError: They differ; the message says what to set.
    """
    try:
        sources = dict(saved["sources"])
        settings = {key: (saved.get(key), value) for key, value in now.items() if key != "sources"}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"this is no state of a data source: {error!r}") from error
    if set(sources) != set(now["sources"]):
        raise CheckpointError(
            f"the state was saved with the sources {sorted(sources)}, the configuration has "
            f"{sorted(now['sources'])}; resume with the sources it was saved with",
            key="prompt_data_source_names",
            value=sorted(now["sources"]),
        )
    for name, present in now["sources"].items():
        before = sources[name]
        changed = [key for key in present if before.get(key) != present[key]]
        if changed:
            facts = ", ".join(f"{key} {before.get(key)!r} -> {present[key]!r}" for key in changed)
            raise CheckpointError(
                f"source '{name}' is not what it was when the state was saved: {facts}; resume "
                f"with the prompts it was saved with",
                source=name,
                key="prompt_data",
                value=present,
            )
    for key, (before, value) in settings.items():
        if before != value:
            raise CheckpointError(
                f"the state was saved with {key}={before}, the configuration has {value}; resume "
                f"with {key}={before}",
                key=key,
                value=value,
            )
