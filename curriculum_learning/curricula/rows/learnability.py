"""Learnability: rows that the model solves about half of the time.

With p the faded mean pass rate of a row, its weight is::

    floor + (1 - floor) * 4 p (1 - p)

The variance p (1 - p) of a reward of 0 or 1 bounds how much a step on the row can improve the
policy. A row without a pass rate counts as the mean of the rows with one.

Source: Rutherford et al. 2024 (SFL), arXiv 2408.15099; Foster et al. 2025 (LILO), arXiv 2502.12272,
sections 2.2 and 4. LILO tries four candidates for each row that it trains on, keeps the best and
forgets the rest; here no group is generated for a choice alone, and old results fade.

It needs rewards from 0 to 1, and rows that come more than once. Pass rates measured before the run
replace the first pass.
Use it when many groups have no signal because their rewards are all equal.
Do not use it when a run sees each row about once, or when rewards only rank samples of a group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt, Le

from curriculum_learning.curricula.base import RowCurriculum, SourceRows, Weights
from curriculum_learning.curricula.results import Result


class Learnability(RowCurriculum):
    """Weights rows by p (1 - p).

    Args:
        rows: The rows of the source.
        floor: The weight of rows that are always or never solved; the greatest weight is 1.
    """

    def __init__(self, rows: SourceRows, *, floor: Annotated[float, Gt(0), Le(1)] = 0.05) -> None:
        super().__init__(rows)
        self._floor = floor
        self._weights: Weights | None = None

    def weights(self, step: int) -> Weights:
        """See ``RowCurriculum``."""
        if self._weights is None:
            unknown = np.isnan(self.rows.statistics.means)
            pass_rates = self.rows.statistics.estimates(0.5)
            learnability = 4 * pass_rates * (1 - pass_rates)
            if not unknown.all():
                learnability[unknown] = learnability[~unknown].mean()
            self._weights = self._floor + (1 - self._floor) * learnability
        return self._weights

    def observe(self, results: Sequence[Result]) -> None:
        """See ``RowCurriculum``."""
        if results:
            self._weights = None

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``RowCurriculum``."""
        self._weights = None
