"""Adaptive weights: a source with a lower reward gets a higher weight.

A rule that favours low rewards also favours what cannot be learned at all: a source whose reward
stays at zero is given as much as the bound on the ratio lets it have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Ge, Gt

from curriculum_learning.curricula.ema import Alpha, Ema
from curriculum_learning.errors import ConfigurationError


class AdaptiveWeights:
    """Weights proportional to ``w_i * exp(-ema_i / temperature)``, within a bounded ratio.

    The rewards of a source are averaged by an EMA. Every ``update_frequency`` updates, once every
    source of positive weight has a reward, the averages of that moment decide the weights until
    the next time. Where the ratio of two weights would exceed the bound the smaller is raised.

    Args:
        names: The sources.
        alpha: Weight of a new reward in the EMA.
        update_frequency: Updates between changes of the weights.
        temperature: Temperature of the softmax, in units of reward; lower is more sensitive.
        max_source_ratio: Largest ratio between the weights of two sources of positive weight.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        alpha: Alpha = 0.1,
        update_frequency: Annotated[int, Ge(1)] = 5,
        temperature: Annotated[float, Gt(0)] = 1.0,
        max_source_ratio: Annotated[float, Ge(1)] = 3.0,
    ) -> None:
        self.temperature = temperature
        self.max_source_ratio = max_source_ratio
        self.version = 0
        """Counts the changes of the weights."""
        self._update_frequency = update_frequency
        self._emas = {name: Ema(alpha) for name in names}
        self._in_force: dict[str, float] | None = None

    @property
    def emas(self) -> dict[str, float | None]:
        """The average reward of each source; None before its first reward."""
        return {name: ema.value for name, ema in self._emas.items()}

    def check(self, weights: Mapping[str, float], key: str, when: str = "") -> None:
        """Checks that configured weights leave room for the bound.

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
        self, rewards: Mapping[str, float], update: int, weights: Mapping[str, float]
    ) -> bool:
        """Takes in the mean reward of each source in update number ``update`` (1, 2, ...).

        Args:
            rewards: Finite means; sources without samples are left out.
            update: The number of the update.
            weights: The configured weights; the rule waits for a reward of each source above 0.

        Returns:
            Whether the weights change now.
        """
        for name, reward in rewards.items():
            self._emas[name].add(reward)
        known = {name: ema.value for name, ema in self._emas.items() if ema.value is not None}
        if update % self._update_frequency or any(
            weight > 0 and name not in known for name, weight in weights.items()
        ):
            return False
        self._in_force = known
        self.version += 1
        return True

    def adapt(self, weights: Mapping[str, float]) -> dict[str, float]:
        """Returns the weights in force for configured ``weights``; the largest is 1."""
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

    def state_dict(self) -> dict[str, Any]:
        """Returns plain data."""
        return {"emas": self.emas, "in_force": self._in_force, "version": self.version}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Loads what ``state_dict`` returned; None is the start.

        A source that the state does not have starts without a reward.
        """
        if state is None:
            state = {"emas": {}, "in_force": None, "version": self.version + 1}
        for name, ema in self._emas.items():
            ema.value = state["emas"].get(name)
        self._in_force = None if state["in_force"] is None else dict(state["in_force"])
        self.version = state["version"]
