"""Decides the fate of the groups that an engine took for a rollout and did not train."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable
from typing import Any, NamedTuple

from curriculum_learning.samples.codec import CannotStoreError, encode_group
from curriculum_learning.samples.ids import group_id
from curriculum_learning.samples.sample import Group, flatten

logger = logging.getLogger(__name__)

DynamicFilter = Callable[[list[Any]], Any]
"""A user's filter of finished groups: takes samples, returns a verdict with ``keep``, or a bool."""


class Outcome(NamedTuple):
    """The groups of a rollout that were not trained, by id."""

    dropped: list[int]
    """Refused by the engine's filter, or without room where surplus groups are dropped."""
    surplus: dict[int, bytes | None]
    """Finished, but the engine had no room: encoded; None if it is to be generated again."""
    discarded: list[int]
    """Neither finished nor given back: the engine aborted them."""


class Settlement:
    """Settles the groups that are still in flight when a rollout ends.

    The engine shows all groups that it finished, then those that it trains. What was finished and
    not trained was dropped if the filter, asked again, refuses it; else it was surplus.

    Args:
        dynamic_filter: The engine's filter; None drops no group.
        surplus: What happens to surplus groups: ``keep``, ``again`` or ``drop``.
    """

    def __init__(self, dynamic_filter: DynamicFilter | None, surplus: str) -> None:
        self._filter, self._surplus = dynamic_filter, surplus
        self._finished: dict[int, Group] = {}
        self._in_flight: set[int] = set()

    def finished(self, groups: Iterable[Group], in_flight: Iterable[int]) -> None:
        """Takes in the groups that a rollout finished, and those in flight at that moment."""
        self._finished |= {
            group_index: group
            for group in groups
            for sample in flatten(group)
            if (group_index := group_id(sample)) is not None
        }
        self._in_flight.update(in_flight)

    def forget(self) -> list[int]:
        """Forgets the rollout; returns the groups that it finished."""
        finished = list(self._finished)
        self._finished, self._in_flight = {}, set()
        return finished

    def settle(self, in_flight: Container[int], trained: Container[int] = ()) -> Outcome:
        """Decides on the groups of the rollout that are in flight still and were not trained.

        It gives the same outcome until ``forget`` is called.
        """
        outcome = Outcome([], {}, [])
        for group_index in sorted(self._in_flight):
            if group_index not in in_flight or group_index in trained:
                continue
            group = self._finished.get(group_index)
            if group is None:
                outcome.discarded.append(group_index)
            elif self._refuses(group) or self._surplus == "drop":
                outcome.dropped.append(group_index)
            else:
                outcome.surplus[group_index] = self._kept(group_index, group)
        return outcome

    def _refuses(self, group: Group) -> bool:
        if self._filter is None:
            return False
        verdict = self._filter(list(flatten(group)))
        return not getattr(verdict, "keep", verdict)

    def _kept(self, group_index: int, group: Group) -> bytes | None:
        if self._surplus != "keep":
            return None
        try:
            return encode_group(group)
        except CannotStoreError as error:
            logger.warning("group %d is generated again: %s", group_index, error)
            return None
