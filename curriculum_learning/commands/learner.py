"""A learner without a model: rows have a difficulty, and training raises a skill.

It answers what a configuration does over a run: which rows teach, how many groups are wasted, when
a source is mastered. It says nothing about a real model's size or data.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.errors import ConfigurationError

MASTERED = 0.9
"""The mean pass rate from which on a source counts as mastered."""


@dataclasses.dataclass(frozen=True)
class LearnerSettings:
    """How the learner learns.

    Raises:
        ConfigurationError: A value is out of range.
    """

    difficulty: Mapping[str, float]
    """The mean difficulty of each source's rows; the skill starts at 0. Infinite: impossible."""
    spread: float = 1.0
    """The standard deviation of the difficulty within a source, 0 and more."""
    gain: float = 0.01
    """The most that one trained group raises the skill in its source, above 0."""
    transfer: float = 0.5
    """The part of it that other sources gain, 0 to 1."""
    forgetting: float = 0.0
    """The part of a source's skill that is lost in a rollout that trains none of it, 0 to 1."""
    slope: float = 1.5
    """The slope of the logistic curve from skill to pass rate, above 0."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        checks = [
            *(("--difficulty", {n: d}, not math.isnan(d)) for n, d in self.difficulty.items()),
            ("spread", self.spread, 0 <= self.spread < math.inf),
            ("gain", self.gain, 0 < self.gain < math.inf),
            ("transfer", self.transfer, 0 <= self.transfer <= 1),
            ("forgetting", self.forgetting, 0 <= self.forgetting <= 1),
            ("slope", self.slope, 0 < self.slope < math.inf),
        ]  # fmt: skip
        for key, value, fine in checks:
            if not fine:
                raise ConfigurationError(f"{key} ({value!r}) is out of range", key=key, value=value)


class Learner:
    """A skill for each source.

    A row of difficulty d is solved with probability 1 / (1 + exp(-slope * (skill - d))). A group
    teaches only if its rewards differ, and most at a pass rate of a half: it raises the skill by
    gain * 4 p (1 - p).

    Args:
        settings: How it learns.
        scores: The complexity of the rows of each source, or just their number: difficulty then
            has no order that a curriculum could know.
        seed: Deals out the difficulties where there are no scores.
    """

    def __init__(
        self,
        settings: LearnerSettings,
        scores: Mapping[str, NDArray[np.float64] | int],
        seed: int,
    ) -> None:
        self._settings = settings
        self.skills = dict.fromkeys(scores, 0.0)
        self._difficulties = {
            name: settings.difficulty[name] + settings.spread * _quantiles(of_source, seed, name)
            for name, of_source in scores.items()
        }

    def pass_rate(self, source: str, row: int) -> float:
        """Returns the probability that a sample of a row is right."""
        return float(self._pass_rates(source, self._difficulties[source][row : row + 1])[0])

    def _pass_rates(self, source: str, difficulties: NDArray[np.float64]) -> NDArray[np.float64]:
        margin = np.clip(self._settings.slope * (self.skills[source] - difficulties), -500, 500)
        rates: NDArray[np.float64] = 1 / (1 + np.exp(-margin))
        return np.where(np.isinf(difficulties), 0.0, rates)

    def train(self, groups: list[tuple[str, list[float]]]) -> None:
        """Learns from the trained groups of a rollout: the source and the rewards of each."""
        settings = self._settings
        gains = dict.fromkeys(self.skills, 0.0)
        for source, rewards in groups:
            rate = math.fsum(rewards) / len(rewards)
            gains[source] += settings.gain * 4 * rate * (1 - rate)
        total = sum(gains.values())
        trained = {source for source, _ in groups}
        for source, gained in gains.items():
            if source not in trained:
                self.skills[source] *= 1 - settings.forgetting
            self.skills[source] += gained + settings.transfer * (total - gained)

    def accuracies(self) -> dict[str, float]:
        """Returns the mean pass rate of each source's rows."""
        return {
            name: float(self._pass_rates(name, difficulties).mean())
            for name, difficulties in self._difficulties.items()
        }

    def mastered(self) -> bool:
        """Whether every source that can be learned is mastered."""
        return all(
            accuracy >= MASTERED
            for name, accuracy in self.accuracies().items()
            if not math.isinf(self._settings.difficulty[name])
        )


def _quantiles(scores: NDArray[np.float64] | int, seed: int, source: str) -> NDArray[np.float64]:
    """Returns standard normal quantiles, in the order of the scores or in any order."""
    size = scores if isinstance(scores, int) else len(scores)
    normal = NormalDist()
    quantiles = np.array([normal.inv_cdf((place + 0.5) / size) for place in range(size)])
    if isinstance(scores, int):
        key = [seed, *source.encode()]
        order = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key))).permutation(size)
    else:
        order = np.argsort(scores, kind="stable")
    placed = np.empty(size)
    placed[order] = quantiles
    return placed
