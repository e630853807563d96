"""What must be true of every group of a soak, in little memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from curriculum_learning.mixing.ledger import WHOLE

Fate = tuple[str, int, int, int, int]
"""trained or dropped, the group's id, and the number of its source, epoch and row."""


class Account:
    """Every group and every row has one fate, whatever was killed and changed."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()
        self.last = -1
        """The rollout that was heard of last."""
        self._recent: dict[int, list[Fate]] = {}
        """By rollout: what a resume may take back."""
        self._fates = bytearray()
        """By group."""
        self._rows: dict[int, set[int]] = {}
        """By source: the rows that had a fate, as one number for row and epoch."""

    def resumed(self, rollout_id: int, state: Mapping[str, Any]) -> None:
        """The run goes on after a rollout."""
        self.last = rollout_id
        for later in [rollout for rollout in self._recent if rollout > rollout_id]:
            for fate, *_ in self._recent.pop(later):
                self.counts[fate] -= 1
        self._check(state, "resumed")

    def hear(self, rollout_id: int, fates: Iterable[Fate]) -> None:
        """A rollout has ended."""
        self.last = rollout_id
        told = [(fate, index, number, epoch, row) for fate, index, number, epoch, row in fates]
        self._recent.setdefault(rollout_id, []).extend(told)
        self.counts.update(fate for fate, *_ in told)

    def settle(self, rollout_id: int) -> None:
        """No resume goes behind a rollout any more: its groups are held against all before."""
        for rollout in sorted(rollout for rollout in self._recent if rollout <= rollout_id):
            for fate, index, number, epoch, row in self._recent.pop(rollout):
                if index >= len(self._fates):
                    self._fates.extend(bytes(index + 1 - len(self._fates)))
                if self._fates[index]:
                    self.problems.append(f"group {index} was {fate} in {rollout}, and before")
                self._fates[index] = 1
                rows = self._rows.setdefault(number, set())
                if epoch << 32 | row in rows:
                    self.problems.append(f"source {number}: row {row} of epoch {epoch} came twice")
                rows.add(epoch << 32 | row)

    def ended(self, state: Mapping[str, Any], plain: Mapping[int, tuple[int, int]]) -> None:
        """The run has ended.

        Args:
            state: The summary of its state.
            plain: The epoch and the first size of sources whose rows must be complete, by number.
        """
        self.settle(self.last)
        self._check(state, "ended")
        waiting = set(state["waiting"])
        if any(self._fates[index] for index in waiting if index < len(self._fates)):
            self.problems.append("a group that had its fate waits")
        for number, (epochs, size) in plain.items():
            rows = self._rows.get(number, set())
            missing = sum(e << 32 | row not in rows for e in range(epochs) for row in range(size))
            if missing > len(waiting) + self.counts["lost"]:
                self.problems.append(f"source {number}: {missing} rows of {epochs} epochs missing")

    def _check(self, state: Mapping[str, Any], when: str) -> None:
        """Holds the counts of the data source against those of the account."""
        counts = state["counts"]
        self.counts["lost"] = counts["dropped"] + counts["stale"] - self.counts["dropped"]
        if counts["trained"] != self.counts["trained"]:
            self.problems.append(
                f"{when} after {self.last}: {counts['trained']} groups trained by the data source, "
                f"{self.counts['trained']} by the account"
            )
        done = sum(counts[what] for what in ("trained", "dropped", "stale", "presumed", "finished"))
        if state["in_flight"] or done + len(state["waiting"]) != state["ids"]:
            self.problems.append(f"{when} after {self.last}: groups are missing: {state}")
        if sum(state["credits"]) or max(map(abs, state["credits"])) > 4 * WHOLE:
            self.problems.append(f"{when} after {self.last}: credits are {state['credits']}")
