"""Time: rows open by the step, from the easiest few to all in a straight line.

::

    open percentile = initial + (final - initial) * min(step / steps, 1)

Source: the competence-based curriculum of Platanios et al. 2019, arXiv 1903.09848, linear.

It needs complexity scores, but no results.
Use it when you know how fast the model learns, or rewards say little.
Do not use it when the speed of learning is a guess: see ``reward`` and ``difficulty_target``.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from annotated_types import Ge

from curriculum_learning.curricula.base import SourceRows
from curriculum_learning.curricula.complexity import (
    ComplexityCurriculum,
    Percentile,
    percentile_range,
    rows_at,
)


class TimeCurriculum(ComplexityCurriculum):
    """Opens rows in a straight line from one percentile to another.

    Args:
        rows: The rows of the source, with their scores.
        initial_complexity_percentile: The share of the easiest rows that is open at step 0.
        final_complexity_percentile: The share that is open from the last warm-up step on.
        complexity_warmup_steps: Steps from one to the other.

    Raises:
        ConfigurationError: The initial percentile is above the final one.
    """

    learns = False

    def __init__(
        self,
        rows: SourceRows,
        *,
        initial_complexity_percentile: Percentile = 30,
        final_complexity_percentile: Percentile = 100,
        complexity_warmup_steps: Annotated[int, Ge(1)] = 100,
    ) -> None:
        super().__init__(rows)
        self._initial, self._final = percentile_range(
            initial_complexity_percentile, final_complexity_percentile
        )
        self.warmup_steps = complexity_warmup_steps

    def percentile(self, step: int) -> float:
        """Returns the percentile open at ``step``."""
        return float(self._percentile(step))

    def _percentile(self, step: int) -> Fraction:
        done = Fraction(min(step, self.warmup_steps), self.warmup_steps)
        return self._initial + (self._final - self._initial) * done

    def open_rows(self, step: int) -> int:
        """See ``ComplexityCurriculum``."""
        return rows_at(self._percentile(step), self.rows.size)
