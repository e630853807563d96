"""What a curriculum is: it says how many of a source's easiest rows are open.

A curriculum filters rows; it does not draw them. Percentiles count the rows of the source, easiest
first; ties are broken by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Protocol

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from curriculum_learning.errors import ConfigurationError

Percentile = Annotated[float, Ge(0), Le(100)]


class Curriculum(Protocol):
    """The curriculum of a source."""

    rank: NDArray[np.int64]
    """The place of each row in the order of complexity, 0 for the easiest; shape (rows,)."""

    def open_rows(self, step: int) -> int:
        """Returns how many of the easiest rows are open at ``step``, at least 1."""

    def observe(self, reward: float | None) -> bool:
        """Takes in an update: the mean reward of the source in it, None without a sample.

        Returns:
            Whether more rows are open now.
        """

    def state_dict(self) -> dict[str, Any]:
        """Returns plain data."""

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Loads what ``state_dict`` returned; None is the start."""


def complexity_rank(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the place of each row in the order of complexity; shape as ``scores``."""
    rank = np.empty(len(scores), dtype=np.int64)
    rank[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    return rank


def rows_at(percentile: Fraction, size: int) -> int:
    """Returns how many rows ``percentile`` % of ``size`` rows are: rounded down, at least 1."""
    return max(int(percentile * size / 100), 1)


def percentile_range(initial: float, final: float) -> tuple[Fraction, Fraction]:
    """Returns two percentiles as written: 0.1 is one tenth, so no row count is off by rounding.

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
