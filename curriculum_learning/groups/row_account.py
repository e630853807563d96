"""The account of the rows that a sampler gives out, for engines that tell how each one ended."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.groups.in_flight import GroupLedger
from curriculum_learning.groups.replacements import Replacements
from curriculum_learning.groups.served import Served
from curriculum_learning.mixing.mixture import Draw, Mixture

LOSSES = ("dropped", "stale", "failed", "discarded")
"""How a group can end untrained: refused by a filter, too old, without samples, without room."""


class RowAccount:
    """Numbers the rows that a sampler gives out, follows each one, and replaces those lost.

    Each row is the prompt of one group. Not thread-safe.

    Args:
        mixture: The sources.
        rows: The row numbers of each source in the data set; shape (rows of the source,).
        max_oversampling: As for ``Replacements``; None replaces no lost group.
    """

    def __init__(
        self,
        mixture: Mixture,
        rows: Mapping[str, NDArray[np.int64]],
        max_oversampling: float | None,
    ) -> None:
        self._mixture = mixture
        self._sources = list(rows)
        self._owners = np.zeros(1 + max(int(at.max()) for at in rows.values()), dtype=np.int32)
        """The number of the source of each row of the data set."""
        for number, at in enumerate(rows.values()):
            self._owners[at] = number
        self._ledger = GroupLedger(1, accounting=True)
        self._replacements: Replacements | None = None
        if max_oversampling is not None:
            self._replacements = Replacements(mixture.names, max_oversampling)

    @property
    def opened(self) -> int:
        """Groups opened so far; the next one gets this number."""
        return self._ledger.next_group

    @property
    def in_flight(self) -> list[int]:
        """The groups that have not ended, in the order in which they were opened."""
        return list(self._ledger)

    def draw(self, step: int) -> Draw:
        """Draws the next row: by the ledger of shares, or to replace a lost group."""
        if self._replacements is None:
            return self._mixture.draw(step)
        self._replacements.hear(self._ledger, self._mixture.drawn)
        return self._replacements.draw(step, self._mixture, [])

    def open(self, row: int, step: int) -> None:
        """Opens a group for a row of the data set, given out at ``step``."""
        self._ledger.open(self._sources[self._owners[row]], row, 0, step)

    def served(self, group: int) -> Served | None:
        """Returns the source and the row of a group; None if it has ended or was never opened."""
        return self._ledger.served(group)

    def end(self, groups: Collection[int], fate: str) -> None:
        """Ends groups as ``trained`` or by one of ``LOSSES``; groups that ended are ignored."""
        self._ledger.settle(groups, fate)

    def step_ended(self) -> None:
        """Takes in that the groups trained in a step have all been reported."""
        if self._replacements is not None:
            self._replacements.rollout_logged(self._ledger.counts["trained"].total())

    def stats(self) -> dict[str, float]:
        """Returns the groups of each source since the run began, by how they ended."""
        stats: dict[str, float] = {}
        if self._replacements is not None:
            self._replacements.hear(self._ledger, self._mixture.drawn)
        for name, drawn in zip(self._mixture.names, self._mixture.drawn, strict=True):
            counts = {"drawn": drawn, "in_flight": self._ledger.out[name]}
            counts |= {what: self._ledger.counts[what][name] for what in ("trained", *LOSSES)}
            if self._replacements is not None:
                counts |= self._replacements.counts(name)
            stats |= {f"{what}/{name}": count for what, count in counts.items()}
        return stats

    def state_dict(self) -> dict[str, Any]:
        """Returns plain data."""
        replacements = self._replacements
        return {
            "ledger": self._ledger.state_dict(),
            "replacements": None if replacements is None else replacements.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads what ``state_dict`` returned; groups that were in flight are in flight again."""
        self._ledger.load_state_dict(state["ledger"], {})
        if self._replacements is not None and state["replacements"] is not None:
            self._replacements.load_state_dict(state["replacements"])
        elif self._replacements is not None:  # the target was another one: nothing is owed
            self._replacements.forgive(self._ledger)
