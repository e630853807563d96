"""The data source of a service: it leaves the making of samples to the clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from curriculum_learning.curricula.results import Result
from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer
from curriculum_learning.groups.maker import GroupMaker
from curriculum_learning.groups.run import Run
from curriculum_learning.groups.served import Partial, Served
from curriculum_learning.mixing.source import RowSource
from curriculum_learning.samples.sample import Group


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

    def will_be_told(self) -> None:
        """Notes that the fate of every group will be reported."""
        self.observe([], fate="trained")

    def raise_swallowed_error(self) -> None:
        """Raises nothing: no error is swallowed here."""

    def give_back(
        self, groups: Sequence[Group], encoded: Sequence[bytes]
    ) -> list[tuple[int, Served, Partial]]:
        """As ``add_samples``, for groups whose bytes are known; see ``Circulation.give_back``."""
        with self._lock:
            back = self.run.groups.give_back(groups, encoded)
            self._states.changed()
            return back

    def finds(self, rollout_id: int | None) -> bool:
        """Whether ``load`` goes to another state, a fresh one included."""
        if rollout_id not in (None, -1):
            return bool(self.config.sources)
        if self.config.load is None:
            return False
        self._states.finish_writing()
        return self._find_state(rollout_id) is not None

    # For the account of the service

    def constants(self) -> dict[str, Any]:
        """The part of the state that neither draws nor reports change."""
        return self._states.constants()

    def parts(self) -> dict[str, Any]:
        """The parts of the state that do, and list no groups, results or rows."""
        groups, feedback = self.run.groups, self.run.feedback
        return {
            **self.run.positions(),
            "logs": groups.logs,
            "totals": groups.ledger.totals(),
            "updates": None if feedback is None else feedback.updates,
            "ended": self._states.ended()[1:],
        }

    def sources(self) -> Sequence[RowSource]:
        """The sources; their states list rows."""
        return () if self.run.mixture is None else self.run.mixture.sources

    def results(self) -> Sequence[Result]:
        """The results of the rollout so far; another object when it has ended."""
        return () if self.run.feedback is None else self.run.feedback.results

    def rollouts(self) -> Mapping[int, dict[str, Any]]:
        """The states at the end of the latest rollouts."""
        return self._states.ended()[0]

    def restore(
        self,
        state: dict[str, Any],
        rollouts: Mapping[int, dict[str, Any]],
        ended: tuple[int | None, bool],
    ) -> None:
        """Loads a state of which the groups in flight have holders; raises CheckpointError."""
        with self._lock:
            self._states.load_state_dict(state, held=True)
            self._states.go_on(rollouts, *ended)
