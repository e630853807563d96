"""The states at the end of the latest rollouts: an engine may save a rollout later than it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from curriculum_learning.errors import CheckpointError
from curriculum_learning.state.files import AUTOSAVED_KEPT, Autosave

State = dict[str, Any]
Take = Callable[[], State]


class Snapshots:
    """Keeps the state at the end of each rollout, and has it written in the background.

    A rollout ends when it is logged; what comes back after that and before the next one begins is
    still of it.

    Not thread-safe: its owner locks.

    Where a method takes ``take``, it gives the state of now, which must not change any more.

    Args:
        autosave: Writes states in the background; None writes none.
    """

    def __init__(self, autosave: Autosave | None) -> None:
        self._autosave = autosave
        self._ended: dict[int, State] = {}
        self._logged: int | None = None
        """The rollout that was logged, as long as the next one has not begun."""
        self._changed = False

    def logged(self, rollout_id: int, take: Take) -> None:
        """Rollout ``rollout_id`` is over."""
        self._logged = rollout_id
        self._keep(rollout_id, take)

    def changed(self) -> None:
        """Groups have come back, or their fate was told."""
        self._changed = True

    def begin_rollout(self, take: Take, but: int | None = None) -> None:
        """Another rollout than ``but`` begins."""
        if self._logged is None or self._logged == but:
            return
        if self._changed:
            self._keep(self._logged, take)
        self._logged = None

    def at_end_of(self, rollout_id: int, take: Take) -> State:
        """The state at the end of a rollout, or that of now if it was not logged.

        Raises:
            CheckpointError: Later rollouts have ended since, and its state is not kept any more.
        """
        if rollout_id == self._logged and self._changed:
            self._keep(rollout_id, take)
        if self._ended and rollout_id < min(self._ended):
            raise CheckpointError(
                f"save: rollout {rollout_id} ended too long ago: its state is not there any more; "
                f"those of the rollouts {sorted(self._ended)} are",
                key="rollout_id",
                value=rollout_id,
            )
        return self._ended.get(rollout_id) or take()

    def _keep(self, rollout_id: int, take: Take) -> None:
        self._changed = False
        self._ended.pop(rollout_id, None)
        self._ended[rollout_id] = state = take()
        for old in list(self._ended)[:-AUTOSAVED_KEPT]:
            del self._ended[old]
        if self._autosave is not None:
            self._autosave.submit(rollout_id, state)

    def finish_writing(self) -> None:
        """Wait for what is being written in the background, and end its thread."""
        if self._autosave is not None:
            self._autosave.close()

    def resumed_after(self, rollout_id: int) -> None:
        """The run goes on after ``rollout_id``; files of later rollouts are another run's."""
        if self._autosave is not None:
            self._autosave.forget_later(rollout_id)

    def forget(self) -> None:
        """Another state has been loaded."""
        self._ended, self._logged, self._changed = {}, None, False
