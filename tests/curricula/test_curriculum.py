from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curriculum_learning import ConfigurationError
from curriculum_learning.curricula.adaptive import AdaptiveWeights
from curriculum_learning.curricula.reward import RewardCurriculum
from curriculum_learning.curricula.time import TimeCurriculum
from curriculum_learning.mixing.focused import FocusedSource
from curriculum_learning.mixing.source import Source
from tests.harness import check_resume


def scores_of(size: int) -> NDArray[np.float64]:
    """Complexity scores, always the same for a size."""
    return np.random.default_rng(3).random(size)


def reward_curriculum(size: int, **changes: Any) -> RewardCurriculum:
    """A curriculum from 20 % to 100 % in 4 intervals, checked at every update."""
    values: dict[str, Any] = {
        "initial_complexity_percentile": 20, "num_intervals": 4, "reward_threshold": 0.5,
        "reward_alpha": 1.0, "min_batches_per_level": 0, "check_frequency": 1,
    }  # fmt: skip
    return RewardCurriculum(scores_of(size), **{**values, **changes})


def time_curriculum(
    scores: NDArray[np.float64], initial: float, final: float, steps: int
) -> TimeCurriculum:
    """A curriculum from one percentile to another in so many steps."""
    return TimeCurriculum(
        scores,
        initial_complexity_percentile=initial,
        final_complexity_percentile=final,
        complexity_warmup_steps=steps,
    )


# Which rows are open


def test_time_opens_rows_in_a_straight_line() -> None:
    """30 % at the start, 100 % after the warm-up, rounded down, never less than one row."""
    curriculum = time_curriculum(scores_of(1000), 30, 100, 100)
    assert [curriculum.open_rows(step) for step in (0, 1, 50, 99, 100, 5000)] == [
        300, 307, 650, 993, 1000, 1000,
    ]  # fmt: skip
    assert time_curriculum(scores_of(3), 0, 100, 10).open_rows(0) == 1
    # 0.1 % of 1000 rows is 1 row, although 0.1 has no exact binary form.
    assert [time_curriculum(scores_of(1000), p, 100, 1).open_rows(0) for p in (0.7, 29.3)] == [
        7,
        293,
    ]


def test_ties_are_broken_by_row() -> None:
    """Rows of equal complexity open in the order of the data."""
    curriculum = time_curriculum(np.array([2.0, 1.0, 2.0, 1.0]), 50, 100, 1)
    assert curriculum.rank.tolist() == [2, 0, 3, 1]


def test_a_level_opens_by_the_rule() -> None:
    """Checks come min_batches updates after a level began, then every check_frequency."""
    curriculum = reward_curriculum(100, min_batches_per_level=3, check_frequency=2)
    opened = [curriculum.observe(reward) for reward in (9, 9, 9, 9, 9, 9, 0, 9, 0, 9, 9, 9)]
    # Levels begin after updates 3, 6 and 11; the checks at 9 found a reward of 0.
    assert [number for number, new in enumerate(opened, 1) if new] == [3, 6, 11]
    assert curriculum.open_rows(0) == 80


def test_the_average_goes_on_after_a_level() -> None:
    """The EMA starts at the first mean, skips updates without a sample, and is not reset."""
    curriculum = reward_curriculum(100, reward_alpha=0.5, reward_threshold=0.6)
    assert [curriculum.observe(reward) for reward in (None, 0.4, None, 1.0, 0.6, 0.4)] == [
        False, False, False, True, True, False,
    ]  # fmt: skip
    assert curriculum.ema.value == pytest.approx(0.525)


def test_the_last_level_is_the_last() -> None:
    """Beyond the final percentile nothing opens, and nothing is counted as opened."""
    curriculum = reward_curriculum(50)
    assert [curriculum.observe(1.0) for _ in range(7)] == [True] * 4 + [False] * 3
    assert curriculum.open_rows(0) == 50
    assert [len(rows) for rows in curriculum.intervals()] == [10, 10, 10, 10, 10]


# Which row is next


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(0, 100), st.integers(1, 30), st.integers(1, 200))
def test_an_epoch_serves_each_open_row_once(size: int, initial: int, warmup: int, n: int) -> None:
    """Whatever opens meanwhile: only open rows, none twice in an epoch, none left out."""
    curriculum = time_curriculum(scores_of(size), initial, 100, warmup)
    source = Source("s", size, seed=1, shuffle=True, curriculum=curriculum)
    epochs: dict[int, list[int]] = {}
    for draw in range(n):
        step = draw // 7
        row = source.take(step)[0]
        assert curriculum.rank[row] < curriculum.open_rows(step)
        # The position behind the row is of the same epoch, or at the very start of the next.
        epoch = source.epoch - (source.position.offset == 0)
        epochs.setdefault(epoch, []).append(row)
    for number, rows in epochs.items():
        assert len(rows) == len(set(rows)), number
    closed_late = set(np.flatnonzero(curriculum.rank >= curriculum.open_rows(0)).tolist())
    for rows in list(epochs.values())[:-1]:
        assert set(range(size)) - closed_late <= set(rows)


def test_rows_that_open_behind_the_walk_wait_for_the_next_epoch() -> None:
    """The order of an epoch does not change when rows open; those passed by come next time."""
    scores = scores_of(200)
    everything = Source("s", 200, seed=1, shuffle=True)
    order = [everything.take()[0] for _ in range(200)]
    curriculum = time_curriculum(scores, 50, 100, 1)
    source = Source("s", 200, seed=1, shuffle=True, curriculum=curriculum)
    first = [source.take(0)[0] for _ in range(40)]
    passed = order.index(first[-1])
    assert first == [row for row in order[: passed + 1] if curriculum.rank[row] < 100]
    rest = order[passed + 1 :]
    assert [source.take(1)[0] for _ in rest] == rest
    assert source.epoch == 1
    assert sorted(source.take(1)[0] for _ in range(200)) == list(range(200))


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_interval_shares_are_exact_whatever_their_sizes(decay: float) -> None:
    """With 3 open intervals of very different sizes, shares are d ** age within one row."""
    curriculum = RewardCurriculum(
        scores_of(1000), initial_complexity_percentile=1, final_complexity_percentile=99,
        num_intervals=2, reward_threshold=0, min_batches_per_level=0, check_frequency=1,
    )  # fmt: skip
    curriculum.observe(1.0)
    curriculum.observe(1.0)
    curriculum.counts = [3, 900, 1000]  # sizes 3, 897 and 100
    source = FocusedSource(
        "s", 1000, seed=1, shuffle=True, curriculum=curriculum, interval_decay=decay
    )
    total = 1 + decay + decay**2
    shares = np.array([decay**2, decay, 1]) / total
    counts = np.zeros(3)
    for number in range(1, 10_001):
        rank = curriculum.rank[source.take()[0]]
        counts[int(np.searchsorted([3, 900], rank, side="right"))] += 1
        assert np.all(np.abs(counts - number * shares) < 1)
    if decay == 0.5:
        assert shares.round(3).tolist() == [0.143, 0.286, 0.571]


def test_focused_intervals_walk_by_themselves() -> None:
    """Each interval serves its rows once per epoch of its own; the source's is the smallest."""
    curriculum = reward_curriculum(50)
    source = FocusedSource("s", 50, seed=1, shuffle=True, curriculum=curriculum, interval_decay=0.5)
    assert sorted(source.take()[0] for _ in range(10)) == sorted(
        np.flatnonzero(curriculum.rank < 10).tolist()
    )
    assert source.epoch == 1
    curriculum.observe(1.0)
    assert source.epoch == 0
    rows = [source.take()[0] for _ in range(15)]
    assert Counter(int(curriculum.rank[row] >= 10) for row in rows) == {1: 10, 0: 5}
    assert len(set(rows)) == 15


def test_intervals_without_rows_are_passed_over() -> None:
    """More intervals than rows: the empty ones have no share."""
    curriculum = reward_curriculum(3, num_intervals=20)
    source = FocusedSource("s", 3, seed=1, shuffle=True, curriculum=curriculum, interval_decay=1)
    for _ in range(20):
        assert curriculum.rank[source.take()[0]] < curriculum.open_rows(0)
        curriculum.observe(1.0)
    assert {source.take()[0] for _ in range(50)} == {0, 1, 2}


@pytest.mark.parametrize("focus", [False, True])
def test_a_source_with_a_curriculum_goes_on_from_any_position(tmp_path: Path, focus: bool) -> None:
    """Cut anywhere, levels and intervals included: the same rows follow."""

    def make() -> Source | FocusedSource:
        curriculum = reward_curriculum(23, min_batches_per_level=2)
        if focus:
            return FocusedSource(
                "s", 23, seed=2, shuffle=True, curriculum=curriculum, interval_decay=0.5
            )
        return Source("s", 23, seed=2, shuffle=True, curriculum=curriculum)

    def advance(source: Source | FocusedSource, i: int) -> Any:
        rows = [source.take()[0] for _ in range(3)]
        assert source.curriculum is not None
        return rows, source.curriculum.observe((i % 5) / 4), source.epoch

    check_resume(make, advance, 30, tmp_path)


@pytest.mark.parametrize("focus", [False, True])
def test_rows_can_be_put_back(focus: bool) -> None:
    """Put back in reverse, the same rows follow again."""
    curriculum = reward_curriculum(23)
    curriculum.observe(1.0)
    source: Source | FocusedSource = Source("s", 23, seed=2, shuffle=True, curriculum=curriculum)
    if focus:
        source = FocusedSource(
            "s", 23, seed=2, shuffle=True, curriculum=curriculum, interval_decay=0.5
        )
    for _ in range(30):
        taken = [source.take() for _ in range(11)]
        for _, _, before in reversed(taken):
            source.put_back(before)
        assert [source.take() for _ in range(11)] == taken
        for _, _, before in reversed(taken[1:]):
            source.put_back(before)


# Adaptive weights


def test_a_lower_reward_gives_a_higher_weight() -> None:
    """Weights are w * exp(-ema / temperature), changed every update_frequency updates."""
    adaptive = AdaptiveWeights(
        ["a", "b"], alpha=0.5, update_frequency=2, temperature=2.0, max_source_ratio=100
    )
    weights = {"a": 1.0, "b": 3.0}
    assert not adaptive.observe({"a": 1.0, "b": 2.0}, 1, weights)
    assert adaptive.adapt(weights) == weights
    assert adaptive.observe({"a": 3.0}, 2, weights)
    expected = {"a": math.exp(-2 / 2), "b": 3 * math.exp(-2 / 2)}
    adapted = adaptive.adapt(weights)
    assert adapted["b"] / adapted["a"] == pytest.approx(expected["b"] / expected["a"])
    assert not adaptive.observe({"a": 0.0}, 3, weights)
    assert adaptive.adapt(weights) == adapted
    assert adaptive.observe({"b": 0.0}, 4, weights)
    assert adaptive.emas == {"a": 1.0, "b": 1.0}


def test_weights_wait_for_every_source() -> None:
    """Nothing moves before every source of positive weight has a reward; weight 0 stays out."""
    adaptive = AdaptiveWeights(["a", "b", "c"], update_frequency=1)
    weights = {"a": 1.0, "b": 1.0, "c": 0.0}
    assert not adaptive.observe({"a": 1.0}, 1, weights)
    assert adaptive.observe({"b": 0.0}, 2, weights)
    assert adaptive.adapt(weights)["c"] == 0.0


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
    adaptive = AdaptiveWeights(
        names, update_frequency=1, temperature=temperature, max_source_ratio=ratio
    )
    adaptive.check(weights, "source_weights")
    adaptive.observe(dict(zip(names, rewards, strict=True)), 1, weights)
    adapted = adaptive.adapt(weights)
    assert max(adapted.values()) / min(adapted.values()) <= ratio * (1 + 1e-9)
    order = sorted(names, key=lambda n: math.log(weights[n]) - rewards[int(n)] / temperature)
    assert [adapted[name] for name in order] == sorted(adapted.values())


@pytest.mark.parametrize("count", [2, 3, 10])
def test_extreme_rewards_reach_the_bounds(count: int) -> None:
    """Two equal sources with ratio 3 stay within 25 % and 75 %; more keep the ratio as well."""
    names = [str(i) for i in range(count)]
    weights = dict.fromkeys(names, 1.0)
    adaptive = AdaptiveWeights(names, update_frequency=1, temperature=0.01)
    adaptive.observe({name: 1e9 * (name != "0") for name in names}, 1, weights)
    adapted = adaptive.adapt(weights)
    share = adapted["0"] / sum(adapted.values())
    assert share == pytest.approx(3 / (3 + count - 1))
    if count == 2:
        assert share == pytest.approx(0.75)


def test_weights_beyond_the_ratio_are_refused() -> None:
    """Configured weights that the bound could not keep are an error that names both sources."""
    adaptive = AdaptiveWeights(["a", "b", "c"], max_source_ratio=3)
    adaptive.check({"a": 3.0, "b": 1.0, "c": 0.0}, "source_weights")
    with pytest.raises(ConfigurationError, match="'a' has 4 times the weight of 'b'"):
        adaptive.check({"a": 4.0, "b": 1.0, "c": 2.0}, "source_weights")


def test_adaptive_weights_go_on_from_any_update(tmp_path: Path) -> None:
    """Cut at any update: the same weights follow."""
    weights = {"a": 1.0, "b": 1.0}

    def advance(adaptive: AdaptiveWeights, i: int) -> Any:
        adaptive.observe({"a": i % 3, "b": i % 5}, i + 1, weights)
        return adaptive.adapt(weights)

    check_resume(lambda: AdaptiveWeights(["a", "b"], update_frequency=3), advance, 14, tmp_path)


def test_few_open_rows_are_walked_in_the_same_order() -> None:
    """Where hardly a row is open an epoch is walked by the open rows, in the order of all."""
    size = 20_000
    curriculum = time_curriculum(scores_of(size), 0.5, 100, 10)
    source = Source("s", size, seed=4, shuffle=True, curriculum=curriculum)
    everything = Source("s", size, seed=4, shuffle=True)
    order = [everything.take()[0] for _ in range(size)]
    expected = [row for row in order if curriculum.rank[row] < 100]
    first = [source.take(0)[0] for _ in range(60)]
    resumed = Source("s", size, seed=4, shuffle=True, curriculum=curriculum)
    resumed.load_state_dict(source.state_dict())
    assert first + [resumed.take(0)[0] for _ in range(40)] == expected
    assert resumed.take(0)[1] == 1
    passed = order.index(first[-1])
    rest = [row for row in order[passed + 1 :] if curriculum.rank[row] < curriculum.open_rows(5)]
    assert [source.take(5)[0] for _ in rest] == rest


def test_with_decay_0_only_the_newest_interval_with_rows_is_drawn() -> None:
    """Empty intervals have no age, so that somebody always has weight 1."""
    curriculum = reward_curriculum(8, num_intervals=20)
    source = FocusedSource("s", 8, seed=1, shuffle=True, curriculum=curriculum, interval_decay=0)
    for _ in range(20):
        newest = max(
            number
            for number, rows in enumerate(curriculum.intervals()[: curriculum.level + 1])
            if len(rows)
        )
        assert source.take()[0] in curriculum.intervals()[newest]
        curriculum.observe(1.0)


def test_extreme_rewards_and_temperatures_do_no_harm() -> None:
    """Rewards at the ends of the range of numbers, and a tiny temperature, stay within bounds."""
    weights = {"a": 1.0, "b": 1.0}
    for temperature in (1e-300, 1.0, 1e300):
        adaptive = AdaptiveWeights(
            ["a", "b"], alpha=0.5, update_frequency=1, temperature=temperature
        )
        for update, sign in enumerate((1, -1, 1, -1), 1):
            adaptive.observe({"a": sign * 1e308, "b": -sign * 1e308}, update, weights)
            adapted = adaptive.adapt(weights)
            assert max(adapted.values()) / min(adapted.values()) <= 3 * (1 + 1e-9)


def test_a_level_that_does_not_exist_is_refused() -> None:
    """A state of another curriculum is not taken in."""
    curriculum = reward_curriculum(10)
    state = {**curriculum.state_dict(), "level": 5}
    with pytest.raises(ValueError, match="no level 5"):
        curriculum.load_state_dict(state)
