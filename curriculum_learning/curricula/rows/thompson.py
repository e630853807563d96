"""Thompson sampling: rows whose drawn pass rate is near a target.

Each row has a Beta posterior of its pass rate, Beta(1, 1) at first. A group of n samples with s
successes moves it::

    a <- (1 - discount) * a + discount + s
    b <- (1 - discount) * b + discount + n - s

At each rollout step a pass rate is drawn for every row. The ``share`` of rows nearest to ``target``
have weight 1, all others the weight ``floor``. New results of a step are followed by a new draw.
A row that was hardly tried is drawn from all over 0 to 1, so it is preferred now and then.

Source: Qu et al. 2025 (MoPPS), arXiv 2507.04632, and the authors' code; Shen et al. 2025 (BOTS),
arXiv 2510.26374, and theirs. MoPPS takes the nearest of 8 or 16 times as many candidates as it
needs, drawn evenly; a ``share`` of 1 / 8 does the same to all rows. The lambda of MoPPS is
1 - discount: .5, and 1 for MATH. The lambda of BOTS is the discount: .1 or .2. As in MoPPS a row
forgets when it is tried; in BOTS all rows forget at each step, and reference models fill them.

It needs rewards from 0 to 1; others are held to that range. It keeps 8 bytes a row.
Use it when results of a row are few and noisy: it is learnability with an honest doubt.
Do not use it when every row is tried often: learnability then does the same without chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Le

from curriculum_learning.curricula.base import RowCurriculum, SourceRows, Weights
from curriculum_learning.curricula.nearest import prefer_nearest
from curriculum_learning.curricula.results import Result
from curriculum_learning.curricula.statistics import load_rows, pass_rate


class Thompson(RowCurriculum):
    """Prefers the rows whose pass rate, drawn from a Beta posterior, is nearest to a target.

    Args:
        rows: The rows of the source.
        target: The pass rate to look for.
        share: The part of the rows that is preferred.
        discount: How much of its past a row forgets with a result.
        prior_samples: How many samples a pass rate from before the run counts as.
        floor: The weight of the other rows; 0 closes them until a later draw, as in the papers.
    """

    def __init__(
        self,
        rows: SourceRows,
        *,
        target: Annotated[float, Ge(0), Le(1)] = 0.5,
        share: Annotated[float, Gt(0), Le(1)] = 0.125,
        discount: Annotated[float, Ge(0), Le(1)] = 0.2,
        prior_samples: Annotated[float, Ge(0)] = 8.0,
        floor: Annotated[float, Ge(0), Le(1)] = 0.01,
    ) -> None:
        super().__init__(rows)
        self._target, self._share, self._floor = target, share, floor
        self._discount = discount
        samples = np.where(np.isnan(rows.statistics.means), 0.0, prior_samples)
        passed = samples * rows.statistics.estimates(0.5)
        self._a = (1 + passed).astype(np.float32)
        self._b = (1 + samples - passed).astype(np.float32)
        self._drawn: tuple[int, Weights] | None = None

    def weights(self, step: int) -> Weights:
        """See ``RowCurriculum``."""
        if self._drawn is None or self._drawn[0] != step:
            random = self.rows.random(step)
            pass_rates = random.random(self.rows.size)  # Beta(1, 1), but much faster
            tried = (self._a != 1) | (self._b != 1)
            pass_rates[tried] = random.beta(self._a[tried], self._b[tried])
            weights = prefer_nearest(pass_rates, self._target, self._share, self._floor)
            self._drawn = step, weights
        return self._drawn[1]

    def observe(self, results: Sequence[Result]) -> None:
        """See ``RowCurriculum``."""
        kept = 1 - self._discount
        for _, row, _, rewards in results:
            if row is not None:
                passed = pass_rate(rewards) * len(rewards)
                self._a[row] = kept * float(self._a[row]) + self._discount + passed
                self._b[row] = kept * float(self._b[row]) + self._discount + len(rewards) - passed
                self._drawn = None

    def state_dict(self) -> dict[str, Any]:
        """See ``RowCurriculum``."""
        return {"a": self._a.tobytes(), "b": self._b.tobytes()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``RowCurriculum``."""
        load_rows(self._a, state["a"])
        load_rows(self._b, state["b"])
        self._drawn = None
