"""Keeps the states at the end of the latest rollouts: an engine may save a rollout later."""

from __future__ import annotations

from typing import Any

from curriculum_learning.errors import CheckpointError
from curriculum_learning.state.files import AUTOSAVED_KEPT, Autosave

State = dict[str, Any]


class Snapshots:
    """Keeps the state at the end of each rollout, and writes it in the background.

    A rollout ends when it is logged. What comes back before the next one begins belongs to it
    still, and makes its snapshot ``outdated``.

    Not thread-safe: its owner locks.

    Args:
        autosave: Writes states in the background; None writes none.
    """

    def __init__(self, autosave: Autosave | None) -> None:
        self._autosave = autosave
        self._ended: dict[int, State] = {}
        self._logged: int | None = None
        """The rollout that was logged, until the next one begins."""
        self._changed = False

    def changed(self) -> None:
        """Notes that groups came back or were settled."""
        self._changed = True

    @property
    def outdated(self) -> int | None:
        """The rollout whose snapshot must be taken again, if there is one."""
        return self._logged if self._changed else None

    def begins(self, but: int | None = None) -> bool:
        """Whether a rollout other than ``but`` begins after a logged one."""
        return self._logged is not None and self._logged != but

    def begin_rollout(self) -> None:
        """Closes the logged rollout."""
        self._logged = None

    def keep(self, rollout_id: int, state: State) -> None:
        """Keeps the state at the end of a rollout; it must not change any more."""
        self._logged, self._changed = rollout_id, False
        self._ended.pop(rollout_id, None)
        self._ended[rollout_id] = state
        for old in list(self._ended)[:-AUTOSAVED_KEPT]:
            del self._ended[old]
        if self._autosave is not None:
            self._autosave.submit(rollout_id, state)

    def at_end_of(self, rollout_id: int) -> State | None:
        """Returns the state at the end of a rollout; None if it was not logged.

        Raises:
            CheckpointError: Later rollouts have ended since, and the state is gone.
        """
        if self._ended and rollout_id < min(self._ended):
            raise CheckpointError(
                f"save: rollout {rollout_id} ended too long ago and its state is gone; kept are "
                f"the states of rollouts {sorted(self._ended)}",
                key="rollout_id",
                value=rollout_id,
            )
        return self._ended.get(rollout_id)

    def finish_writing(self) -> None:
        """Waits for states that are being written, and ends the background thread."""
        if self._autosave is not None:
            self._autosave.close()

    def resumed_after(self, rollout_id: int) -> None:
        """Removes the autosaved states of later rollouts: they are of an abandoned run."""
        if self._autosave is not None:
            self._autosave.forget_later(rollout_id)

    def forget(self) -> None:
        """Forgets everything, because another state was loaded."""
        self._ended, self._logged, self._changed = {}, None, False
