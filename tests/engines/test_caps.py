"""Reward caps of the samplers: verdicts on finished groups, as the data source gives them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from curriculum_learning import ConfigurationError
from curriculum_learning.samplers import MultiSourceSampler
from tests.engines.sampler_data import Rows, config

SIZES = {"math": 40, "code": 40}


def _sampler(**caps: Any) -> MultiSourceSampler:
    return MultiSourceSampler(Rows(SIZES), config(8, source_reward_caps=caps))


def test_verdicts_are_those_of_the_data_source() -> None:
    """All zero, or a mean above the cap of this step: refused. Others and other sources are not."""
    sampler = _sampler(math="lambda step: max(0.9 - step / 10, 0)", code=None)
    assert sampler.reward_cap_verdict("math", [0.0, 0.0]) == "all_zero"
    assert sampler.reward_cap_verdict("math", [1.0, 0.9]) == "reward_cap"
    assert sampler.reward_cap_verdict("math", [1.0, 0.7]) is None
    assert sampler.reward_cap_verdict("math", [1.0, math.nan]) == "reward_cap"
    assert sampler.reward_cap_verdict("math", [math.nan]) is None
    assert sampler.reward_cap_verdict("code", [0.0, 0.0]) is None
    assert sampler.reward_cap_verdict("code", [1.0, 1.0]) is None
    sampler.observe(["math"], [0.5])
    assert sampler.reward_cap_verdict("math", [1.0, 0.7]) == "reward_cap"


def test_metrics_count_each_group_of_a_step_once() -> None:
    """The cap, and the parts of finished groups that it refused since the last update."""
    sampler = _sampler(math=0.5)
    assert sampler.get_stats()["reward_cap/math"] == 0.5
    for group, rewards in (("a", [0.0]), ("b", [1.0]), ("b", [1.0]), ("c", [0.25]), ("d", [0.5])):
        sampler.reward_cap_verdict("math", rewards, group)
    stats = sampler.get_stats()
    assert (stats["filter_ratio_all_zero/math"], stats["filter_ratio_reward_cap/math"]) == (
        0.25,
        0.25,
    )
    assert "reward_cap/code" not in stats
    sampler.observe(["math"], [0.5])
    sampler.reward_cap_verdict("math", [0.1])
    sampler.reward_cap_verdict("math", [0.0])
    assert sampler.get_stats()["filter_ratio_all_zero/math"] == 0.5


@pytest.mark.parametrize(
    ("caps", "piece"),
    [({"chat": 0.5}, "'chat'"), ({"math": -1}, ">= 0"), ({"math": "high"}, "lambda"), (5, "map")],
)
def test_caps_that_cannot_be_used_are_named(caps: Any, piece: str) -> None:
    """Caps of other sources, and what is no number or schedule, are errors."""
    with pytest.raises(ConfigurationError, match=piece) as raised:
        MultiSourceSampler(Rows(SIZES), config(8, source_reward_caps=caps))
    assert "source_reward_caps" in str(raised.value.key)
