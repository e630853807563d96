from __future__ import annotations

from collections.abc import Mapping

import pytest

from curriculum_learning.curricula.rules.unimax import Unimax

ROWS = {"large": 1000, "small": 10, "middle": 40}
EQUAL = dict.fromkeys(ROWS, 1.0)


def groups(rule: Unimax, weights: Mapping[str, float]) -> dict[str, float]:
    """The shares of a budget of 300 groups."""
    shares = rule.shares(0, weights)
    total = sum(shares.values())
    return {name: 300 * share / total for name, share in shares.items()}


@pytest.mark.parametrize(
    ("max_epochs", "expected"),
    [
        (1.0, {"large": 250, "small": 10, "middle": 40}),
        (4.0, {"large": 130, "small": 40, "middle": 130}),  # 40 of 100, then half of 260
        (50.0, {"large": 100, "small": 100, "middle": 100}),
    ],
)
def test_budget_is_shared_within_the_limits(max_epochs: float, expected: dict[str, float]) -> None:
    """Small sources get their passes, the others the rest in equal parts."""
    rule = Unimax(ROWS, budget=300, max_epochs=max_epochs)
    assert groups(rule, EQUAL) == pytest.approx(expected)


def test_weights_change_the_parts() -> None:
    """Where no limit binds the parts are in the proportion of the weights."""
    rule = Unimax(ROWS, budget=300, max_epochs=4.0)
    weights = {"large": 1.0, "small": 1.0, "middle": 3.0}
    # small would get 60 of 300 and has 40; middle would get 195 of 260 and has 160.
    assert groups(rule, weights) == pytest.approx({"large": 100, "small": 40, "middle": 160})
    assert rule.shares(0, {**weights, "middle": 0.0})["middle"] == 0


def test_budget_beyond_all_limits() -> None:
    """A run longer than all passes draws the sources by their size."""
    rule = Unimax(ROWS, budget=10**6)
    assert rule.shares(0, EQUAL) == pytest.approx(ROWS)
