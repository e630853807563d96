"""The data source of a service: it leaves the making of samples to the clients."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer
from curriculum_learning.groups.maker import GroupMaker
from curriculum_learning.groups.run import Report, Run
from curriculum_learning.groups.served import Partial, Served
from curriculum_learning.samples.sample import Group
from curriculum_learning.state.states import States


class ServedDataSource(MultipleWeightedRolloutDataSourceWithBuffer):
    """A data source that gives the first sample of a fresh group, as a plain namespace.

    The others differ in ``index`` only. Its errors go to the client that caused them.
    """

    def __init__(self, args: Any) -> None:
        super().__init__(args)
        self.run.fresh.maker = GroupMaker(SimpleNamespace, 1, self._prompts, self.run.mixture)

    @property
    def run(self) -> Run:
        """Everything between a draw and the reports on it."""
        return self._run

    @property
    def states(self) -> States:
        """The states at the end of the latest rollouts."""
        return self._states

    def raise_swallowed_error(self) -> None:
        """Raises nothing: no error is swallowed here."""

    def report(self, report: Report) -> None:
        """As ``observe``, with what a client has decided on the other groups of its rollout."""
        with self._lock:
            self._states.report(report)

    def give_back(
        self, groups: Sequence[Group], encoded: Sequence[bytes]
    ) -> list[tuple[int, Served, Partial]]:
        """As ``add_samples``, for groups whose bytes are known; see ``Circulation.give_back``."""
        with self._lock:
            back = self.run.groups.give_back(groups, encoded)
            self._states.changed()
            return back

    def waiting(self, group_indices: Collection[int]) -> list[tuple[int, Served, Partial | None]]:
        """Returns those of the groups that wait, oldest first, as ``give_back`` does."""
        waiting = (w for w in self.run.groups.buffers if w.group_index in group_indices)
        return [(w.group_index, w.served, w.partial) for w in waiting]

    def finds(self, rollout_id: int | None) -> bool:
        """Whether ``load`` goes to another state, a fresh one included."""
        if rollout_id not in (None, -1):
            return bool(self.config.sources)
        if self.config.load is None:
            return False
        self._states.finish_writing()
        return self._find_state(rollout_id) is not None

    def restore(
        self,
        state: dict[str, Any],
        rollouts: Mapping[int, dict[str, Any]],
        ended: tuple[int | None, bool],
    ) -> None:
        """Loads a state; its groups in flight have holders. Raises CheckpointError."""
        with self._lock:
            self._states.load_state_dict(state, held=True)
            self._states.go_on(rollouts, *ended)
