"""Pools: three weights, by the mean reward of a row's latest group.

A mean of ``hard_up_to`` or less puts a row into the hard pool, of ``normal_up_to`` or less into the
normal pool, a higher one into the easy pool. Each pool has a weight. A row without a result has
weight 1, or the weight that its pass rate from before the run gives it.

Source: the difficulty pools of prime-rl (github.com/PrimeIntellect-ai/prime-rl, 2026,
``orchestrator/curriculum/samplers/pool.py``), with its thresholds and weights. It allows any number
of pools, and a weight of 0; here a row of any pool comes back some time.

It needs nothing but rewards. It keeps one byte a row.
Use it as the first thing to try: it is easy to read, and acts on a single result.
Do not use it with small groups: one lucky sample moves a row to another pool.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray

from curriculum_learning.curricula.base import RowCurriculum, SourceRows, Weights
from curriculum_learning.curricula.results import Result
from curriculum_learning.curricula.statistics import load_rows
from curriculum_learning.errors import ConfigurationError

_NAMES = ("hard", "normal", "easy", "unseen")


class Pools(RowCurriculum):
    """Weights rows by the pool that their latest result puts them into.

    Args:
        rows: The rows of the source.
        hard_up_to: The greatest mean reward of the hard pool.
        normal_up_to: The greatest mean reward of the normal pool.
        hard: The weight of the hard pool.
        normal: The weight of the normal pool.
        easy: The weight of the easy pool.

    Raises:
        ConfigurationError: ``hard_up_to`` is not less than ``normal_up_to``.
    """

    def __init__(
        self,
        rows: SourceRows,
        *,
        hard_up_to: float = 0.25,
        normal_up_to: float = 0.75,
        hard: Annotated[float, Gt(0)] = 0.2,
        normal: Annotated[float, Gt(0)] = 1.0,
        easy: Annotated[float, Gt(0)] = 0.2,
    ) -> None:
        super().__init__(rows)
        if hard_up_to >= normal_up_to:
            raise ConfigurationError(
                f"hard_up_to={hard_up_to:g} must be less than normal_up_to={normal_up_to:g}",
                source=rows.source, key="hard_up_to", value=hard_up_to,
            )  # fmt: skip
        self._thresholds = [hard_up_to, normal_up_to]
        self._pool_weights = np.array([hard, normal, easy, 1.0])
        pools = np.searchsorted(self._thresholds, rows.statistics.estimates(0.5))
        pools[np.isnan(rows.statistics.means)] = _NAMES.index("unseen")
        self._pools: NDArray[np.uint8] = pools.astype(np.uint8)
        self._weights: Weights | None = None

    def weights(self, step: int) -> Weights:
        """See ``RowCurriculum``."""
        if self._weights is None:
            self._weights = self._pool_weights[self._pools]
        return self._weights

    def observe(self, results: Sequence[Result]) -> None:
        """See ``RowCurriculum``."""
        for _, row, _, rewards in results:
            if row is not None:
                mean = math.fsum(rewards) / len(rewards)
                self._pools[row] = bisect_left(self._thresholds, mean)
                self._weights = None

    def metrics(self) -> dict[str, float]:
        """See ``RowCurriculum``."""
        counts = np.bincount(self._pools, minlength=len(_NAMES))
        return {f"pool/{name}": float(counts[i]) for i, name in enumerate(_NAMES)}

    def state_dict(self) -> dict[str, Any]:
        """See ``RowCurriculum``."""
        return {"pools": self._pools.tobytes()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``RowCurriculum``."""
        load_rows(self._pools, state["pools"])
        self._weights = None
