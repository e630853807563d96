"""The ledger of groups: their ids, and what has become of the ones handed out."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from curriculum_learning.errors import GroupError

NO_SOURCE = ""
"""The source of groups whose prompts are the engine's own (``rollout_global_dataset: false``)."""

logger = logging.getLogger(__name__)


class Served(NamedTuple):
    """A group, as it was handed out; its prompt is made again from its row."""

    source: str
    first_index: int
    """The id of its first sample."""
    row: int
    epoch: int
    step: int
    """The rollout step at which it was last served."""


class GroupLedger:
    """Gives out ids, once each, and keeps account of the groups in flight.

    Not thread-safe: its owner locks.

    Args:
        size: Samples per group.
        accounting: True where fates are reported from the start. Otherwise the first report
            turns it on; before that nothing can be told of a group but that it was served.
    """

    def __init__(self, size: int, *, accounting: bool) -> None:
        self.size = size
        self.accounting = accounting
        self.next_group = 0
        self.next_index = 0
        self.in_flight: dict[int, Served] = {}
        self.presumed: dict[int, Served] = {}
        """Groups no longer waited for; one may still come back or be trained."""
        self.counts = {"served": 0, "returned": 0, "trained": 0, "dropped": 0, "surplus": 0}
        """Groups, by what became of them; a group served twice counts twice as served."""

    def open(self, source: str, row: int, epoch: int, step: int) -> tuple[int, Served]:
        """Give a new group its id and its samples theirs; it is in flight."""
        group_index = self.next_group
        served = Served(source, self.next_index, row, epoch, step)
        self.next_group += 1
        self.next_index += self.size
        self.serve(group_index, served)
        return group_index, served

    def serve(self, group_index: int, served: Served) -> None:
        """A group goes out, for the first time or again."""
        self.in_flight[group_index] = served
        self.counts["served"] += 1

    def unopen(self, group_index: int) -> None:
        """Take back the latest ``open``, as if it had not been called."""
        served = self.in_flight.pop(group_index)
        self.next_group, self.next_index = group_index, served.first_index
        self.counts["served"] -= 1

    def check_return(self, group_index: int, what: str) -> None:
        """Whether a group may be given back.

        Raises:
            GroupError: It was never served, or its fate is known already.
        """
        if group_index in self.in_flight or group_index in self.presumed:
            return
        if not 0 <= group_index < self.next_group:
            raise GroupError(
                f"{what} has group_index {group_index}, which was never served: ids served so "
                f"far are 0 to {self.next_group - 1}; give back the groups that get_samples gave",
                key="group_index",
                value=group_index,
            )
        if self.accounting:
            raise GroupError(
                f"{what} has group_index {group_index}, which is not in flight: it was trained, "
                f"dropped or given back already; give each group back once",
                key="group_index",
                value=group_index,
            )

    def give_back(self, group_index: int) -> None:
        """A group came back unfinished."""
        self._forget(group_index)
        self.counts["returned"] += 1

    def settle(self, group_indices: Iterable[int], fate: str) -> None:
        """Groups are done with, as ``fate`` says; those of which that is known do not count."""
        self.accounting = True
        self.counts[fate] += sum(map(self._forget, group_indices))

    def drop_waiting(self, count: int) -> None:
        """The buffer filter threw ``count`` waiting groups away."""
        self.counts["dropped"] += count

    def _forget(self, group_index: int) -> bool:
        known = self.in_flight.pop(group_index, None) or self.presumed.pop(group_index, None)
        return known is not None

    def served(self, group_index: int) -> Served | None:
        """How a group that may come back was handed out; None where that is not known."""
        return self.in_flight.get(group_index) or self.presumed.get(group_index)

    def presume(self, step: int, patience: int) -> None:
        """Stop waiting for groups last served more than ``patience`` rollouts before ``step``."""
        oldest = step - patience
        # Groups go out in the order of steps, so the old ones come first.
        old = list(itertools.takewhile(lambda g: self.in_flight[g].step < oldest, self.in_flight))
        gone = {group_index: self.in_flight.pop(group_index) for group_index in old}
        if gone and self.accounting:  # without it these are the trained groups too
            self.presumed |= gone
            logger.info(
                "%d groups of which nothing was heard for %d rollouts are no longer waited for; "
                "a resume will not serve them again (%d so far)",
                len(gone), patience, len(self.presumed),
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "next_group": self.next_group,
            "next_index": self.next_index,
            "size": self.size,
            "accounting": self.accounting,
            "counts": dict(self.counts),
            "presumed": [[group, *served] for group, served in self.presumed.items()],
            "in_flight": [[group, *served] for group, served in self.in_flight.items()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the state that ``state_dict`` gave."""
        self.next_group, self.next_index = state["next_group"], state["next_index"]
        self.accounting = state["accounting"] or self.accounting
        self.counts = dict(state["counts"])
        self.presumed = {group: Served(*served) for group, *served in state["presumed"]}
        self.in_flight = {group: Served(*served) for group, *served in state["in_flight"]}
