"""The reward of a sample, and of a group."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from curriculum_learning.errors import ConfigurationError


def raw_reward(metadata: Mapping[Any, Any], reward: Any, reward_key: str | None) -> Any:
    """Returns a sample's reward before any shaping, read as slime reads it.

    Args:
        metadata: The sample's; its ``raw_reward`` comes first.
        reward: The sample's.
        reward_key: The entry to take if ``reward`` is a mapping.
    """
    if "raw_reward" in metadata:
        return metadata["raw_reward"]
    if type(reward) is not float and isinstance(reward, Mapping):
        return reward.get(reward_key)
    return reward


def reward_of(sample: Any, reward_key: str | None) -> float | None:
    """Returns the raw reward of a sample as a number; None if it has none."""
    metadata = getattr(sample, "metadata", None)
    known = metadata if isinstance(metadata, dict) else {}
    return number(raw_reward(known, getattr(sample, "reward", None), reward_key))


def group_rewards(samples: Iterable[Any], reward_key: str | None) -> list[float]:
    """Returns the finite rewards of a group's samples.

    Raises:
        ConfigurationError: The rewards are mappings without the entry ``reward_key``.
    """
    samples = list(samples)
    rewards = [reward_of(sample, reward_key) for sample in samples]
    known = [reward for reward in rewards if reward is not None and math.isfinite(reward)]
    mappings = [sample.reward for sample in samples if isinstance(sample.reward, Mapping)]
    if mappings and not known:
        raise ConfigurationError(
            f"reward_key ({reward_key!r}): the rewards are mappings with the entries "
            f"{sorted(map(str, mappings[0]))}; set reward_key to the one that counts",
            key="reward_key",
            value=reward_key,
        )
    return known


def number(value: Any) -> float | None:
    """Converts a value to a float; returns None if it is not a number."""
    if type(value) is float or value is None:
        return value
    try:
        # Arrays and tensors of one element, also those that require grad, say it in ``item``.
        item = getattr(value, "item", None)
        return float(value if item is None else item())
    except (TypeError, ValueError, OverflowError, RuntimeError):  # torch raises the last one
        return None
