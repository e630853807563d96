"""The results of finished groups: what source rules and curricula learn from."""

from __future__ import annotations

import math
from collections.abc import Iterable
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
