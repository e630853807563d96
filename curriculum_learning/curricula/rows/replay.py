"""Prioritized level replay: rows whose latest rewards differed most, and stale rows.

The score of a row is the mean of abs(reward - mean reward) in its latest group. A seen row has the
probability::

    (1 - staleness) * rank ** (-1 / beta) / sum + staleness * age / sum of ages

Rank 1 has the highest score, and rows of equal score share their ranks evenly. The age of a row is
the number of rollout steps since it was tried. An unseen row has weight 1. With s seen rows, each
has s times its probability, held between ``floor`` and ``max_weight``.

Source: Jiang et al. 2021, arXiv 2010.03934, section 3, equations 1 to 4. A group's own mean stands
in for their value function. They need no ``max_weight``: they score a level before they choose the
next. Here a rollout draws hundreds of groups at once, and the few best rows would fill it.

It needs rewards of any range. It keeps two bytes a row.
Use it when rows of mixed results should come soon again, and old scores should be renewed.
Do not use it with finely graded rewards: few rows then share a rank, unless ``beta`` is 1 or more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray

from curriculum_learning.curricula.base import RowCurriculum, SourceRows, Weights
from curriculum_learning.curricula.results import Result
from curriculum_learning.curricula.statistics import load_rows


class Replay(RowCurriculum):
    """Prefers rows with large advantages and rows that were not tried for long.

    Args:
        rows: The rows of the source.
        beta: The temperature of the ranks: near 0 only the best one counts.
        staleness: The part of the replay that goes by age; rho in the paper.
        max_weight: The most that a row comes for each time that an unseen row comes.
        floor: The least weight of a seen row.
    """

    def __init__(
        self,
        rows: SourceRows,
        *,
        beta: Annotated[float, Gt(0)] = 0.1,
        staleness: Annotated[float, Ge(0), Le(1)] = 0.1,
        max_weight: Annotated[float, Ge(1)] = 10.0,
        floor: Annotated[float, Gt(0), Le(1)] = 0.01,
    ) -> None:
        super().__init__(rows)
        self._beta, self._staleness, self._limits = beta, staleness, (floor, max_weight)
        self._scores = np.full(rows.size, np.nan, dtype=np.float16)
        self._weights: Weights | None = None

    def weights(self, step: int) -> Weights:
        """See ``RowCurriculum``."""
        if self._weights is None:
            self._weights = np.ones(self.rows.size)
            seen = ~np.isnan(self._scores)
            if seen.any():
                last_steps = self.rows.statistics.last_steps[seen]
                ages = (last_steps.max() - last_steps).astype(np.float64)
                ages += not ages.any()  # of one age, none is more stale than another
                replayed = (1 - self._staleness) * _by_rank(self._scores[seen], self._beta)
                replayed += self._staleness * ages / ages.sum()
                self._weights[seen] = np.clip(len(replayed) * replayed, *self._limits)
        return self._weights

    def observe(self, results: Sequence[Result]) -> None:
        """See ``RowCurriculum``."""
        for _, row, _, rewards in results:
            if row is not None:
                score = float(np.abs(np.subtract(rewards, np.mean(rewards))).mean())
                self._scores[row] = min(score, 65504)  # the greatest float16
                self._weights = None

    def state_dict(self) -> dict[str, Any]:
        """See ``RowCurriculum``."""
        return {"scores": self._scores.tobytes()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``RowCurriculum``."""
        load_rows(self._scores, state["scores"])
        self._weights = None


def _by_rank(scores: NDArray[np.float16], beta: float) -> Weights:
    """Returns the probability of each row by the rank of its score."""
    # The bits of floats >= 0 have the order of the floats: counting them sorts them.
    bits = scores.view(np.uint16)
    tied = np.bincount(bits)[::-1]
    last = np.cumsum(tied)
    sums = np.append(0.0, np.cumsum(np.arange(1, len(scores) + 1) ** (-1 / beta)))
    shares: Weights = (sums[last] - sums[last - tied]) / sums[-1] / np.maximum(tied, 1)
    return shares[::-1][bits]
