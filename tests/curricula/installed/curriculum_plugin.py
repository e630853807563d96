"""A package that ships a curriculum and a source rule, as if it were installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from annotated_types import Ge

from curriculum_learning.curricula import RowCurriculum, SourceRows, SourceRule
from curriculum_learning.curricula.base import Weights


class OddRows(RowCurriculum):
    """Rows of odd number come ``factor`` times as often as the others.

    Args:
        rows: The rows of the source.
        factor: How much more often.
    """

    learns = False

    def __init__(self, rows: SourceRows, *, factor: Annotated[float, Ge(1)] = 2.0) -> None:
        super().__init__(rows)
        self._weights = np.where(np.arange(rows.size) % 2, factor, 1.0)

    def weights(self, step: int) -> Weights:
        """See ``RowCurriculum``."""
        return self._weights


class LastSource(SourceRule):
    """Triples the weight of the last source."""

    learns = False

    def shares(self, step: int, weights: Mapping[str, float]) -> Mapping[str, float]:
        """See ``SourceRule``."""
        last = list(self.rows)[-1]
        return {**weights, last: 3 * weights[last]}
