"""A source whose newer intervals are drawn more often."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from curriculum_learning.curricula.rows.reward import RewardCurriculum
from curriculum_learning.mixing.focused import FocusedSource
from tests.curricula.shipped import mean, reward_curriculum, rows_of, scores_of


def focused(curriculum: RewardCurriculum) -> FocusedSource:
    """The source of a curriculum."""
    return FocusedSource(curriculum.rows, curriculum, shuffle=True)


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_interval_shares_are_exact_whatever_their_sizes(decay: float) -> None:
    """With 3 open intervals of very different sizes, shares are d ** age within one row."""
    curriculum = RewardCurriculum(
        rows_of(scores_of(1000)), initial_complexity_percentile=1, final_complexity_percentile=99,
        num_intervals=2, reward_threshold=0, min_batches_per_level=0, check_frequency=1,
        focus_new_intervals=True, interval_decay=decay,
    )  # fmt: skip
    curriculum.observe(mean(1.0))
    curriculum.observe(mean(1.0))
    curriculum.counts = [3, 900, 1000]  # sizes 3, 897 and 100
    source = focused(curriculum)
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
    curriculum = reward_curriculum(50, interval_decay=0.5)
    source = focused(curriculum)
    assert sorted(source.take()[0] for _ in range(10)) == sorted(
        np.flatnonzero(curriculum.rank < 10).tolist()
    )
    assert source.epoch == 1
    curriculum.observe(mean(1.0))
    assert source.epoch == 0
    rows = [source.take()[0] for _ in range(15)]
    assert Counter(int(curriculum.rank[row] >= 10) for row in rows) == {1: 10, 0: 5}
    assert len(set(rows)) == 15


def test_intervals_without_rows_are_passed_over() -> None:
    """More intervals than rows: the empty ones have no share."""
    curriculum = reward_curriculum(3, num_intervals=20, interval_decay=1)
    source = focused(curriculum)
    for _ in range(20):
        assert curriculum.rank[source.take()[0]] < curriculum.open_rows(0)
        curriculum.observe(mean(1.0))
    assert {source.take()[0] for _ in range(50)} == {0, 1, 2}


def test_with_decay_0_only_the_newest_interval_with_rows_is_drawn() -> None:
    """Empty intervals have no age, so that somebody always has weight 1."""
    curriculum = reward_curriculum(8, num_intervals=20, interval_decay=0)
    source = focused(curriculum)
    for _ in range(20):
        newest = max(
            number
            for number, rows in enumerate(curriculum.intervals()[: curriculum.level + 1])
            if len(rows)
        )
        assert source.take()[0] in curriculum.intervals()[newest]
        curriculum.observe(mean(1.0))
