"""E2H: the sources are levels from easy to hard, and the shares move along them with the step.

The levels are the K sources of positive weight in the order of the configuration, k = 0 to K - 1.
At step t of ``steps`` = T, and as at T from then on, a schedule gives each level a part q::

    cosine:    q ~ a (K - 1 - k) + (1 - a) k,  a = (1 + cos(pi t / T)) / 2
    gaussian:  q ~ exp(-(x - k)^2 / (2 sigma^2)),  x = (t / T)^exponent (K - 1)
    share ~ weight * (floor + (1 - K floor) q)

Source: Parashar et al. 2025 (E2H Reasoner), arXiv 2506.06632. The paper has no floor: its cosine
closes the hardest level at step 0 and the easiest from step T on. The authors' code has a floor of
2 / (K (K + 1)) in both schedules; with it the cosine is q ~ a (K - k) + (1 - a) (k + 1).

It needs sources in the order of their difficulty, and the length of the run, but no results.
Use it when the hardest source has no signal at first: the cosine where all sources have some, the
Gaussian to leave the easy ones soon.
Do not use it when the order is a guess; and give a floor when easy sources must not be forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from curriculum_learning.curricula.base import SourceRule
from curriculum_learning.curricula.softmax import softmax
from curriculum_learning.errors import ConfigurationError


class EasyToHard(SourceRule):
    """Moves the shares from the first source to the last.

    Args:
        rows: The number of rows of each source, the easiest source first.
        steps: The rollout steps from easy to hard.
        schedule: How the shares move: ``cosine`` or ``gaussian``.
        exponent: Of the Gaussian's way: below 1 it leaves the easy sources sooner; beta.
        sigma: The width of the Gaussian, in levels.
        floor: The least share of a source, at equal weights.

    Raises:
        ConfigurationError: ``floor`` is more than 1 / K.
    """

    learns = False

    def __init__(
        self,
        rows: Mapping[str, int],
        *,
        steps: Annotated[int, Ge(1)],
        schedule: Literal["cosine", "gaussian"] = "cosine",
        exponent: Annotated[float, Gt(0)] = 0.5,
        sigma: Annotated[float, Ge(0.01)] = 0.5,
        floor: Annotated[float, Ge(0)] = 0.0,
    ) -> None:
        super().__init__(rows)
        if floor * len(rows) > 1:
            raise ConfigurationError(
                f"floor={floor:g} must be <= {1 / len(rows):g}, 1 over the number of sources",
                key="floor",
                value=floor,
            )
        self._steps, self._schedule = steps, schedule
        self._exponent, self._sigma, self._floor = exponent, sigma, floor

    def shares(self, step: int, weights: Mapping[str, float]) -> Mapping[str, float]:
        """See ``SourceRule``."""
        levels = [name for name in self.rows if weights[name] > 0]
        hardest = len(levels) - 1
        done = min(step, self._steps) / self._steps
        if hardest == 0:
            parts = {levels[0]: 1.0}
        elif self._schedule == "cosine":
            easy = (1 + math.cos(math.pi * done)) / 2
            total = hardest * (hardest + 1) / 2
            parts = {
                name: (easy * (hardest - level) + (1 - easy) * level) / total
                for level, name in enumerate(levels)
            }
        else:
            at = done**self._exponent * hardest
            exponents = {
                name: -(((at - level) / self._sigma) ** 2) / 2 for level, name in enumerate(levels)
            }
            parts = softmax(dict.fromkeys(levels, 1.0), exponents)
        rest = 1 - len(levels) * self._floor
        return {
            name: weight * (self._floor + rest * parts[name]) if weight > 0 else 0.0
            for name, weight in weights.items()
        }
