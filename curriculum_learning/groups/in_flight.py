"""The ids of groups, the groups in flight, and how groups ended."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from curriculum_learning.errors import GroupError
from curriculum_learning.groups.served import Packer, Partial, Served, listed, step_of

FATES = ("trained", "dropped", "stale", "failed", "discarded", "surplus", "finished")

_LOST = ("dropped", "stale", "failed", "discarded", "presumed")
"""The fates of groups that were drawn and never trained."""

_PRESUMED_KEPT = 65_536
"""How many presumed groups are remembered."""

logger = logging.getLogger(__name__)


class GroupLedger:
    """Assigns ids, each once, and tracks every group until it ends.

    Not thread-safe: its owner locks.

    Args:
        size: Samples per group.
        accounting: True if the engine will report fates from the start. Otherwise the first
            report turns accounting on; until then the ledger knows only what was served.
    """

    def __init__(self, size: int, *, accounting: bool) -> None:
        self.size = size
        self.accounting = accounting
        self.next_group = 0
        self.next_index = 0
        self.counts: dict[str, Counter[str]] = {
            what: Counter() for what in ("served", "returned", "reset", *FATES, "presumed")
        }
        """Groups by event and source. A group served twice counts twice as served."""
        self.out: Counter[str] = Counter()
        """Groups of each source that have not ended: in flight or waiting in a buffer."""
        self.news = 0
        """Changes whenever the fate of a group becomes known."""
        self._packer = Packer()
        self._in_flight: dict[int, bytes] = {}
        self._presumed: dict[int, bytes] = {}
        """Groups presumed dropped. One may still come back or be trained."""
        self._partial: dict[int, Partial] = {}
        """Groups in flight that came back before, as they were then."""
        self._presumed_at = 0

    # Going out

    def open(self, source: str, row: int, epoch: int, step: int) -> tuple[int, Served]:
        """Assigns ids to a new group and its samples, and puts it in flight."""
        group_index, served = self.next_group, Served(source, self.next_index, row, epoch, step)
        self.serve(group_index, served)
        self.out[source] += 1
        self.next_group += 1
        self.next_index += self.size
        return group_index, served

    def serve(self, group_index: int, served: Served, partial: Partial | None = None) -> None:
        """Puts a group in flight; ``partial`` is the group as it last came back, if it did."""
        self._in_flight[group_index] = self._packer.pack(served)
        if partial is not None:
            self._partial[group_index] = partial
        self.counts["served"][served.source] += 1

    def unopen(self, group_index: int) -> None:
        """Undoes the latest ``open``."""
        served = self._packer.unpack(self._in_flight.pop(group_index))
        self.next_group, self.next_index = group_index, served.first_index
        self.counts["served"][served.source] -= 1
        self.out[served.source] -= 1

    def pass_over(self) -> None:
        """Uses up the ids of a group that another rank serves."""
        self.next_group += 1
        self.next_index += self.size

    # Looking

    def __contains__(self, group_index: object) -> bool:
        """Whether a group is in flight."""
        return group_index in self._in_flight

    def __iter__(self) -> Iterator[int]:
        """The groups in flight, in the order in which they went out."""
        return iter(self._in_flight)

    def known(self) -> list[int]:
        """The groups that may come back: in flight, or presumed dropped."""
        return [*self._in_flight, *self._presumed]

    def served(self, group_index: int) -> Served | None:
        """How a group that may come back was handed out; None if the ledger does not know it."""
        entry = self._in_flight.get(group_index) or self._presumed.get(group_index)
        return None if entry is None else self._packer.unpack(entry)

    def partial(self, group_index: int) -> Partial | None:
        """A group in flight as it last came back, if it did."""
        return self._partial.get(group_index)

    def partials(self) -> dict[int, Partial]:
        """All groups in flight that came back before, as they were then."""
        return dict(self._partial)

    def lost(self) -> Counter[str]:
        """Groups of each source that ended untrained."""
        return sum((self.counts[what] for what in _LOST), Counter[str]())

    def done(self) -> Counter[str]:
        """Groups of each source that were trained, or finished with no report of training."""
        return self.counts["trained"] + self.counts["finished"]

    # Coming back and ending

    def check_return(self, group_index: int, what: str) -> None:
        """Raises GroupError if a group cannot come back: never served, or already settled."""
        if group_index in self._in_flight or group_index in self._presumed:
            return
        if not 0 <= group_index < self.next_group:
            raise GroupError(
                f"{what}, was never served: ids served so far are 0 to {self.next_group - 1}; "
                f"give back the groups that get_samples gave",
                key="group_index",
                value=group_index,
            )
        if self.accounting:
            raise GroupError(
                f"{what}, is not in flight: it was trained, dropped or given back already; give "
                f"each group back once",
                key="group_index",
                value=group_index,
            )

    def mark_rewarded(self, group_index: int) -> None:
        """Marks the rewards of a group that may come back as counted."""
        entries = self._in_flight if group_index in self._in_flight else self._presumed
        served = self._packer.unpack(entries[group_index])
        entries[group_index] = self._packer.pack(served._replace(rewarded=True))

    def give_back(self, group_index: int, source: str) -> None:
        """Takes a group of ``source`` out of flight; it waits in a buffer now."""
        self._forget(group_index)
        self.out[source] += 1
        self.counts["returned"][source] += 1

    def settle(self, group_indices: Iterable[int], fate: str) -> None:
        """Ends groups in flight; ids that have ended before are ignored."""
        self.accounting = True
        ended = map(self._forget, group_indices)
        self.count(fate, [source for source in ended if source is not None])

    def settle_waiting(self, sources: Collection[str], fate: str) -> None:
        """Ends groups that waited in a buffer, one for each entry of ``sources``."""
        if sources:
            self.out.subtract(sources)
            self.count(fate, sources)

    def count(self, event: str, sources: Collection[str]) -> None:
        """Counts an event, once for each entry of ``sources``."""
        if sources:
            self.counts[event].update(sources)
            self.news += 1

    def _forget(self, group_index: int) -> str | None:
        """Removes a group; returns its source, None if it had ended before."""
        self._partial.pop(group_index, None)
        entry = self._in_flight.pop(group_index, None)
        if entry is not None:
            source = self._packer.unpack(entry).source
            self.out[source] -= 1
            return source
        entry = self._presumed.pop(group_index, None)
        if entry is None:
            return None
        source = self._packer.unpack(entry).source
        self.counts["presumed"][source] -= 1
        self.news += 1
        return source

    def presume(self, step: int, patience: int) -> None:
        """Presumes groups dropped that were served more than ``patience`` rollouts before."""
        if step == self._presumed_at:
            return
        self._presumed_at = step
        oldest = step - patience
        # Every entry is looked at: a step that is set by hand may go back.
        old = [group for group, entry in self._in_flight.items() if step_of(entry) < oldest]
        if not old:
            return
        gone = {group_index: self._in_flight.pop(group_index) for group_index in old}
        sources = [self._packer.unpack(entry).source for entry in gone.values()]
        self.out.subtract(sources)
        for group_index in old:
            self._partial.pop(group_index, None)
        if not self.accounting:  # these may all have been trained
            return
        self.news += 1
        self._presumed |= gone
        self.counts["presumed"].update(sources)
        excess = max(0, len(self._presumed) - _PRESUMED_KEPT)
        for group_index in list(itertools.islice(self._presumed, excess)):
            del self._presumed[group_index]
        logger.info(
            "%d groups had no report for %d rollouts and are presumed dropped; a resume will not "
            "serve them again (%d so far)",
            len(gone), patience, self.counts["presumed"].total(),
        )  # fmt: skip

    # State

    def totals(self) -> dict[str, Any]:
        """Returns the part of ``state_dict`` that lists no groups."""
        return {
            "next_group": self.next_group,
            "next_index": self.next_index,
            "size": self.size,
            "accounting": self.accounting,
            "counts": {
                what: {source: count for source, count in counts.items() if count > 0}
                for what, counts in self.counts.items()
            },
        }

    def state_dict(self) -> dict[str, Any]:
        """Plain data, without the partial groups. ``listed`` reads the packed groups."""
        return {
            **self.totals(),
            "presumed": self._packer.state_of(self._presumed),
            "in_flight": self._packer.state_of(self._in_flight),
        }

    def load_state_dict(
        self, state: Mapping[str, Any], held: Mapping[int, Partial] | None = None
    ) -> None:
        """Loads what ``state_dict`` returned.

        Args:
            state: The state.
            held: If given, the groups that were in flight are in flight again; it maps those that
                had come back before to what they were then. None: nothing is in flight.
        """
        self.next_group, self.next_index = state["next_group"], state["next_index"]
        self.accounting = state["accounting"] or self.accounting
        saved = state["counts"]
        self.counts = {what: Counter(saved.get(what, {})) for what in self.counts}
        self.news += 1
        self._presumed = self._entries(state["presumed"])
        self._in_flight, self._partial, self.out = {}, {}, Counter()
        if held is not None:
            self._in_flight = self._entries(state["in_flight"])
            self._partial = {g: held[g] for g in self._in_flight if g in held}
            self.out.update(source for _, source, *_ in listed(state["in_flight"]))

    def _entries(self, packed: Mapping[str, Any]) -> dict[int, bytes]:
        return {g: self._packer.pack(Served(*served)) for g, *served in listed(packed)}
