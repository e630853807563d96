from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.curricula.shipped import CLOSING, CURRICULA, Run, rewards
from tests.harness import check_resume

SIZE = 6
history = st.lists(
    st.lists(st.tuples(st.none() | st.integers(0, SIZE - 1), rewards), max_size=5), max_size=6
)


def check_valid(name: str, weights: Any, size: int) -> None:
    """Finite, one for each row, none closed unless the curriculum closes rows."""
    assert weights.shape == (size,)
    assert weights.dtype == np.float64
    assert np.isfinite(weights).all()
    assert (weights > 0).all() or (name in CLOSING and weights.any() and (weights >= 0).all())


@pytest.mark.parametrize("name", CURRICULA)
@given(history=history, with_priors=st.booleans())
@settings(max_examples=40, deadline=None)
def test_weights_are_valid_whatever_comes(name: str, history: Any, with_priors: bool) -> None:
    """After any results each row has a finite weight above 0, and no array given out changes."""
    priors = [0.0, 0.2, np.nan, 0.5, 1.0, np.nan] if with_priors else None
    run = Run(name, SIZE, priors=priors, scores=[-5, 0, 0, 3, 7, 1e6])
    given_out = run.curriculum.weights(0)
    copy = given_out.copy()
    for step, groups in enumerate(history):
        run.observe(groups, step)
        weights = run.curriculum.weights(step)
        check_valid(name, weights, SIZE)
        assert run.curriculum.weights(step) is weights
        assert all(np.isfinite(value) for value in run.curriculum.metrics().values())
    assert given_out.tolist() == copy.tolist()


@pytest.mark.parametrize("name", CURRICULA)
@pytest.mark.parametrize("reward", [0.0, 1.0, 0.5, -7.0, 7.0])
@pytest.mark.parametrize("size", [1, 40])
def test_weights_are_valid_when_all_rows_are_alike(name: str, reward: float, size: int) -> None:
    """All rows mastered, hopeless, or rewarded outside 0 to 1: all still come."""
    run = Run(name, size)
    for step in range(3):
        run.observe([(row, [reward] * 4) for row in range(size)], step)
        check_valid(name, run.curriculum.weights(step), size)


@pytest.mark.parametrize("name", CURRICULA)
@pytest.mark.parametrize("priors", [None, [0.1 * row for row in range(10)] + [np.nan] * 2])
def test_resume_at_every_position(name: str, priors: Any, tmp_path: Path) -> None:
    """A run cut anywhere has the same weights for the rest of its history."""
    random = np.random.default_rng(5)
    groups = [
        [
            (int(row), [float(r) for r in random.integers(0, 2, 4)])
            for row in random.integers(0, 12, 3)
        ]
        for _ in range(12)
    ]

    def advance(run: Run, step: int) -> Any:
        # Some steps are asked before their results are in, some only after.
        before = run.weights(step) if step % 2 else None
        run.observe(groups[step], step)
        return before, run.weights(step), run.curriculum.metrics()

    check_resume(lambda: Run(name, 12, priors=priors), advance, 12, tmp_path)


@pytest.mark.parametrize("name", CURRICULA)
def test_state_fits_a_source_that_has_grown(name: str) -> None:
    """Old rows keep what was learned, new rows count as unseen, and fewer rows are refused."""
    old = Run(name, 4)
    old.observe([(0, [0.0, 1.0]), (1, [1.0, 1.0]), (2, [0.0, 0.0])], 3)
    grown = Run(name, 6)
    grown.load_state_dict(old.state_dict())
    check_valid(name, grown.curriculum.weights(3), 6)
    if name not in ("difficulty_target", "thompson", *CLOSING):  # they choose among all rows
        assert grown.weights(3)[:4] == pytest.approx(old.weights(3))
        assert grown.weights(3)[4:] == [grown.weights(3)[3]] * 2
    with pytest.raises(ValueError, match="there are 4 rows, the state has 6"):
        Run(name, 4).load_state_dict(grown.state_dict())
