"""Curricula: which of a source's rows, in the order of their complexity, are open.

A curriculum filters rows, it does not draw them. Percentiles are of the source's rows, easiest
first; ties are broken by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.ema import Ema


class Curriculum(Protocol):
    """What a source asks and tells its curriculum."""

    rank: NDArray[np.int64]
    """Of each row: its place in the order of complexity, 0 is the easiest."""

    def open_rows(self, step: int) -> int:
        """How many of the easiest rows are open at ``step``, 1 to all."""

    def observe(self, reward: float | None) -> bool:
        """An update happened; ``reward`` is the source's mean in it, None if it had no sample.

        Returns:
            Whether more rows are open now.
        """

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Go to the state that ``state_dict`` gave; None is the start."""


def complexity_rank(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """The place of each row in the order of complexity; shape as ``scores``."""
    rank = np.empty(len(scores), dtype=np.int64)
    rank[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    return rank


def rows_at(percentile: Fraction, size: int) -> int:
    """How many rows the easiest ``percentile`` % of ``size`` rows are: rounded down, at least 1."""
    return max(int(percentile * size / 100), 1)


class TimeCurriculum:
    """Opens rows in a straight line from one percentile to another.

    Args:
        scores: Complexity of each row, finite.
        initial: Percentile open at step 0, in 0 to 100.
        final: Percentile open from step ``warmup_steps`` on, ``initial`` to 100.
        warmup_steps: Steps from one to the other, at least 1.
    """

    def __init__(
        self, scores: NDArray[np.float64], initial: float, final: float, warmup_steps: int
    ) -> None:
        self.rank = complexity_rank(scores)
        self._initial = exact(initial)
        self._final = exact(final)
        self._warmup_steps = warmup_steps
        self._at_step = (-1, 0)
        """The step last asked for, and the rows open at it: thousands of draws share a step."""

    def percentile(self, step: int) -> float:
        """The percentile open at ``step``."""
        return float(self._percentile(step))

    def _percentile(self, step: int) -> Fraction:
        done = Fraction(min(step, self._warmup_steps), self._warmup_steps)
        return self._initial + (self._final - self._initial) * done

    def open_rows(self, step: int) -> int:
        """See ``Curriculum``."""
        if self._at_step[0] != step:
            self._at_step = (step, rows_at(self._percentile(step), len(self.rank)))
        return self._at_step[1]

    def observe(self, reward: float | None) -> bool:
        """Rewards change nothing here."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the step says it all."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Nothing to load."""


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


def exact(number: float) -> Fraction:
    """A number as it is written: 0.1 is one tenth, so that no count is off by rounding."""
    return Fraction(str(number))
