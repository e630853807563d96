from __future__ import annotations

import numpy as np
import pytest

from tests.curricula.shipped import Run

NAN = float("nan")


def test_weights_by_the_formula() -> None:
    """Two rows in the bin around .525, one around .725, one unknown; the mean goes .7 to .4."""
    run = Run("pass_rate_gaussian", 4, priors=[0.52, 0.52, 0.72, NAN], steps=100)
    # exp(-(.175 / .15)^2 / 2) = .506335, exp(-(.025 / .15)^2 / 2) = .986207
    assert run.weights(0) == pytest.approx([0.508865, 0.508865, 1.982271, 1.0], abs=1e-5)
    # exp(-(.125 / .15)^2 / 2) = .706648, exp(-(.325 / .15)^2 / 2) = .095634
    assert run.weights(100) == pytest.approx([1.321195, 1.321195, 0.357609, 1.0], abs=1e-5)
    assert run.curriculum.metrics() == {"target_pass_rate": pytest.approx(0.4)}
    assert run.weights(1000) == run.weights(100)


@pytest.mark.parametrize(("step", "mean"), [(0, 0.7), (50, 0.55), (100, 0.4)])
def test_drawn_pass_rates_follow_the_gaussian(step: int, mean: float) -> None:
    """However the rows are spread, the mean pass rate of the draws is the target's."""
    priors = np.random.default_rng(0).beta(1, 3, 20_000)
    run = Run("pass_rate_gaussian", len(priors), priors=priors.tolist(), steps=100, max_weight=1e6)
    weights = np.array(run.weights(step))
    drawn = (weights * priors).sum() / weights.sum()
    assert drawn == pytest.approx(mean, abs=0.03)
    deviation = np.sqrt((weights * (priors - drawn) ** 2).sum() / weights.sum())
    assert deviation == pytest.approx(0.15, abs=0.02)


def test_results_renew_the_pass_rates() -> None:
    """A row that is mastered in the run leaves the bins that are wanted."""
    run = Run("pass_rate_gaussian", 2, priors=[0.7, 0.7], sigma=0.1)
    assert run.weights() == [1.0, 1.0]
    run.observe([(0, [1.0] * 4)] * 20)
    assert run.weights()[0] < run.weights()[1]


def test_rows_far_from_the_mean_still_come() -> None:
    """Where no row is near the mean, the nearest ones are drawn."""
    run = Run("pass_rate_gaussian", 3, priors=[0.0, 0.0, 1.0], start=0.6, end=0.6, sigma=0.01)
    assert run.weights() == pytest.approx([0.01, 0.01, 3.0])


def test_same_array_once_the_mean_has_arrived() -> None:
    """After the last step of the schedule nothing changes without results."""
    run = Run("pass_rate_gaussian", 3, priors=[0.1, 0.5, 0.9], steps=5)
    assert run.curriculum.weights(5) is run.curriculum.weights(6)
    assert run.curriculum.weights(5) is not run.curriculum.weights(4)
