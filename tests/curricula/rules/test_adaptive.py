from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum_learning import ConfigurationError
from curriculum_learning.curricula.rules.adaptive import AdaptiveWeights
from tests.curricula.shipped import by_source
from tests.harness import check_resume


def adaptive_weights(*names: str, **settings: Any) -> AdaptiveWeights:
    """The rule for sources of one row."""
    return AdaptiveWeights(dict.fromkeys(names, 1), **settings)


def observe(
    rule: AdaptiveWeights, means: Mapping[str, float], update: int, weights: dict[str, float]
) -> bool:
    """Tells the mean rewards of an update."""
    return rule.observe(by_source({name: [[m]] for name, m in means.items()}), update, weights)


def test_a_lower_reward_gives_a_higher_weight() -> None:
    """Weights are w * exp(-ema / temperature), changed every update_frequency updates."""
    adaptive = adaptive_weights(
        "a", "b", alpha=0.5, update_frequency=2, temperature=2.0, max_source_ratio=100
    )
    weights = {"a": 1.0, "b": 3.0}
    assert not observe(adaptive, {"a": 1.0, "b": 2.0}, 1, weights)
    assert adaptive.shares(0, weights) == weights
    assert observe(adaptive, {"a": 3.0}, 2, weights)
    expected = {"a": math.exp(-2 / 2), "b": 3 * math.exp(-2 / 2)}
    adapted = adaptive.shares(0, weights)
    assert adapted["b"] / adapted["a"] == pytest.approx(expected["b"] / expected["a"])
    assert not observe(adaptive, {"a": 0.0}, 3, weights)
    assert adaptive.shares(0, weights) == adapted
    assert observe(adaptive, {"b": 0.0}, 4, weights)
    assert adaptive.emas == {"a": 1.0, "b": 1.0}


def test_weights_wait_for_every_source() -> None:
    """Nothing moves before every source of positive weight has a reward; weight 0 stays out."""
    adaptive = adaptive_weights("a", "b", "c", update_frequency=1)
    weights = {"a": 1.0, "b": 1.0, "c": 0.0}
    assert not observe(adaptive, {"a": 1.0}, 1, weights)
    assert observe(adaptive, {"b": 0.0}, 2, weights)
    assert adaptive.shares(0, weights)["c"] == 0.0


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=10),
    st.floats(1, 10),
    st.floats(1e-3, 10),
    st.data(),
)
def test_the_ratio_is_held_for_any_number_of_sources(
    rewards: list[float], ratio: float, temperature: float, data: st.DataObject
) -> None:
    """Under any rewards no source has more than max_source_ratio times the weight of another."""
    names = [str(i) for i in range(len(rewards))]
    base = st.floats(1, ratio, exclude_min=False)
    weights = {name: data.draw(base) for name in names}
    adaptive = adaptive_weights(
        *names, update_frequency=1, temperature=temperature, max_source_ratio=ratio
    )
    adaptive.check(weights, "source_weights")
    observe(adaptive, dict(zip(names, rewards, strict=True)), 1, weights)
    adapted = adaptive.shares(0, weights)
    assert max(adapted.values()) / min(adapted.values()) <= ratio * (1 + 1e-9)
    order = sorted(names, key=lambda n: math.log(weights[n]) - rewards[int(n)] / temperature)
    assert [adapted[name] for name in order] == sorted(adapted.values())


@pytest.mark.parametrize("count", [2, 3, 10])
def test_extreme_rewards_reach_the_bounds(count: int) -> None:
    """Two equal sources with ratio 3 stay within 25 % and 75 %; more keep the ratio as well."""
    names = [str(i) for i in range(count)]
    weights = dict.fromkeys(names, 1.0)
    adaptive = adaptive_weights(*names, update_frequency=1, temperature=0.01)
    observe(adaptive, {name: 1e9 * (name != "0") for name in names}, 1, weights)
    adapted = adaptive.shares(0, weights)
    share = adapted["0"] / sum(adapted.values())
    assert share == pytest.approx(3 / (3 + count - 1))
    if count == 2:
        assert share == pytest.approx(0.75)


def test_weights_beyond_the_ratio_are_refused() -> None:
    """Configured weights that the bound could not keep are an error that names both sources."""
    adaptive = adaptive_weights("a", "b", "c", max_source_ratio=3)
    adaptive.check({"a": 3.0, "b": 1.0, "c": 0.0}, "source_weights")
    with pytest.raises(ConfigurationError, match="'a' has 4 times the weight of 'b'"):
        adaptive.check({"a": 4.0, "b": 1.0, "c": 2.0}, "source_weights")


def test_adaptive_weights_go_on_from_any_update(tmp_path: Path) -> None:
    """Cut at any update: the same weights follow."""
    weights = {"a": 1.0, "b": 1.0}

    def advance(adaptive: AdaptiveWeights, i: int) -> Any:
        observe(adaptive, {"a": i % 3, "b": i % 5}, i + 1, weights)
        return adaptive.shares(0, weights)

    check_resume(lambda: adaptive_weights("a", "b", update_frequency=3), advance, 14, tmp_path)


def test_extreme_rewards_and_temperatures_do_no_harm() -> None:
    """Rewards at the ends of the range of numbers, and a tiny temperature, stay within bounds."""
    weights = {"a": 1.0, "b": 1.0}
    for temperature in (1e-300, 1.0, 1e300):
        adaptive = adaptive_weights(
            "a", "b", alpha=0.5, update_frequency=1, temperature=temperature
        )
        for update, sign in enumerate((1, -1, 1, -1), 1):
            observe(adaptive, {"a": sign * 1e308, "b": -sign * 1e308}, update, weights)
            adapted = adaptive.shares(0, weights)
            assert max(adapted.values()) / min(adapted.values()) <= 3 * (1 + 1e-9)
