"""DUMP: upper confidence bounds on absolute advantages.

With L the mean absolute advantage of the latest ``window`` samples of a source, n its finished
groups and N those of all sources::

    UCB = L + sqrt(2 ln(N + 1) / (n + 1))
    share ~ weight * exp(UCB / temperature)

The advantage of a sample is its distance from the mean reward of its group, in standard deviations.

Source: Wang et al. 2025 (DUMP), arXiv 2504.09710, equation 3 and algorithm 1, with a window of 300
and a temperature of .1. The authors' code takes validation rewards for advantages; this follows the
paper.

It needs rewards that are compared within a group.
Use it as SEC, with many sources: one that is seldom drawn is tried again by itself.
Do not use it when sources start at different times: a source without a result gets nearly all
groups until its first results are in.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from annotated_types import Ge

from curriculum_learning.curricula.base import SourceRule
from curriculum_learning.curricula.results import Result, absolute_advantages
from curriculum_learning.curricula.softmax import softmax


class Dump(SourceRule):
    """Prefers sources whose samples have large advantages, and sources that were seldom tried.

    Args:
        rows: The number of rows of each source.
        window: The samples of a source whose advantages are averaged: the latest ones.
        temperature: Of the softmax over the bounds: near 0 only the best source counts.
    """

    needs_groups = True

    def __init__(
        self,
        rows: Mapping[str, int],
        *,
        window: Annotated[int, Ge(1)] = 300,
        temperature: Annotated[float, Ge(0.01)] = 0.1,
    ) -> None:
        super().__init__(rows)
        self._window, self._temperature = window, temperature
        self.load_state_dict({})

    def _bounds(self) -> dict[str, float]:
        total = sum(self._groups.values())
        return {
            name: math.fsum(window) / max(len(window), 1)
            + math.sqrt(2 * math.log(total + 1) / (self._groups[name] + 1))
            for name, window in self._advantages.items()
        }

    def shares(self, step: int, weights: Mapping[str, float]) -> Mapping[str, float]:
        """See ``SourceRule``."""
        logits = {name: bound / self._temperature for name, bound in self._bounds().items()}
        return softmax(weights, logits)

    def observe(
        self, results: Mapping[str, Sequence[Result]], update: int, weights: Mapping[str, float]
    ) -> bool:
        """See ``SourceRule``."""
        for name, groups in results.items():
            self._groups[name] += len(groups)
            for group in groups:
                self._advantages[name].extend(absolute_advantages(group.rewards))
        return bool(results)

    def metrics(self) -> dict[str, dict[str, float]]:
        """See ``SourceRule``."""
        return {name: {"rule_upper_bound": bound} for name, bound in self._bounds().items()}

    def state_dict(self) -> dict[str, Any]:
        """See ``SourceRule``."""
        return {
            name: {"groups": self._groups[name], "advantages": list(window)}
            for name, window in self._advantages.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``SourceRule``."""
        new = {"groups": 0, "advantages": ()}
        saved = {name: state.get(name, new) for name in self.rows}
        self._groups = {
            name: msgspec.convert(value["groups"], Annotated[int, msgspec.Meta(ge=0)])
            for name, value in saved.items()
        }
        self._advantages = {
            name: deque(msgspec.convert(value["advantages"], list[float]), self._window)
            for name, value in saved.items()
        }
