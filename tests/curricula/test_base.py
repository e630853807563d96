from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum_learning.curricula.base import SourceRows
from curriculum_learning.curricula.results import absolute_advantages
from curriculum_learning.curricula.softmax import softmax
from curriculum_learning.curricula.statistics import RowStatistics


def test_random_numbers_of_a_step_are_always_the_same() -> None:
    """They are keyed by seed, source and step, and do not touch the global state."""
    before = str(np.random.get_state())
    first, again, later = (
        SourceRows("math", 1, 7, None, RowStatistics(1)).random(step).random(3).tolist()
        for step in (4, 4, 5)
    )
    assert first == again
    assert first != later
    assert str(np.random.get_state()) == before


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([0.0, 0.0, 0.0, 1.0], [0.5773503] * 3 + [1.7320508]),  # mean .25, deviation .4330127
        ([0.0, 1.0], [1.0, 1.0]),
        ([-4.0, 4.0, 0.0], [1.2247449, 1.2247449, 0.0]),
        ([0.0, 1e-300], [1.0, 1.0]),
        ([0.1] * 3, [0.0] * 3),
        ([5.0], [0.0]),
    ],
)
def test_absolute_advantages(rewards: list[float], expected: list[float]) -> None:
    """Distances from the mean in standard deviations, 0 in groups without signal."""
    assert absolute_advantages(rewards) == pytest.approx(expected)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=16))
def test_mean_absolute_advantage_is_at_most_one(rewards: list[float]) -> None:
    """Whatever the rewards are."""
    advantages = absolute_advantages(rewards)
    assert all(map(math.isfinite, advantages))
    assert math.fsum(advantages) / len(advantages) <= 1 + 1e-9


def test_softmax_survives_large_numbers() -> None:
    """Neither exponents nor weights overflow, and a weight of 0 stays at 0."""
    weights = {"a": 1e300, "b": 1e-300, "c": 0.0}
    shares = softmax(weights, {"a": 5000.0, "b": 5000.0 + math.log(1e300) * 2, "c": 1e9})
    assert shares == pytest.approx({"a": 0.5, "b": 0.5, "c": 0.0})
