from __future__ import annotations

import pytest

from tests.curricula.shipped import Run


def test_weights_by_the_formula() -> None:
    """.05 + .95 * 4 p (1 - p); a row without a result counts as the mean of the others."""
    run = Run("learnability", 4)
    run.observe([(0, [0.0, 1.0]), (1, [0.0, 0.0, 0.0, 1.0]), (2, [1.0, 1.0])])
    # p = .5, .25 and 1: 4 p (1 - p) = 1, .75 and 0, on average .58333.
    assert run.weights() == pytest.approx([1.0, 0.7625, 0.05, 0.6041667])


def test_pass_rates_from_before_the_run_count() -> None:
    """A row with an offline pass rate needs no first pass."""
    run = Run("learnability", 2, priors=[0.5, 0.0])
    assert run.weights() == pytest.approx([1.0, 0.05])


def test_a_row_loses_weight_as_it_is_mastered() -> None:
    """Results of 1 lift the faded estimate, and the weight falls towards the floor."""
    run = Run("learnability", 1)
    run.observe([(0, [0.0, 1.0])])
    weights = []
    for step in range(30):
        run.observe([(0, [1.0, 1.0])], step)
        weights += run.weights(step)
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] < 0.06
