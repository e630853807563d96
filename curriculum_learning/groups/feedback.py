"""The rewards of a rollout, on their way to adaptive weights and curricula."""

from __future__ import annotations

import logging
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from curriculum_learning.samples.rewards import reward_of
from curriculum_learning.samples.sample import flatten

logger = logging.getLogger(__name__)


class Feedback:
    """Collects the rewards of a rollout, those of each group once, and averages them by source.

    Args:
        reward_key: The entry to take where rewards are mappings.
    """

    def __init__(self, reward_key: str | None) -> None:
        self.updates = 0
        """Rollouts that had rewards."""
        self._reward_key = reward_key
        self._rewards: dict[str, list[float]] = {}
        self._unusable = 0

    def add(self, samples: Iterable[Any], source_of: Callable[[int], str | None]) -> None:
        """Take in the rewards of samples, flat or in groups.

        Args:
            samples: Samples; those of one group are reported together.
            source_of: The source of a group, by its id, whose rewards are to be counted; None if
                they have been, or it is not known.
        """
        sources: dict[int, str | None] = {}
        for sample in flatten(samples):
            group_index = getattr(sample, "group_index", None)
            if not isinstance(group_index, numbers.Integral):
                continue
            group_index = int(group_index)
            if group_index not in sources:
                sources[group_index] = source_of(group_index)
            source = sources[group_index]
            if source is None:
                continue
            reward = reward_of(sample, self._reward_key)
            if reward is None or not math.isfinite(reward):
                self._unusable += 1
            else:
                self._rewards.setdefault(source, []).append(reward)

    def close(self) -> dict[str, float]:
        """The rollout is over: the mean reward of each source that had one; they count once."""
        if self._unusable:
            logger.warning(
                "%d samples had no reward that is a finite number (where rewards are mappings, "
                "reward_key names the entry that counts); adaptive weights and curricula do not "
                "count them",
                self._unusable,
            )
        # An exact sum: engines report the same samples in any order.
        means = {
            source: math.fsum(reward / len(rewards) for reward in rewards)
            for source, rewards in self._rewards.items()
        }
        self._rewards, self._unusable = {}, 0
        self.updates += bool(means)
        return means

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "updates": self.updates,
            "rewards": {source: list(rewards) for source, rewards in self._rewards.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the state that ``state_dict`` gave."""
        rewards = {source: list(values) for source, values in state["rewards"].items()}
        self.updates, self._rewards, self._unusable = state["updates"], rewards, 0
