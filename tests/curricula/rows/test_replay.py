from __future__ import annotations

import numpy as np
import pytest

from tests.curricula.shipped import Run

HALF = [0.0, 1.0]


def test_weights_by_the_formula() -> None:
    """Ranks 1 and 2 are shared, ages are 0, 0, 4 and 2, and beta is 1."""
    run = Run("replay", 5, beta=1.0)
    run.observe([(2, [0.0, 0.0, 0.0, 1.0])], 6)
    run.observe([(3, [1.0, 1.0])], 8)
    run.observe([(0, HALF), (1, [1.0, 0.0])], 10)
    # Scores .5, .5, .375 and 0. Of the ranks 1 / r sum to 25 / 12: .36, .36, .16 and .12.
    # Of the ages 0, 0, 2 / 3 and 1 / 3. Mixed 9 to 1, times 4 seen rows; row 4 is unseen.
    assert run.weights() == pytest.approx([1.296, 1.296, 0.842667, 0.565333, 1.0], rel=1e-5)


def test_low_temperature_leaves_the_best_score_and_the_ages() -> None:
    """At the paper's beta of .1 rank 1 has 99.9 % of what does not go by age."""
    run = Run("replay", 3, staleness=0.0)
    run.observe([(0, HALF), (1, [0.0, 0.0, 0.0, 1.0]), (2, [0.0, 0.0])])
    total = 1 + 2**-10 + 3**-10
    assert run.weights() == pytest.approx([3 / total, 0.01, 0.01])


def test_replay_takes_the_share_of_the_seen_rows() -> None:
    """With s of N rows seen their weights sum to s, as the paper anneals the replay."""
    run = Run("replay", 100, beta=1.0, max_weight=100.0)
    run.observe([(row, [0.0, row / 40]) for row in range(40)])
    assert sum(run.weights()[:40]) == pytest.approx(40)
    assert run.weights()[40:] == [1.0] * 60


def test_no_row_comes_too_often() -> None:
    """The best of many rows is held at max_weight, and the worst at the floor."""
    run = Run("replay", 200, staleness=0.0)
    run.observe([(0, HALF)] + [(row, [1.0, 1.0]) for row in range(1, 200)])
    assert run.weights() == [10.0] + [0.01] * 199


def test_equal_scores_get_equal_weights() -> None:
    """Without differences in score and age all rows come equally often."""
    run = Run("replay", 50)
    run.observe([(row, [0.0, 1.0]) for row in range(50)])
    np.testing.assert_allclose(run.weights(), 1.0)
