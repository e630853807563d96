"""Where the states of a run lie, and which of them a resume takes."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from curriculum_learning.errors import CheckpointError
from curriculum_learning.state.checkpoint import Stamp, read_state, stamp_of

logger = logging.getLogger(__name__)

PREFIX = "curriculum_learning_"
_SAVED, _AUTOSAVED = ".state", ".autosave"
ASIDE = "superseded-"
"""Folders of states that another branch of the run has superseded."""


@dataclasses.dataclass(frozen=True)
class StateFile:
    """A state that lies in a folder."""

    path: Path
    rollout_id: int
    autosaved: bool

    @functools.cached_property
    def stamp(self) -> Stamp | None:
        """Its stamp; None if that cannot be read: the file is damaged, or of another format."""
        return stamp_of(self.path)

    @property
    def age(self) -> tuple[bool, int, int]:
        """Sorts states from old to new; what cannot be read may be the newest."""
        if self.stamp is None:
            return True, 0, 0
        return False, self.stamp.counter, self.stamp.written_at


class Found(NamedTuple):
    """A state that was read."""

    state: dict[str, Any]
    counter: int
    """The counter of its stamp."""


def rollout_folder(folder: Path) -> Path:
    """Returns where the states of a ``save`` folder lie."""
    return folder / "rollout"


def state_path(folder: Path, rollout_id: int, *, autosaved: bool = False) -> Path:
    """Returns the file of a state."""
    suffix = _AUTOSAVED if autosaved else _SAVED
    return rollout_folder(folder) / f"{PREFIX}{rollout_id}{suffix}"


def states_in(folder: Path) -> list[StateFile]:
    """Lists the states in a ``save`` folder, by rollout."""
    states = []
    for path in rollout_folder(folder).glob(f"{PREFIX}*"):
        number = path.stem.removeprefix(PREFIX)
        if path.suffix in (_SAVED, _AUTOSAVED) and number.isdecimal():
            states.append(StateFile(path, int(number), path.suffix == _AUTOSAVED))
    return sorted(states, key=lambda state: (state.rollout_id, state.autosaved))


def saved_rollouts(folder: Path) -> list[int]:
    """Lists the rollouts that the engine has saved a state of, ascending."""
    return [state.rollout_id for state in states_in(folder) if not state.autosaved]


def find_state(
    folder: Path | None, rollout_id: int | None, on_missing: str, *, expected: bool = False
) -> Found | None:
    """Reads the state of ``rollout_id``, or the one saved last for None; None is a fresh start.

    Of a rollout that has been saved and autosaved, the newer state is taken, or the other one if
    that is damaged. For None only saved ones count: an engine that does not say which rollout its
    model is of can have a model no newer than its last save.

    Args:
        folder: Where states are saved; None where neither ``load`` nor ``save`` is set.
        rollout_id: The rollout to resume after; -1 is a fresh start if it has no state.
        on_missing: ``error`` or ``restart``: what a missing state of a rollout >= 0 is.
        expected: The folder is there to be resumed from: for None, too, a state must be in it.

    Raises:
        CheckpointError: The state is missing, damaged or foreign.
    """
    there = [] if folder is None else states_in(folder)
    if rollout_id is None:
        saved = _newest_first(state for state in there if not state.autosaved)
        twins = (state for state in there if state.autosaved and saved)
        found = [*saved[:1], *(twin for twin in twins if twin.rollout_id == saved[0].rollout_id)]
    else:
        found = _newest_first(state for state in there if state.rollout_id == rollout_id)
    if found:
        return _read_first(found)
    if (rollout_id is None and not expected) or rollout_id == -1:
        return None
    problem = _missing(folder, rollout_id, there)
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


def _newest_first(states: Iterable[StateFile]) -> list[StateFile]:
    """Sorts states by their counter; says so where the clock tells another order."""
    ordered = sorted(states, key=lambda state: state.age, reverse=True)
    stamped = [(state, state.stamp) for state in ordered if state.stamp is not None]
    if stamped:
        newest, stamp = stamped[0]
        latest, late = max(stamped, key=lambda pair: pair[1].written_at)
        if late.written_at > stamp.written_at:
            logger.warning(
                "%s was written later than %s by the clock, but before it by the count of the "
                "run's states: the clock has been set back, and the count is believed",
                latest.path, newest.path,
            )  # fmt: skip
    return ordered


def _read_first(states: list[StateFile]) -> Found:
    """Reads the first state that is intact; raises the error of the first one if none is."""
    problem: CheckpointError | None = None
    for file in states:
        path, rollout_id = file.path, file.rollout_id
        try:
            state = read_state(path)
            if not isinstance(state.get("rollout_id"), int):
                raise CheckpointError(
                    f"{path} does not say of which rollout it is: it was not saved by a data "
                    f"source",
                    key="load",
                    value=str(path),
                )
        except CheckpointError as error:
            problem = problem or error
            continue
        if problem is not None:
            logger.warning("%s. The other state of rollout %d is intact", problem, rollout_id)
        if file.autosaved:
            logger.info(
                "resuming from %s, which was written when rollout %d ended: the engine has not "
                "saved that rollout since",
                path, rollout_id,
            )  # fmt: skip
        else:
            logger.info("resuming from %s", path)
        return Found(state, 0 if file.stamp is None else file.stamp.counter)
    assert problem is not None
    raise problem


def _missing(folder: Path | None, rollout_id: int | None, there: list[StateFile]) -> str:
    """Says which state is missing, and what there is instead."""
    if rollout_id is None:
        autosaved = sorted({state.rollout_id for state in there})
        problem = f"load is {folder}, and there is no saved state in {folder}/rollout"
        if autosaved:
            problem += f"; load(rollout_id) takes the autosaved ones of rollouts {autosaved}"
        return problem
    problem = f"there is no data source state for rollout {rollout_id}, which is being resumed: "
    if folder is None:
        return problem + "neither load nor save is set"
    rollouts = sorted({state.rollout_id for state in there})
    problem += (
        f"{state_path(folder, rollout_id)} does not exist; rollouts with a state there: "
        f"{rollouts or 'none'}"
    )
    aside = sorted(path.name for path in rollout_folder(folder).glob(f"{ASIDE}*"))
    if aside:
        problem += f" (and states that a later resume has set aside, in {', '.join(aside)})"
    return problem
