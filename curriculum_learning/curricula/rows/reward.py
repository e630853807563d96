"""Reward: the next interval of rows opens when the average reward is good enough.

Source: ``RewardGatedCurriculumSampler``, one of the samplers for verl that this package continues;
see the README of ``verl_extensions``.

It needs complexity scores, and rewards whose mean says how well the open rows are solved.
Use it when you do not know how fast the model learns.
Do not use it where the average of a source never reaches the threshold: harder rows stay closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any

import msgspec
import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from curriculum_learning.curricula.base import SourceRows
from curriculum_learning.curricula.complexity import (
    ComplexityCurriculum,
    Percentile,
    percentile_range,
    rows_at,
)
from curriculum_learning.curricula.ema import Alpha, Ema
from curriculum_learning.curricula.results import Result, mean_rewards


class RewardCurriculum(ComplexityCurriculum):
    """Opens the next interval when the average reward is good enough.

    Level 0 is the easiest rows up to the initial percentile. Each further level opens one of
    ``num_intervals`` intervals of equal width between the initial and the final percentile. After
    an update the next one opens if the EMA of the source's rewards is at least
    ``reward_threshold`` and the number of updates at this level less ``min_batches_per_level`` is
    a non-negative multiple of ``check_frequency``. The count then starts again; the EMA does not.

    Args:
        rows: The rows of the source, with their scores.
        reward_threshold: Average reward of the source that opens the next interval.
        initial_complexity_percentile: Share of the easiest rows that is open at the start.
        final_complexity_percentile: Share that is open at the last level.
        num_intervals: Intervals between the two percentiles.
        reward_alpha: Weight of a new reward in the average.
        min_batches_per_level: Updates at a level before the first check.
        check_frequency: Updates between checks.
        focus_new_intervals: Draw newer intervals more often.
        interval_decay: Weight of an interval relative to the next newer one, if focused.

    Raises:
        ConfigurationError: The initial percentile is above the final one.
    """

    def __init__(
        self,
        rows: SourceRows,
        *,
        reward_threshold: float,
        initial_complexity_percentile: Percentile = 30,
        final_complexity_percentile: Percentile = 100,
        num_intervals: Annotated[int, Ge(1), Le(100_000)] = 10,
        reward_alpha: Alpha = 0.1,
        min_batches_per_level: Annotated[int, Ge(0)] = 10,
        check_frequency: Annotated[int, Ge(1)] = 3,
        focus_new_intervals: bool = False,
        interval_decay: Annotated[float, Ge(0), Le(1)] = 0.5,
    ) -> None:
        super().__init__(rows)
        self.level = 0
        self.ema = Ema(reward_alpha)
        self.threshold = reward_threshold
        self.focus_new_intervals = focus_new_intervals
        self.interval_decay = interval_decay
        self._min_batches = min_batches_per_level
        self._check_frequency = check_frequency
        self._batches_at_level = 0
        first, last = percentile_range(initial_complexity_percentile, final_complexity_percentile)
        opened = [
            first + (last - first) * Fraction(level, num_intervals)
            for level in range(num_intervals + 1)
        ]
        self.percentiles = [float(percentile) for percentile in opened]
        """The percentile open at each level."""
        self.counts = [rows_at(percentile, rows.size) for percentile in opened]
        """The rows open at each level."""

    def open_rows(self, step: int) -> int:
        """See ``ComplexityCurriculum``."""
        return self.counts[self.level]

    def identity(self) -> dict[str, Any]:
        """See ``RowCurriculum``: a level means other rows if these differ."""
        return {
            "initial_complexity_percentile": self.percentiles[0],
            "final_complexity_percentile": self.percentiles[-1],
            "num_intervals": len(self.counts) - 1,
            "focus_new_intervals": self.focus_new_intervals,
        }

    def intervals(self) -> list[NDArray[np.int64]]:
        """Returns the rows of each interval, easiest first; level 0 opens the first."""
        order = np.argsort(self.rank)
        starts = [0, *self.counts[:-1]]
        return [order[start:stop] for start, stop in zip(starts, self.counts, strict=True)]

    def observe(self, results: Sequence[Result]) -> None:
        """See ``RowCurriculum``."""
        for reward in mean_rewards(results).values():
            self.ema.add(reward)
        self._batches_at_level += 1
        beyond = self._batches_at_level - self._min_batches
        if (
            self.level < len(self.counts) - 1
            and beyond >= 0
            and beyond % self._check_frequency == 0
            and self.ema.value is not None
            and self.ema.value >= self.threshold
        ):
            self.level += 1
            self._batches_at_level = 0

    def metrics(self) -> dict[str, float]:
        """See ``RowCurriculum``."""
        known = {} if self.ema.value is None else {"curriculum_reward_ema": self.ema.value}
        return {"level": self.level, **known}

    def state_dict(self) -> dict[str, Any]:
        """See ``RowCurriculum``."""
        return {
            "level": self.level,
            "batches_at_level": self._batches_at_level,
            "ema": self.ema.value,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``RowCurriculum``."""
        level, batches = msgspec.convert(
            (state["level"], state["batches_at_level"]), tuple[int, int]
        )
        if level not in range(len(self.counts)):
            raise ValueError(f"there is no level {level}")
        self.ema.value = msgspec.convert(state["ema"], float | None)
        self.level, self._batches_at_level = level, batches
