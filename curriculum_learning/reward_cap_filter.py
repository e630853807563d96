"""The reward caps as slime's filter of finished groups (``--dynamic-sampling-filter-path``)."""

from __future__ import annotations

from typing import Any

from curriculum_learning.config.data_source import read_config
from curriculum_learning.data_source import find_data_source
from curriculum_learning.engines.slime import filter_output_class
from curriculum_learning.errors import GroupError
from curriculum_learning.groups.reward_caps import RewardCaps
from curriculum_learning.samples.rewards import group_rewards
from curriculum_learning.samples.sample import flatten
from curriculum_learning.samples.tags import SOURCE_KEY, SOURCE_NAME_KEY, STEP_KEY

__all__ = ["check_reward_cap_per_source"]


def check_reward_cap_per_source(args: Any, samples: list[Any], **kwargs: Any) -> Any:
    """Whether a finished group is kept, by ``data_source_reward_caps``.

    Where a source has a cap, a group is dropped whose rewards are all 0 (the reason is
    ``all_zero_{source}``) or whose mean reward is above the cap at this rollout step
    (``reward_cap_{source}``). Samples without a reward do not count.

    Args:
        args: The object that the data source was made from. In a process that has no such data
            source the caps are read from it, at the step in the samples' metadata, and nothing
            is counted for the metrics.
        samples: The samples of one group, flat or nested.
        kwargs: Nothing of it is used.

    Returns:
        Slime's ``DynamicFilterOutput``, or something with its ``keep`` and ``reason``.

    Raises:
        GroupError: The samples do not say which source they are of.
        ConfigurationError: The rewards are mappings, and ``reward_key`` is not an entry of them.
    """
    leaves = list(flatten(samples))
    metadata = leaves[0].metadata if leaves else {}
    source = metadata.get(SOURCE_KEY) or metadata.get(SOURCE_NAME_KEY)
    if not isinstance(source, str):
        raise GroupError(
            f"check_reward_cap_per_source: a group has no source in metadata['{SOURCE_KEY}']; "
            f"keep the tags that get_samples gave it",
            key=SOURCE_KEY,
            value=source,
        )
    data_source = find_data_source(args, leaves)
    if data_source is not None:
        reason = data_source.reward_cap_verdict(leaves, source)
    else:
        config = read_config(args)
        rewards = group_rewards(leaves, config.reward_key)
        caps = RewardCaps({source.name: source.reward_cap for source in config.sources})
        reason = caps.verdict(None, source, rewards, metadata.get(STEP_KEY) or 0)
    output = filter_output_class()
    return output(keep=True) if reason is None else output(keep=False, reason=f"{reason}_{source}")
