"""The ledger of groups: their ids, and what has become of the ones handed out."""

from __future__ import annotations

import itertools
import logging
import struct
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from curriculum_learning.errors import GroupError

NO_SOURCE = ""
"""The source of groups whose prompts are the engine's own (``rollout_global_dataset: false``)."""

FATES = ("trained", "dropped", "stale", "surplus", "finished")

_LOST = ("dropped", "stale", "presumed")
"""The ends of groups that were drawn and not trained."""

_PRESUMED_KEPT = 65_536
"""Groups no longer waited for of which is remembered how they were served."""

_ENTRY = struct.Struct("<I4q?")

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
    rewarded: bool = False
    """Its rewards have been counted."""


class Partial(NamedTuple):
    """What a group has become that came back unfinished."""

    data: bytes
    """The group, encoded."""
    begun: int | None
    """The rollout step at which the first of its tokens was generated; None if it has none."""


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
        self.counts: dict[str, Counter[str]] = {
            what: Counter() for what in ("served", "returned", "reset", *FATES, "presumed")
        }
        """Groups by what became of them and by source; one served twice counts twice as served."""
        self.out: Counter[str] = Counter()
        """Groups of each source that have no end yet: in flight, or waiting in a buffer."""
        self.news = 0
        """Changes whenever something becomes known of groups' ends."""
        # Thousands of groups are in flight for long: an entry is 37 packed bytes, not a tuple.
        self._in_flight: dict[int, bytes] = {}
        self._presumed: dict[int, bytes] = {}
        """Groups no longer waited for; one may still come back or be trained."""
        self._partial: dict[int, Partial] = {}
        """Of groups in flight that had come back before: what they were then."""
        self._presumed_at = 0
        self._sources: list[str] = []
        self._numbers: dict[str, int] = {}

    def open(self, source: str, row: int, epoch: int, step: int) -> tuple[int, Served]:
        """Give a new group its id and its samples theirs; it is in flight."""
        group_index, served = self.next_group, Served(source, self.next_index, row, epoch, step)
        self.serve(group_index, served)
        self.out[source] += 1
        self.next_group += 1
        self.next_index += self.size
        return group_index, served

    def serve(self, group_index: int, served: Served, partial: Partial | None = None) -> None:
        """A group goes out, for the first time or again; ``partial`` is what it has become."""
        self._in_flight[group_index] = self._pack(served)
        if partial is not None:
            self._partial[group_index] = partial
        self.counts["served"][served.source] += 1

    def unopen(self, group_index: int) -> None:
        """Take back the latest ``open``, as if it had not been called."""
        served = self._unpack(self._in_flight.pop(group_index))
        self.next_group, self.next_index = group_index, served.first_index
        self.counts["served"][served.source] -= 1
        self.out[served.source] -= 1

    def lost(self) -> Counter[str]:
        """Groups of each source that ended without being trained."""
        return sum((self.counts[what] for what in _LOST), Counter[str]())

    def in_flight(self) -> Iterator[int]:
        """The ids of the groups in flight, those of earlier requests first."""
        return iter(self._in_flight)

    def done(self) -> Counter[str]:
        """Groups of each source that were trained, or of which no more will be known."""
        return self.counts["trained"] + self.counts["finished"]

    def mark_rewarded(self, group_index: int) -> str | None:
        """The source of a group whose rewards are to be counted; None if they were, or it ended."""
        entries = self._in_flight if group_index in self._in_flight else self._presumed
        served = self.served(group_index)
        if served is None or served.rewarded:
            return None
        entries[group_index] = self._pack(served._replace(rewarded=True))
        return served.source

    def is_in_flight(self, group_index: int) -> bool:
        """Whether a group went out and nothing has been heard of it yet."""
        return group_index in self._in_flight

    def served(self, group_index: int) -> Served | None:
        """How a group that may come back was handed out; None where that is not known."""
        entry = self._in_flight.get(group_index) or self._presumed.get(group_index)
        return None if entry is None else self._unpack(entry)

    def partials(self) -> dict[int, Partial]:
        """Of the groups in flight that had come back before: what they were then."""
        return dict(self._partial)

    def partial(self, group_index: int) -> Partial | None:
        """What a group in flight was when it came back last, if it did."""
        return self._partial.get(group_index)

    def check_return(self, group_index: int, what: str) -> None:
        """Whether a group may be given back.

        Raises:
            GroupError: It was never served, or its fate is known already.
        """
        if group_index in self._in_flight or group_index in self._presumed:
            return
        if not 0 <= group_index < self.next_group:
            raise GroupError(
                f"{what}, was never served: ids served so "
                f"far are 0 to {self.next_group - 1}; give back the groups that get_samples gave",
                key="group_index",
                value=group_index,
            )
        if self.accounting:
            raise GroupError(
                f"{what}, is not in flight: it was trained, "
                f"dropped or given back already; give each group back once",
                key="group_index",
                value=group_index,
            )

    def give_back(self, group_index: int, source: str) -> None:
        """A group of ``source`` came back unfinished."""
        self._forget(group_index)
        self.out[source] += 1
        self.counts["returned"][source] += 1

    def settle(self, group_indices: Iterable[int], fate: str) -> None:
        """Groups are done with, as ``fate`` says; those of which that is known do not count."""
        self.accounting = True
        ended = map(self._forget, group_indices)
        self.count(fate, [source for source in ended if source is not None])

    def settle_waiting(self, sources: Collection[str], fate: str) -> None:
        """A group of each of ``sources`` that waited is done with."""
        self.out.subtract(sources)
        self.count(fate, sources)

    def count(self, fate: str, sources: Collection[str]) -> None:
        """Something has become of a group of each of ``sources``."""
        if sources:
            self.counts[fate].update(sources)
            self.news += 1

    def _forget(self, group_index: int) -> str | None:
        """The source of a group that was waited for; None if it was not."""
        self._partial.pop(group_index, None)
        entry = self._in_flight.pop(group_index, None)
        if entry is not None:
            source = self._unpack(entry).source
            self.out[source] -= 1
            return source
        entry = self._presumed.pop(group_index, None)
        if entry is None:
            return None
        source = self._unpack(entry).source
        self.counts["presumed"][source] -= 1
        self.news += 1
        return source

    def presume(self, step: int, patience: int) -> None:
        """Stop waiting for groups last served more than ``patience`` rollouts before ``step``."""
        if step == self._presumed_at:
            return
        self._presumed_at = step
        oldest = step - patience
        # Groups go out in the order of steps, so the old ones come first.
        entries = self._in_flight.items()
        old = [g for g, entry in itertools.takewhile(lambda e: _step(e[1]) < oldest, entries)]
        if not old:
            return
        gone = {group_index: self._in_flight.pop(group_index) for group_index in old}
        sources = [self._unpack(entry).source for entry in gone.values()]
        self.out.subtract(sources)
        for group_index in old:
            self._partial.pop(group_index, None)
        if not self.accounting:  # these are the trained groups too
            return
        self.news += 1
        self._presumed |= gone
        self.counts["presumed"].update(sources)
        excess = max(0, len(self._presumed) - _PRESUMED_KEPT)
        for group_index in list(itertools.islice(self._presumed, excess)):
            del self._presumed[group_index]
        logger.info(
            "%d groups of which nothing was heard for %d rollouts are no longer waited for; "
            "a resume will not serve them again (%d so far)",
            len(gone), patience, self.counts["presumed"].total(),
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Plain data; without the partial groups. ``listed`` reads the groups that went out."""
        return {
            "next_group": self.next_group,
            "next_index": self.next_index,
            "size": self.size,
            "accounting": self.accounting,
            "counts": {what: dict(+counts) for what, counts in self.counts.items()},
            "presumed": self._packed(self._presumed),
            "in_flight": self._packed(self._in_flight),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the state that ``state_dict`` gave, with nothing in flight."""
        self.next_group, self.next_index = state["next_group"], state["next_index"]
        self.accounting = state["accounting"] or self.accounting
        self.counts = {what: Counter(state["counts"][what]) for what in self.counts}
        self.news += 1
        self._presumed = {g: self._pack(Served(*out)) for g, *out in listed(state["presumed"])}
        self._in_flight, self._partial, self.out = {}, {}, Counter()

    def resume(self, state: Mapping[str, Any], generated: Mapping[int, Partial]) -> None:
        """After ``load_state_dict``: what was in flight in ``state`` is in flight again.

        Args:
            state: What ``state_dict`` gave.
            generated: What groups were when they came back last, of those that did.
        """
        in_flight = listed(state["in_flight"])
        self._in_flight = {g: self._pack(Served(*out)) for g, *out in in_flight}
        self._partial = {g: generated[g] for g in self._in_flight if g in generated}
        self.out.update(source for _, source, *_ in in_flight)

    def pass_over(self) -> int:
        """Use up the ids of a group that is another rank's to serve; gives its id."""
        group_index = self.next_group
        self.next_group += 1
        self.next_index += self.size
        return group_index

    def _packed(self, entries: Mapping[int, bytes]) -> dict[str, Any]:
        """See ``listed``; made quickly, since the engine waits meanwhile."""
        return {
            "sources": list(self._sources),
            "ids": array("q", entries).tobytes(),
            "served": b"".join(entries.values()),
        }

    def _pack(self, served: Served) -> bytes:
        number = self._numbers.get(served.source)
        if number is None:
            number = self._numbers[served.source] = len(self._sources)
            self._sources.append(served.source)
        _, first_index, row, epoch, step, rewarded = served
        return _ENTRY.pack(number, first_index, row, epoch, step, rewarded)

    def _unpack(self, entry: bytes) -> Served:
        number, *rest = _ENTRY.unpack(entry)
        return Served(self._sources[number], *rest)


def listed(packed: Mapping[str, Any]) -> list[list[Any]]:
    """The groups in a state that went out: the id of each and the fields of ``Served``."""
    try:
        entries = list(_ENTRY.iter_unpack(packed["served"]))
    except struct.error as error:
        raise ValueError(f"the groups that went out are not whole: {error}") from None
    ids = array("q", packed["ids"])
    return [
        [group_index, packed["sources"][number], *rest]
        for group_index, (number, *rest) in zip(ids, entries, strict=True)
    ]


def packed(groups: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """What ``listed`` gives ``groups`` of."""
    groups = list(groups)
    sources = list(dict.fromkeys(source for _, source, *_ in groups))
    numbers = {source: number for number, source in enumerate(sources)}
    return {
        "sources": sources,
        "ids": array("q", (group_index for group_index, *_ in groups)).tobytes(),
        "served": b"".join(_ENTRY.pack(numbers[source], *rest) for _, source, *rest in groups),
    }


def _step(entry: bytes) -> int:
    step: int = _ENTRY.unpack(entry)[-2]
    return step
