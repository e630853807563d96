"""The results of finished groups: what source rules and curricula learn from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Result(NamedTuple):
    """The rewards of one finished group."""

    source: str
    row: int | None
    """Its row in the source; None if it is not known."""
    step: int
    """The rollout step at which it was served."""
    rewards: list[float]
    """Finite numbers, at least one."""


def mean_rewards(results: Iterable[Result]) -> dict[str, float]:
    """Returns the mean reward of each source over all samples."""
    rewards: dict[str, list[float]] = {}
    for result in results:
        rewards.setdefault(result.source, []).extend(result.rewards)
    # An exact sum: engines report the same samples in any order.
    return {name: math.fsum(r / len(values) for r in values) for name, values in rewards.items()}


def absolute_advantages(rewards: Sequence[float]) -> list[float]:
    """Returns how far each reward of a group lies from their mean, in standard deviations.

    These are the advantages of GRPO (Shao et al. 2024, arXiv 2402.03300) without their signs. All
    are 0 if all rewards are equal; their mean is at most 1.
    """
    if min(rewards) == max(rewards):
        return [0.0] * len(rewards)
    mean = math.fsum(rewards) / len(rewards)
    distances = [abs(reward - mean) for reward in rewards]
    largest = max(distances)  # dividing by it first keeps small squares above 0
    parts = [distance / largest for distance in distances]
    deviation = math.sqrt(math.fsum(part * part for part in parts) / len(parts))
    return [part / deviation for part in parts]


def by_source(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Returns the results of each source that has any."""
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.source, []).append(result)
    return found
