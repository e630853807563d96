"""Buffers of returned groups, one per source; they wait there to be served again."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from curriculum_learning.errors import GroupError
from curriculum_learning.groups.served import Partial, Served
from curriculum_learning.samples.sample import Group

BufferFilter = Callable[[list[Group], int], list[Group]]
"""A user's filter: removes at most a number of groups from a list, and returns them."""


class Waiting(NamedTuple):
    """A group in a buffer."""

    arrival: int
    """Counts up over all sources; the smallest has waited longest."""
    group_index: int
    served: Served
    group: Group
    partial: Partial | None
    """The group as it came back; None if it starts anew."""

    @property
    def begun(self) -> int | None:
        """The rollout step at which its first token was generated; None if it has none."""
        return None if self.partial is None else self.partial.begun


class Buffers:
    """One buffer per source.

    Not thread-safe: its owner locks.

    Args:
        names: The sources.
        buffer_filter: A user's filter, called per source; None serves first in, first out over
            all sources. It must not change the groups that it leaves waiting.
    """

    def __init__(self, names: Sequence[str], buffer_filter: BufferFilter | None) -> None:
        self._buffers: dict[str, deque[Waiting]] = {name: deque() for name in names}
        self._filter = buffer_filter
        self._arrivals = itertools.count()
        self._ahead = itertools.count(-1, -1)
        self._ids: dict[int, Waiting] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, group_index: int) -> bool:
        return group_index in self._ids

    def __iter__(self) -> Iterator[Waiting]:
        """All waiting groups, oldest first."""
        by_source = itertools.chain.from_iterable(self._buffers.values())
        return iter(sorted(by_source, key=lambda waiting: waiting.arrival))

    def get(self, group_index: int) -> Waiting | None:
        """A group, if it waits."""
        return self._ids.get(group_index)

    def of(self, name: str) -> Collection[Waiting]:
        """The waiting groups of source ``name``."""
        return self._buffers[name]

    def begun_before(self, step: int) -> list[Waiting]:
        """The groups whose first token was generated before rollout step ``step``."""
        by_source = itertools.chain.from_iterable(self._buffers.values())
        return [w for w in by_source if w.begun is not None and w.begun < step]

    def renew(self, groups: Mapping[int, Group]) -> None:
        """Replaces waiting groups, by id, with groups that start anew."""
        for buffer in self._buffers.values():
            for place, waiting in enumerate(buffer):
                if waiting.group_index in groups:
                    group = groups[waiting.group_index]
                    renewed = waiting._replace(group=group, partial=None)
                    buffer[place] = self._ids[waiting.group_index] = renewed

    def add(self, group_index: int, served: Served, group: Group, partial: Partial | None) -> None:
        """Adds a group at the end of its source's buffer."""
        waiting = Waiting(next(self._arrivals), group_index, served, group, partial)
        self._buffers[served.source].append(waiting)
        self._ids[group_index] = waiting

    def add_in_front(
        self, group_index: int, served: Served, group: Group, partial: Partial | None
    ) -> None:
        """Adds a group before all others, those of other sources included."""
        waiting = Waiting(next(self._ahead), group_index, served, group, partial)
        self._buffers[served.source].appendleft(waiting)
        self._ids[group_index] = waiting

    def take(self, room: int) -> tuple[list[Waiting], list[Waiting]]:
        """Takes at most ``room`` groups.

        Returns:
            The groups to serve, and those that the filter removed without returning them.

        Raises:
            GroupError: The filter broke its contract; nothing is taken then.
        """
        if not self._ids:
            return [], []
        taken: list[Waiting]
        dropped: list[Waiting] = []
        if self._filter:
            taken, dropped = self._take_chosen(self._filter, room)
        else:
            taken = [self._pop_oldest() for _ in range(min(room, len(self)))]
        for waiting in (*taken, *dropped):
            del self._ids[waiting.group_index]
        return taken, dropped

    def _take_chosen(self, choose: BufferFilter, room: int) -> tuple[list[Waiting], list[Waiting]]:
        taken: list[Waiting] = []
        dropped: list[Waiting] = []
        oldest_first = sorted(filter(None, self._buffers.values()), key=lambda b: b[0].arrival)
        try:
            for buffer in oldest_first:
                if len(taken) == room:
                    break
                chosen, removed = _chosen(choose, buffer, room - len(taken))
                taken += chosen
                dropped += removed
                gone = {waiting.arrival for waiting in (*chosen, *removed)}
                rest = [waiting for waiting in buffer if waiting.arrival not in gone]
                buffer.clear()
                buffer.extend(rest)
        except BaseException:
            self.restore((*taken, *dropped))
            raise
        return taken, dropped

    def remove(self, group_indices: Collection[int]) -> list[Waiting]:
        """Removes the groups with these ids that wait; returns them."""
        found = self._ids.keys() & group_indices
        if not found:
            return []
        removed = [waiting for waiting in self if waiting.group_index in found]
        for name, buffer in self._buffers.items():
            self._buffers[name] = deque(w for w in buffer if w.group_index not in found)
        for group_index in found:
            del self._ids[group_index]
        return removed

    def restore(self, taken: Iterable[Waiting]) -> None:
        """Puts taken groups back where they were."""
        for waiting in taken:
            self._buffers[waiting.served.source].append(waiting)
            self._ids[waiting.group_index] = waiting
        for name, buffer in self._buffers.items():
            self._buffers[name] = deque(sorted(buffer, key=lambda waiting: waiting.arrival))

    def _pop_oldest(self) -> Waiting:
        return min(filter(None, self._buffers.values()), key=lambda b: b[0].arrival).popleft()


def _chosen(
    choose: BufferFilter, buffer: Iterable[Waiting], room: int
) -> tuple[list[Waiting], list[Waiting]]:
    """Returns what the filter chose, and what it removed without choosing it."""
    waiting = {id(item.group): item for item in buffer}
    groups = [item.group for item in waiting.values()]
    result = choose(groups, room)
    source = next(iter(waiting.values())).served.source

    def error(problem: str) -> GroupError:
        return GroupError(
            f"buffer_filter_path, called for source '{source}' with {len(waiting)} waiting groups "
            f"and num_samples={room}, {problem}",
            source=source,
            key="buffer_filter_path",
            value=result,
        )

    if not isinstance(result, (list, tuple)):
        raise error(f"returned a {type(result).__name__}; it must return a list of groups")
    if len(result) > room:
        raise error(f"returned {len(result)} groups; it may return at most num_samples")
    left = {id(group) for group in groups}
    if not left <= waiting.keys() or len(left) < len(groups):
        raise error("put groups into the buffer that were not there; it may only remove groups")
    chosen: dict[int, Waiting] = {}
    for group in result:
        if id(group) not in waiting or id(group) in chosen:
            raise error(
                "returned a group twice, or one that is not in the buffer; it must return "
                "some of the buffer's groups, each once"
            )
        if id(group) in left:
            raise error("returned a group that is still in the buffer; it must remove it from it")
        chosen[id(group)] = waiting[id(group)]
    removed = [item for key, item in waiting.items() if key not in left and key not in chosen]
    return list(chosen.values()), removed
