from __future__ import annotations

import numpy as np
import pytest

from tests.curricula.shipped import Run


def posteriors(run: Run) -> list[tuple[float, float]]:
    """The parameters of the Beta distribution of each row."""
    state = run.curriculum.state_dict()
    a, b = (np.frombuffer(state[name], dtype=np.float32).tolist() for name in ("a", "b"))
    return list(zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("discount", "first", "second"),
    [
        (0.2, (7.0, 3.0), (13.8, 2.6)),  # .8 * 7 + .2 + 8 and .8 * 3 + .2
        (0.5, (7.0, 3.0), (12.0, 2.0)),  # lambda .5 in the paper of MoPPS
        (0.0, (7.0, 3.0), (15.0, 3.0)),  # nothing is forgotten
        (1.0, (7.0, 3.0), (9.0, 1.0)),  # only the latest result and the prior
    ],
)
def test_posterior_by_the_formula(
    discount: float, first: tuple[float, float], second: tuple[float, float]
) -> None:
    """6 of 8, then 8 of 8 from Beta(1, 1)."""
    run = Run("thompson", 2, discount=discount)
    run.observe([(0, [1.0] * 6 + [0.0] * 2)])
    assert posteriors(run) == [pytest.approx(first), (1, 1)]
    run.observe([(0, [1.0] * 8)])
    assert posteriors(run) == [pytest.approx(second), (1, 1)]


def test_pass_rates_from_before_the_run_count_as_samples() -> None:
    """A pass rate of .25 counts as 2 of 8."""
    run = Run("thompson", 2, priors=[0.25, float("nan")])
    assert posteriors(run) == [(3, 7), (1, 1)]


def test_rows_known_to_be_near_the_target_are_preferred() -> None:
    """Of rows with many results the half-solved ones are preferred at every step."""
    run = Run("thompson", 16, discount=0.0)
    pass_rates = [0.5, 0.5] + [0.0, 1.0] * 7
    solved = [[1.0] * int(64 * p) + [0.0] * int(64 * (1 - p)) for p in pass_rates]
    for _ in range(20):
        run.observe(list(enumerate(solved)))
    for step in range(20):
        assert run.weights(step) == [1.0, 1.0] + [0.01] * 14


def test_rows_without_results_are_all_preferred_some_time() -> None:
    """Each step prefers one row in eight, and within 100 steps every row was among them."""
    run = Run("thompson", 80)
    weights = np.array([run.weights(step) for step in range(100)])
    assert ((weights == 1).sum(axis=1) == 10).all()
    assert (weights == 1).any(axis=0).all()


def test_draws_depend_on_seed_source_and_step_alone() -> None:
    """The same three give the same draw, any other one another draw."""
    draws = {
        (seed, source, step): tuple(Run("thompson", 50, seed=seed, source=source).weights(step))
        for seed in (1, 2)
        for source in ("math", "code")
        for step in (0, 1)
    }
    assert len(set(draws.values())) == len(draws)
    run = Run("thompson", 50)
    assert [tuple(run.weights(step)) for step in (1, 0, 1)] == [
        draws[1, "math", step] for step in (1, 0, 1)
    ]
