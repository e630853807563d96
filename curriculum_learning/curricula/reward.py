"""Rows open by the reward: the next interval when the average is good enough."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.curricula.curriculum import complexity_rank, exact, rows_at
from curriculum_learning.curricula.ema import Ema


class RewardCurriculum:
    """Opens the next interval when the average reward is good enough.

    Level 0 is the easiest ``initial`` %; each level more opens one of ``num_intervals`` intervals
    of equal width between ``initial`` and ``final``. After an update the next one opens if the
    EMA of the source's rewards is at least ``threshold`` and the number of updates at this level
    less ``min_batches`` is a non-negative multiple of ``check_frequency``. The count then starts
    again; the average goes on.

    Args:
        scores: Complexity of each row, finite.
        initial: Percentile open at the start, in 0 to 100.
        final: Percentile open at the last level, ``initial`` to 100.
        num_intervals: Intervals between them, at least 1.
        threshold: Of the average reward.
        alpha: Weight of a new reward in the EMA, above 0 and at most 1.
        min_batches: Updates before the first check at a level, at least 0.
        check_frequency: Updates between checks, at least 1.
    """

    def __init__(
        self,
        scores: NDArray[np.float64],
        initial: float,
        final: float,
        *,
        num_intervals: int,
        threshold: float,
        alpha: float = 0.1,
        min_batches: int = 10,
        check_frequency: int = 3,
    ) -> None:
        self.rank = complexity_rank(scores)
        self.level = 0
        self.ema = Ema(alpha)
        self.threshold = threshold
        self._min_batches = min_batches
        self._check_frequency = check_frequency
        self._batches_at_level = 0
        first, last = exact(initial), exact(final)
        self.percentiles = [
            float(first + (last - first) * level / num_intervals)
            for level in range(num_intervals + 1)
        ]
        """The percentile open at each level."""
        self.counts = [
            rows_at(first + (last - first) * Fraction(level, num_intervals), len(scores))
            for level in range(num_intervals + 1)
        ]
        """The rows open at each level."""

    def open_rows(self, step: int) -> int:
        """See ``Curriculum``."""
        return self.counts[self.level]

    def intervals(self) -> list[NDArray[np.int64]]:
        """The rows of each interval, easiest first; the first is what level 0 opens."""
        order = np.argsort(self.rank)
        starts = [0, *self.counts[:-1]]
        return [order[start:stop] for start, stop in zip(starts, self.counts, strict=True)]

    def observe(self, reward: float | None) -> bool:
        """See ``Curriculum``."""
        if reward is not None:
            self.ema.add(reward)
        self._batches_at_level += 1
        beyond = self._batches_at_level - self._min_batches
        if (
            self.level == len(self.counts) - 1
            or beyond < 0
            or beyond % self._check_frequency
            or self.ema.value is None
            or self.ema.value < self.threshold
        ):
            return False
        self.level += 1
        self._batches_at_level = 0
        return True

    def state_dict(self) -> dict[str, Any]:
        """See ``Curriculum``."""
        return {
            "level": self.level,
            "batches_at_level": self._batches_at_level,
            "ema": self.ema.value,
        }

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """See ``Curriculum``."""
        if state is None:
            state = {"level": 0, "batches_at_level": 0, "ema": None}
        if state["level"] not in range(len(self.counts)):
            raise ValueError(f"there is no level {state['level']}")
        self.level, self._batches_at_level = state["level"], state["batches_at_level"]
        self.ema.value = state["ema"]
