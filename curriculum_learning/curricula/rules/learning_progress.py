"""Learning progress: sources whose reward moves, up or down.

Each source has a fast average of its mean rewards and a slow average of the fast one, both from its
first reward on. Their distance is the progress of the source::

    fast <- fast + alpha * (reward - fast)
    slow <- slow + alpha * (fast - slow)
    share = floor * weight / sum + (1 - floor) * weight * abs(fast - slow) / sum

Without progress of any source the weights are as configured.

Source: Portelas et al. 2019 (ALP-GMM), arXiv 1910.07224: absolute progress, tasks in proportion to
it, 20 % at random. They take the distance to one earlier reward; the two averages are from
Kanitscheider et al. 2021, arXiv 2106.14876, without their stretching of low success rates.

It needs rewards whose mean says how well the source is solved.
Use it when some sources are impossible or mastered, and when forgetting should be met.
Do not use it with few groups in an update: the noise of a mean looks like progress.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from annotated_types import Ge, Gt, Le

from curriculum_learning.curricula.base import SourceRule
from curriculum_learning.curricula.results import Result, mean_rewards


class LearningProgress(SourceRule):
    """Prefers sources whose mean reward changes.

    Args:
        rows: The number of rows of each source.
        alpha: The weight of a new value in both averages.
        floor: The part of the draws that goes by the configured weights alone.
    """

    def __init__(
        self,
        rows: Mapping[str, int],
        *,
        alpha: Annotated[float, Gt(0), Le(1)] = 0.1,
        floor: Annotated[float, Ge(0), Le(1)] = 0.2,
    ) -> None:
        super().__init__(rows)
        self._alpha, self._floor = alpha, floor
        self._averages: dict[str, tuple[float, float]] = {}
        """The fast and the slow average of each source with a result."""

    def _progress(self) -> dict[str, float]:
        return {name: abs(fast - slow) for name, (fast, slow) in self._averages.items()}

    def shares(self, step: int, weights: Mapping[str, float]) -> Mapping[str, float]:
        """See ``SourceRule``."""
        progress = self._progress()
        moving = {name: weight * progress.get(name, 0.0) for name, weight in weights.items()}
        total, all_moving = math.fsum(weights.values()), math.fsum(moving.values())
        if all_moving == 0:
            return weights
        return {
            name: self._floor * weight / total + (1 - self._floor) * moving[name] / all_moving
            for name, weight in weights.items()
        }

    def observe(
        self, results: Mapping[str, Sequence[Result]], update: int, weights: Mapping[str, float]
    ) -> bool:
        """See ``SourceRule``."""
        rewards = mean_rewards(group for groups in results.values() for group in groups)
        for name, reward in rewards.items():
            fast, slow = self._averages.get(name, (reward, reward))
            fast += self._alpha * (reward - fast)
            slow += self._alpha * (fast - slow)
            self._averages[name] = fast, slow
        return bool(results)

    def metrics(self) -> dict[str, dict[str, float]]:
        """See ``SourceRule``."""
        return {name: {"rule_progress": progress} for name, progress in self._progress().items()}

    def state_dict(self) -> dict[str, Any]:
        """See ``SourceRule``."""
        return {name: list(averages) for name, averages in self._averages.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``SourceRule``."""
        self._averages = msgspec.convert(
            {name: state[name] for name in self.rows if name in state},
            dict[str, tuple[float, float]],
        )
