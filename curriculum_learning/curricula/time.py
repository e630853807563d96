"""Rows open by the step: from the easiest few to all in a straight line."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.curricula.curriculum import complexity_rank, exact, rows_at


class TimeCurriculum:
    """Opens rows in a straight line from one percentile to another.

    Args:
        scores: Complexity of each row, finite.
        initial: Percentile open at step 0, in 0 to 100.
        final: Percentile open from step ``warmup_steps`` on, ``initial`` to 100.
        warmup_steps: Steps from one to the other, at least 1.
    """

    def __init__(
        self, scores: NDArray[np.float64], initial: float, final: float, warmup_steps: int
    ) -> None:
        self.rank = complexity_rank(scores)
        self._initial = exact(initial)
        self._final = exact(final)
        self._warmup_steps = warmup_steps
        self._at_step = (-1, 0)
        """The step last asked for, and the rows open at it: thousands of draws share a step."""

    def percentile(self, step: int) -> float:
        """The percentile open at ``step``."""
        return float(self._percentile(step))

    def _percentile(self, step: int) -> Fraction:
        done = Fraction(min(step, self._warmup_steps), self._warmup_steps)
        return self._initial + (self._final - self._initial) * done

    def open_rows(self, step: int) -> int:
        """See ``Curriculum``."""
        if self._at_step[0] != step:
            self._at_step = (step, rows_at(self._percentile(step), len(self.rank)))
        return self._at_step[1]

    def observe(self, reward: float | None) -> bool:
        """Rewards change nothing here."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the step says it all."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Nothing to load."""
