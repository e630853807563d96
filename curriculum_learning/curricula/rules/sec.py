"""SEC: a bandit over sources, paid in absolute advantages.

Each source has a value Q, 0 at first. An update in which its samples have the mean absolute
advantage r moves it, and the shares are a softmax over the values::

    Q <- alpha * r + (1 - alpha) * Q
    share ~ weight * exp(Q / temperature)

The advantage of a sample is its distance from the mean reward of its group, in standard deviations;
a group whose rewards are all equal pays 0. Q is at most 1, so no source falls below
exp(-1 / temperature) times its weight.

Source: Chen et al. 2025 (Self-Evolving Curriculum), arXiv 2505.14970, and the authors' code, with
alpha .5 and temperature 1 (Countdown), .4 (MATH) or .2 (difficulty times kind). In the code a
source without a result in an update is paid 0; here its value stays.

It needs rewards that are compared within a group.
Use it when sources have different difficulty and the model outgrows them one after the other.
Do not use it when a source has few groups in an update: its value then follows chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from annotated_types import Ge, Gt, Le

from curriculum_learning.curricula.base import SourceRule
from curriculum_learning.curricula.results import Result, absolute_advantages
from curriculum_learning.curricula.softmax import softmax


class Sec(SourceRule):
    """Prefers sources whose samples have large advantages.

    Args:
        rows: The number of rows of each source.
        alpha: The weight of a new update in the value.
        temperature: Of the softmax over the values: near 0 only the best source counts.
    """

    needs_groups = True

    def __init__(
        self,
        rows: Mapping[str, int],
        *,
        alpha: Annotated[float, Gt(0), Le(1)] = 0.5,
        temperature: Annotated[float, Ge(0.01)] = 1.0,
    ) -> None:
        super().__init__(rows)
        self._alpha, self._temperature = alpha, temperature
        self._values = dict.fromkeys(self.rows, 0.0)

    def shares(self, step: int, weights: Mapping[str, float]) -> Mapping[str, float]:
        """See ``SourceRule``."""
        logits = {name: value / self._temperature for name, value in self._values.items()}
        return softmax(weights, logits)

    def observe(
        self, results: Mapping[str, Sequence[Result]], update: int, weights: Mapping[str, float]
    ) -> bool:
        """See ``SourceRule``."""
        for name, groups in results.items():
            paid = [a for group in groups for a in absolute_advantages(group.rewards)]
            mean = math.fsum(paid) / len(paid)
            self._values[name] += self._alpha * (mean - self._values[name])
        return bool(results)

    def metrics(self) -> dict[str, dict[str, float]]:
        """See ``SourceRule``."""
        return {name: {"rule_value": value} for name, value in self._values.items()}

    def state_dict(self) -> dict[str, Any]:
        """See ``SourceRule``."""
        return dict(self._values)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``SourceRule``."""
        self._values = msgspec.convert(
            {name: state.get(name, 0.0) for name in self.rows}, dict[str, float]
        )
