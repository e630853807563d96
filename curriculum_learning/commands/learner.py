"""A learner without a model: rows have a difficulty, and training raises a skill.

It answers what a configuration does over a run: which rows teach, how many groups are wasted, when
a source is mastered. It says nothing about a real model's size or data.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.errors import ConfigurationError

MASTERED = 0.9
"""The pass rate from which on a row, or the mean of a source's rows, counts as mastered."""

_STEP = 1.5
"""How much more difficult each source of a ladder is than the one before."""

_EASY = -4.0
"""The difficulty of rows that are mastered at the start."""


@dataclasses.dataclass(frozen=True)
class LearnerSettings:
    """How the learner learns.

    Raises:
        ConfigurationError: A value is out of range.
    """

    difficulty: Mapping[str, float]
    """The mean difficulty of each source's rows; the skill starts at 0. Infinite: impossible."""
    known: float = 0.0
    """The part of each source's rows that is mastered at the start, 0 to below 1: the easiest."""
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
            ("known", self.known, 0 <= self.known < 1),
            ("spread", self.spread, 0 <= self.spread < math.inf),
            ("--gain", self.gain, 0 < self.gain < math.inf),
            ("transfer", self.transfer, 0 <= self.transfer <= 1),
            ("--forgetting", self.forgetting, 0 <= self.forgetting <= 1),
            ("slope", self.slope, 0 < self.slope < math.inf),
        ]  # fmt: skip
        for key, value, fine in checks:
            if not fine:
                raise ConfigurationError(f"{key} ({value!r}) is out of range", key=key, value=value)


def preset(name: str, sources: Sequence[str], **changes: Any) -> LearnerSettings:
    """Returns the settings of a preset.

    Args:
        name: ``ladder``: each source is harder than the one before. ``impossible``: the last one
            can never be learned. ``mastered``: 80 % of the rows of each are mastered already.
        sources: The sources, the easiest first.
        changes: Other settings.
    """
    difficulty = {source: _STEP * level for level, source in enumerate(sources)}
    if name == "impossible":
        difficulty[sources[-1]] = math.inf
    settings = LearnerSettings(difficulty, known=0.8 if name == "mastered" else 0.0)
    return dataclasses.replace(settings, **changes)


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
        self._difficulties: dict[str, NDArray[np.float64]] = {}
        self._to_learn: dict[str, NDArray[np.float64]] = {}
        """The difficulties of the rows that are not mastered at the start."""
        for name, of_source in scores.items():
            difficulties = _difficulties(settings, name, _places(of_source, seed, name))
            self._difficulties[name] = difficulties
            rates = self._pass_rates(name, difficulties)
            self._to_learn[name] = difficulties[rates < MASTERED]

    def pass_rate(self, source: str, row: int) -> float:
        """Returns the probability that a sample of a row is right.

        A row without end has the difficulty of its level.
        """
        difficulties = self._difficulties[source]
        level = row % len(difficulties)
        return float(self._pass_rates(source, difficulties[level : level + 1])[0])

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
        """Returns the mean pass rate of each source's rows that were not mastered at the start."""
        return {
            name: float(self._pass_rates(name, difficulties).mean()) if len(difficulties) else 1.0
            for name, difficulties in self._to_learn.items()
        }

    @property
    def learnable(self) -> list[str]:
        """The sources that can be learned."""
        return [name for name, level in self._settings.difficulty.items() if level < math.inf]


def _difficulties(
    settings: LearnerSettings, source: str, places: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns the difficulty of each row, by its place in the order of difficulty."""
    known = int(settings.known * len(places))
    normal, rest = NormalDist(), len(places) - known
    quantiles = np.array([normal.inv_cdf((place + 0.5) / rest) for place in range(rest)])
    hard = settings.difficulty[source] + settings.spread * quantiles
    return np.concatenate([np.full(known, _EASY), hard])[places]


def _places(scores: NDArray[np.float64] | int, seed: int, source: str) -> NDArray[np.int64]:
    """Returns the place of each row in the order of its score, or in any order."""
    if not isinstance(scores, int):
        return np.argsort(np.argsort(scores, kind="stable"))
    key = np.random.SeedSequence([seed, *source.encode()])
    return np.random.Generator(np.random.PCG64(key)).permutation(scores)
