"""Adaptive weights: a source with a lower reward gets a higher weight.

::

    share ~ weight * exp(-average reward / temperature), within a bounded ratio

Source: the adaptive mode of the samplers for verl that this package continues; see the README of
``verl_extensions``.

It needs rewards that can be compared between sources.
Use it when all sources can be learned and the weak ones should catch up.
Do not use it when a source may be impossible: one whose reward stays at 0 gets as much as the bound
on the ratio lets it have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from annotated_types import Ge, Gt

from curriculum_learning.curricula.base import SourceRule
from curriculum_learning.curricula.ema import Alpha, Ema
from curriculum_learning.curricula.results import Result, mean_rewards
from curriculum_learning.errors import ConfigurationError


class AdaptiveWeights(SourceRule):
    """Weights proportional to ``w_i * exp(-ema_i / temperature)``, within a bounded ratio.

    The rewards of a source are averaged by an EMA. Every ``update_frequency`` updates, once every
    source of positive weight has a reward, the averages of that moment decide the weights until
    the next time. Where the ratio of two weights would exceed the bound the smaller is raised.

    Args:
        rows: The number of rows of each source.
        alpha: Weight of a new reward in the EMA.
        update_frequency: Updates between changes of the weights.
        temperature: Temperature of the softmax, in units of reward; lower is more sensitive.
        max_source_ratio: Largest ratio between the weights of two sources of positive weight.
    """

    def __init__(
        self,
        rows: Mapping[str, int],
        *,
        alpha: Alpha = 0.1,
        update_frequency: Annotated[int, Ge(1)] = 5,
        temperature: Annotated[float, Gt(0)] = 1.0,
        max_source_ratio: Annotated[float, Ge(1)] = 3.0,
    ) -> None:
        super().__init__(rows)
        self.temperature = temperature
        self.max_source_ratio = max_source_ratio
        self._update_frequency = update_frequency
        self._emas = {name: Ema(alpha) for name in rows}
        self._in_force: dict[str, float] | None = None

    @property
    def emas(self) -> dict[str, float | None]:
        """The average reward of each source; None before its first reward."""
        return {name: ema.value for name, ema in self._emas.items()}

    def check(self, weights: Mapping[str, float], key: str, when: str = "") -> None:
        """Check that configured weights leave room for the bound.

        Args:
            weights: The configured weights, at least one of them above 0.
            key: The configuration key.
            when: The moment, for the message, such as `` at step 3``.

        Raises:
            ConfigurationError: The ratio of two of them is larger than ``max_source_ratio``.
        """
        positive = {name: weight for name, weight in weights.items() if weight > 0}
        largest = max(positive, key=lambda name: positive[name])
        smallest = min(positive, key=lambda name: positive[name])
        ratio = positive[largest] / positive[smallest]
        if ratio > self.max_source_ratio * (1 + 1e-9):
            raise ConfigurationError(
                f"{key}{when}: '{largest}' has {ratio:.3g} times the weight of '{smallest}', more "
                f"than max_source_ratio={self.max_source_ratio:g} allows; raise max_source_ratio, "
                f"or bring the weights closer together",
                source=smallest,
                key=key,
                value=dict(weights),
            )

    def observe(
        self, results: Mapping[str, Sequence[Result]], update: int, weights: Mapping[str, float]
    ) -> bool:
        """See ``SourceRule``; it waits for a reward of every source of positive weight."""
        rewards = mean_rewards(result for groups in results.values() for result in groups)
        for name, reward in rewards.items():
            self._emas[name].add(reward)
        known = {name: ema.value for name, ema in self._emas.items() if ema.value is not None}
        if update % self._update_frequency or any(
            weight > 0 and name not in known for name, weight in weights.items()
        ):
            return False
        self._in_force = known
        return True

    def shares(self, step: int, weights: Mapping[str, float]) -> dict[str, float]:
        """See ``SourceRule``; the largest is 1."""
        if self._in_force is None:
            return dict(weights)
        averages = self._in_force
        positive = {name: weight for name, weight in weights.items() if weight > 0}
        # A source without a reward is neither favoured nor held back: it has the others' mean.
        known = {name: weight for name, weight in positive.items() if name in averages}
        total = math.fsum(known.values())
        usual = math.fsum(weight / total * averages[name] for name, weight in known.items())
        # Only differences count, and from the smallest they are at worst infinite.
        least = min(averages.get(name, usual) for name in positive)
        logits = {
            name: math.log(weight) - (averages.get(name, usual) - least) / self.temperature
            for name, weight in positive.items()
        }
        top = max(logits.values())
        lowest = -math.log(self.max_source_ratio)
        return {
            name: math.exp(max(logits[name] - top, lowest)) if name in logits else 0.0
            for name in weights
        }

    def metrics(self) -> dict[str, dict[str, float]]:
        """See ``SourceRule``."""
        return {n: {} if ema is None else {"reward_ema": ema} for n, ema in self.emas.items()}

    def state_dict(self) -> dict[str, Any]:
        """See ``SourceRule``."""
        in_force = self._in_force or {}
        return {name: [ema, in_force.get(name)] for name, ema in self.emas.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``SourceRule``."""
        saved = {
            name: msgspec.convert(state.get(name, (None, None)), tuple[float | None, float | None])
            for name in self._emas
        }
        for name, ema in self._emas.items():
            ema.value = saved[name][0]
        in_force = {name: ema for name, (_, ema) in saved.items() if ema is not None}
        self._in_force = in_force or None
