"""Curricula that open the easiest rows of a source: percentiles of the complexity order.

Percentiles are of the source's rows, easiest first; ties are broken by row.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from curriculum_learning.curricula.base import RowCurriculum, SourceRows, Weights
from curriculum_learning.errors import ConfigurationError

Percentile = Annotated[float, Ge(0), Le(100)]


class ComplexityCurriculum(RowCurriculum):
    """Opens the easiest rows; a subclass says how many.

    Args:
        rows: The rows of the source, with their scores.
    """

    needs_scores = True
    needs_rows = False

    def __init__(self, rows: SourceRows) -> None:
        super().__init__(rows)
        assert rows.scores is not None
        self.rank = complexity_rank(rows.scores)
        """The place of each row in the order of complexity, 0 is the easiest."""
        self._opened = 0
        self._weights: Weights = np.zeros(0)

    def open_rows(self, step: int) -> int:
        """Returns how many of the easiest rows are open at ``step``, 1 to all."""
        raise NotImplementedError

    def weights(self, step: int) -> Weights:
        """See ``RowCurriculum``: 1 for open rows."""
        opened = self.open_rows(step)
        if opened != self._opened:
            self._opened, self._weights = opened, (self.rank < opened).astype(np.float64)
        return self._weights


def complexity_rank(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the place of each row in the order of complexity; shape as ``scores``."""
    rank = np.empty(len(scores), dtype=np.int64)
    rank[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    return rank


def rows_at(percentile: Fraction, size: int) -> int:
    """Returns how many rows are the easiest ``percentile`` %: rounded down, at least 1."""
    return max(int(percentile * size / 100), 1)


def percentile_range(initial: float, final: float) -> tuple[Fraction, Fraction]:
    """Returns two percentiles as written: 0.1 is one tenth, so that no row is lost to rounding.

    Raises:
        ConfigurationError: The first is above the second.
    """
    if initial > final:
        raise ConfigurationError(
            f"initial_complexity_percentile ({initial:g}) must not be above "
            f"final_complexity_percentile ({final:g})",
            key="initial_complexity_percentile",
            value=initial,
        )
    return Fraction(str(initial)), Fraction(str(final))
