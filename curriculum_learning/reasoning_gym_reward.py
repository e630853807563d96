"""The reward of answers to tasks of reasoning_gym, by the task's own verifier.

For slime: ``--custom-rm-path curriculum_learning.reasoning_gym_reward.reasoning_gym_reward``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from curriculum_learning.errors import GroupError
from curriculum_learning.samples.ids import in_lists

__all__ = ["reasoning_gym_reward", "score"]

_KEY = "reasoning_gym"


async def reasoning_gym_reward(args: Any, sample: Any, **kwargs: Any) -> Any:
    """Scores a sample, or each of a list of samples, as slime asks a reward model.

    Args:
        args: Nothing of it is used.
        sample: A sample with its response, or a list of samples.
        kwargs: Nothing of it is used.

    Returns:
        The score, 0 to 1; for a list, a list of scores.

    Raises:
        GroupError: A sample is not of a ``reasoning_gym`` source.
    """
    if isinstance(sample, (list, tuple)):
        return [score(one.response, one.metadata) for one in in_lists(sample)]
    return score(sample.response, sample.metadata)


def score(response: str, metadata: Mapping[str, Any]) -> float:
    """Scores a response with the verifier of the task that its prompt is of.

    The answer is what stands last in ``<answer>`` tags, or the whole response without any.

    Args:
        response: What the model wrote.
        metadata: Of the sample.

    Returns:
        The task's score, 0 to 1.

    Raises:
        GroupError: The metadata are not those of a ``reasoning_gym`` source.
    """
    from reasoning_gym.utils import extract_answer

    origin = metadata.get(_KEY)
    if not isinstance(origin, Mapping) or not {"task", "entry"} <= origin.keys():
        raise GroupError(
            f"reasoning_gym_reward: the metadata have no '{_KEY}' with task and entry; use it for "
            f"sources of type reasoning_gym only, and keep their metadata",
            key=_KEY,
            value=origin,
        )
    answer = extract_answer(response)
    verify = _verifier(origin["task"])
    return float(verify(response.strip() if answer is None else answer, origin["entry"]))


@functools.cache
def _verifier(task: str) -> Any:
    from reasoning_gym import get_score_answer_fn

    return get_score_answer_fn(task)
