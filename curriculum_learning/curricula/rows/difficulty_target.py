"""AdaRFT: rows near a target difficulty, which rises while the rewards are high.

After each update the target T moves by the mean reward R of the source's samples::

    T <- T + step_size * range * tanh(sensitivity * (R - target_reward))

T starts at the least complexity of a row and is held to the ``range`` of the complexities. The
``share`` of rows whose complexity is nearest to T have weight 1, all others the weight ``floor``.

Source: Shi et al. 2025, arXiv 2504.05520, sections 3.1 and 3.3, and the authors' code. They train
on the 1,024 of 10,000 rows nearest to T alone; eta is 50 on a scale of 0 to 100.

It needs a complexity for each row, on an even scale: the failure rate of a reference model, or
levels. It needs no results of single rows.
Use it when you have such scores and do not know how fast the model will climb.
Do not use it when the scores say little about this model: the target then moves without effect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from annotated_types import Ge, Gt, Le

from curriculum_learning.curricula.base import RowCurriculum, SourceRows, Weights
from curriculum_learning.curricula.nearest import prefer_nearest
from curriculum_learning.curricula.results import Result


class DifficultyTarget(RowCurriculum):
    """Prefers the rows whose complexity is nearest to a target that follows the reward.

    Args:
        rows: The rows of the source.
        share: The part of the rows that is preferred.
        step_size: The most that an update moves the target, as a part of the range; eta.
        sensitivity: How fast the step grows with the distance from the target reward; alpha.
        target_reward: The mean reward to hold; beta.
        floor: The weight of the other rows; 0 closes them, as in the paper.
    """

    needs_scores = True
    needs_rows = False

    def __init__(
        self,
        rows: SourceRows,
        *,
        share: Annotated[float, Gt(0), Le(1)] = 0.1,
        step_size: Annotated[float, Gt(0), Le(1)] = 0.5,
        sensitivity: Annotated[float, Gt(0)] = 2.0,
        target_reward: float = 0.5,
        floor: Annotated[float, Ge(0), Le(1)] = 0.01,
    ) -> None:
        super().__init__(rows)
        assert rows.scores is not None  # needs_scores
        self._scores = rows.scores
        self._lowest, self._highest = float(rows.scores.min()), float(rows.scores.max())
        self._share, self._floor = share, floor
        self._step = step_size * (self._highest - self._lowest)
        self._sensitivity, self._target_reward = sensitivity, target_reward
        self._move(self._lowest)

    def _move(self, target: float) -> None:
        self._target = min(max(target, self._lowest), self._highest)
        self._weights: Weights | None = None

    def weights(self, step: int) -> Weights:
        """See ``RowCurriculum``."""
        if self._weights is None:
            self._weights = prefer_nearest(self._scores, self._target, self._share, self._floor)
        return self._weights

    def observe(self, results: Sequence[Result]) -> None:
        """See ``RowCurriculum``."""
        rewards = [reward for result in results for reward in result.rewards]
        if rewards:
            error = math.fsum(rewards) / len(rewards) - self._target_reward
            self._move(self._target + self._step * math.tanh(self._sensitivity * error))

    def metrics(self) -> dict[str, float]:
        """See ``RowCurriculum``."""
        return {"target_difficulty": self._target}

    def state_dict(self) -> dict[str, Any]:
        """See ``RowCurriculum``."""
        return {"target": self._target}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``RowCurriculum``."""
        self._move(msgspec.convert(state["target"], float))
