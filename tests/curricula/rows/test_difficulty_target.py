from __future__ import annotations

import pytest

from tests.curricula.shipped import Run

SCORES = [10.0 * row for row in range(11)]
"""The scale of the paper: failure rates from 0 to 100."""


def preferred(run: Run) -> list[int]:
    """The rows of weight 1."""
    return [row for row, weight in enumerate(run.weights()) if weight == 1]


def target(run: Run) -> float:
    """The target difficulty."""
    return run.curriculum.metrics()["target_difficulty"]


def test_target_moves_by_the_formula() -> None:
    """On a scale of 100 eta is 50; alpha is 2 and beta .5, as in the paper."""
    run = Run("difficulty_target", 11, scores=SCORES)
    assert target(run) == 0
    run.observe([(0, [1.0, 1.0]), (None, [1.0])])
    assert target(run) == pytest.approx(38.0797078)  # 50 tanh(1)
    run.observe([(3, [1.0, 1.0, 1.0, 0.0])])
    assert target(run) == pytest.approx(61.1855658)  # + 50 tanh(.5)
    run.observe([(6, [1.0, 0.0])])
    assert target(run) == pytest.approx(61.1855658)  # the reward is on target
    run.observe([(6, [0.0]), (7, [0.0])])
    assert target(run) == pytest.approx(23.1058580)
    run.observe([(2, [0.0])])
    assert target(run) == 0  # held at the least complexity


def test_rows_nearest_to_the_target_are_preferred() -> None:
    """10 % of 11 rows are 2; the others have the floor."""
    run = Run("difficulty_target", 11, scores=SCORES)
    assert preferred(run) == [0, 1]
    run.observe([(0, [1.0])])  # the target is 38.08
    assert preferred(run) == [3, 4]
    assert sorted(set(run.weights())) == [0.01, 1.0]


def test_rows_of_one_level_are_preferred_together() -> None:
    """Rows as near as the last preferred one are preferred too, in whatever order they are."""
    run = Run("difficulty_target", 6, scores=[2.0, 1.0, 2.0, 1.0, 3.0, 1.0])
    assert preferred(run) == [1, 3, 5]


def test_floor_of_zero_closes_the_other_rows() -> None:
    """Without a floor only the nearest rows come, as in the paper."""
    run = Run("difficulty_target", 3, scores=[1.0, 2.0, 3.0], floor=0.0)
    assert run.weights() == [1.0, 0.0, 0.0]
