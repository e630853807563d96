"""What has become of the groups that an engine was given for a rollout and did not train."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from curriculum_learning.samples.sample import Group, flatten


class Outcome(NamedTuple):
    """The groups of a rollout that were not trained, by their ids."""

    dropped: list[int]
    """Refused by the engine's filter."""
    surplus: dict[int, Group]
    """Finished, but there was no room for them."""
    discarded: list[int]
    """Neither finished nor given back: the engine let go of them."""


class Settlement:
    """Decides on the groups in flight between the two reports that end a rollout.

    The engine first shows all groups that it has finished, and then those that it trains.

    Args:
        refuses: The engine's filter, asked again: whether it drops a group; None drops none.
    """

    def __init__(self, refuses: Callable[[Group], bool] | None) -> None:
        self._refuses = refuses
        self._finished: dict[int, Group] = {}
        self._in_flight: set[int] = set()

    def finished(self, groups: list[Group], in_flight: Iterable[int]) -> None:
        """The engine shows what it has finished; what is in flight then is of this rollout."""
        for group in groups:
            for group_index in {sample.group_index for sample in flatten(group)}:
                self._finished[group_index] = group
        self._in_flight.update(in_flight)

    def forget(self) -> list[int]:
        """The groups that were finished; nothing is decided on them."""
        finished = list(self._finished)
        self._finished, self._in_flight = {}, set()
        return finished

    def settle(self, is_in_flight: Callable[[int], bool]) -> Outcome:
        """The rollout is over, and what was trained or given back is not in flight any more.

        It decides the same again until ``forget`` is called.
        """
        outcome = Outcome([], {}, [])
        for group_index in filter(is_in_flight, sorted(self._in_flight)):
            group = self._finished.get(group_index)
            if group is None:
                outcome.discarded.append(group_index)
            elif self._refuses is not None and self._refuses(group):
                outcome.dropped.append(group_index)
            else:
                outcome.surplus[group_index] = group
        return outcome
