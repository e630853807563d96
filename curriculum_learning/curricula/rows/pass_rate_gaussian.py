"""Gaussian of pass rates: batches move from easy to hard rows with the step.

The pass rates of the drawn rows follow a Gaussian. Its mean moves in a straight line from ``start``
to ``end`` over ``steps``. Pass rates are counted in 20 bins. A bin with centre c gets the share
q ~ exp(-(c - mean)^2 / (2 sigma^2)) of the draws, however many rows it has: with K known rows in
all, each of the n rows of the bin has weight K q / n, held between ``floor`` and ``max_weight``.

Source: NVIDIA 2025 (Nemotron 3 Nano), arXiv 2512.20848, section 3.2.2, which takes the method from
NVIDIA 2025 (Llama-Nemotron), arXiv 2505.00949. That paper fills a batch by the Gaussian as far as
the rows of each pass rate last; ``max_weight`` stands for it. Neither gives the means or sigma; the
defaults stay in the range of figure 6 of the former, .7 to .4. There pass rates are measured before
the run, and again when progress ends; here each result renews them.

It needs pass rates from before the run; a row without one has weight 1 until it has a result.
Use it when you have pass rates of this very model and know how long the run is.
Do not use it without them, or when the run may end early: the hard rows come last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from curriculum_learning.curricula.base import RowCurriculum, SourceRows, Weights
from curriculum_learning.curricula.results import Result

_BINS = 20


class PassRateGaussian(RowCurriculum):
    """Draws rows so that their pass rates follow a Gaussian whose mean moves with the step.

    Args:
        rows: The rows of the source.
        steps: The rollout steps from ``start`` to ``end``: the length of the run.
        start: The mean pass rate at step 0.
        end: The mean pass rate from step ``steps`` on.
        sigma: The standard deviation of the pass rates.
        max_weight: The most that a row comes for each time that a row without pass rate comes.
        floor: The least weight of a row.
    """

    def __init__(
        self,
        rows: SourceRows,
        *,
        steps: Annotated[int, Ge(1)],
        start: Annotated[float, Ge(0), Le(1)] = 0.7,
        end: Annotated[float, Ge(0), Le(1)] = 0.4,
        sigma: Annotated[float, Ge(0.01)] = 0.15,
        max_weight: Annotated[float, Ge(1)] = 10.0,
        floor: Annotated[float, Gt(0), Le(1)] = 0.01,
    ) -> None:
        super().__init__(rows)
        self._steps, self._start, self._end, self._sigma = steps, start, end, sigma
        self._limits = floor, max_weight
        self._mean = start
        self._weights: Weights | None = None

    def weights(self, step: int) -> Weights:
        """See ``RowCurriculum``."""
        done = min(step, self._steps) / self._steps
        mean = self._start + (self._end - self._start) * done
        if self._weights is None or self._mean != mean:
            self._mean = mean
            self._weights = np.ones(self.rows.size)
            known = ~np.isnan(self.rows.statistics.means)
            if known.any():
                self._weights[known] = self._gaussian(self.rows.statistics.means[known])
        return self._weights

    def _gaussian(self, pass_rates: NDArray[np.float32]) -> Weights:
        """Returns the weight of each row with a pass rate."""
        bins = np.minimum(pass_rates * _BINS, _BINS - 1).astype(np.uint8)
        rows = np.bincount(bins, minlength=_BINS)
        used = np.flatnonzero(rows)
        centres = (used + 0.5) / _BINS
        exponents = -(((centres - self._mean) / self._sigma) ** 2) / 2
        # The nearest bin counts 1: a Gaussian far from all rows must not vanish.
        shares = np.exp(exponents - exponents.max())
        weights = np.zeros(_BINS)
        weights[used] = len(bins) * shares / shares.sum() / rows[used]
        return np.clip(weights, *self._limits)[bins]

    def observe(self, results: Sequence[Result]) -> None:
        """See ``RowCurriculum``."""
        if results:
            self._weights = None

    def metrics(self) -> dict[str, float]:
        """See ``RowCurriculum``."""
        return {"target_pass_rate": self._mean}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``RowCurriculum``."""
        self._weights = None
