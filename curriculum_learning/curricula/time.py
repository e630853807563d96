"""Rows open by the step: from the easiest few to all in a straight line."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from curriculum_learning.curricula.curriculum import (
    Percentile,
    complexity_rank,
    percentile_range,
    rows_at,
)


class TimeCurriculum:
    """Opens rows in a straight line from one percentile to another.

    Args:
        scores: Complexity of each row, finite; shape (rows,).
        initial_complexity_percentile: Share of the easiest rows that is open at step 0.
        final_complexity_percentile: Share that is open from the last warm-up step on.
        complexity_warmup_steps: Steps from one to the other.

    Raises:
        ConfigurationError: The initial percentile is above the final one.
    """

    def __init__(
        self,
        scores: NDArray[np.float64],
        *,
        initial_complexity_percentile: Percentile = 30,
        final_complexity_percentile: Percentile = 100,
        complexity_warmup_steps: Annotated[int, Ge(1)] = 100,
    ) -> None:
        self.rank = complexity_rank(scores)
        self._initial, self._final = percentile_range(
            initial_complexity_percentile, final_complexity_percentile
        )
        self.warmup_steps = complexity_warmup_steps
        self._at_step = (-1, 0)
        """The step last asked for, and the rows open at it: thousands of draws share a step."""

    def percentile(self, step: int) -> float:
        """Returns the percentile open at ``step``."""
        return float(self._percentile(step))

    def _percentile(self, step: int) -> Fraction:
        done = Fraction(min(step, self.warmup_steps), self.warmup_steps)
        return self._initial + (self._final - self._initial) * done

    def open_rows(self, step: int) -> int:
        """See ``Curriculum``."""
        if self._at_step[0] != step:
            self._at_step = (step, rows_at(self._percentile(step), len(self.rank)))
        return self._at_step[1]

    def observe(self, reward: float | None) -> bool:
        """Ignores rewards."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Returns nothing: the step decides."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Loads nothing."""
