"""What the reward of a sample is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def raw_reward(metadata: Mapping[Any, Any], reward: Any, reward_key: str | None) -> Any:
    """The reward before any shaping, as slime reads it.

    Args:
        metadata: Of the sample; an entry ``raw_reward`` comes first.
        reward: Of the sample.
        reward_key: The entry to take where ``reward`` is a mapping; None if it has none.
    """
    if "raw_reward" in metadata:
        return metadata["raw_reward"]
    if type(reward) is not float and isinstance(reward, Mapping):
        return reward.get(reward_key)
    return reward


def reward_of(sample: Any, reward_key: str | None) -> float | None:
    """The raw reward of a sample as a number; None where it has none."""
    metadata = getattr(sample, "metadata", None)
    reward = raw_reward(
        metadata if isinstance(metadata, dict) else {}, getattr(sample, "reward", None), reward_key
    )
    return number(reward)


def number(value: Any) -> float | None:
    """``value`` as a number; None where it is none."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
