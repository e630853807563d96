from __future__ import annotations

import pytest

from curriculum_learning import ConfigurationError
from curriculum_learning.curricula.rules.easy_to_hard import EasyToHard

ROWS = {"easy": 1, "normal": 1, "hard": 1}
EQUAL = dict.fromkeys(ROWS, 1.0)


@pytest.mark.parametrize(
    ("step", "shares"),
    [
        (0, [2 / 3, 1 / 3, 0]),
        (25, [0.5690356, 1 / 3, 0.0976311]),  # a = .8535534
        (50, [1 / 3, 1 / 3, 1 / 3]),
        (100, [0, 1 / 3, 2 / 3]),
        (900, [0, 1 / 3, 2 / 3]),
    ],
)
def test_cosine_by_the_formula(step: int, shares: list[float]) -> None:
    """The shares turn around along a cosine, as in the paper."""
    rule = EasyToHard(ROWS, steps=100, schedule="cosine")
    assert list(rule.shares(step, EQUAL).values()) == pytest.approx(shares, abs=1e-6)


@pytest.mark.parametrize(
    ("step", "shares"),
    [(0, [3 / 6, 2 / 6, 1 / 6]), (50, [1 / 3, 1 / 3, 1 / 3]), (100, [1 / 6, 2 / 6, 3 / 6])],
)
def test_cosine_with_the_floor_of_the_code(step: int, shares: list[float]) -> None:
    """With a floor of 2 / (K (K + 1)) the cosine is the one of the authors' code."""
    rule = EasyToHard(ROWS, steps=100, schedule="cosine", floor=1 / 6)
    assert list(rule.shares(step, EQUAL).values()) == pytest.approx(shares)


@pytest.mark.parametrize(
    ("step", "shares"),
    [
        (0, [0.8805369, 0.1191677, 0.0002954]),  # 1, exp(-2), exp(-8)
        (25, [0.1065069, 0.7869861, 0.1065069]),  # the mean is at .25 ** .5 * 2 = 1
        (100, [0.0002954, 0.1191677, 0.8805369]),
    ],
)
def test_gaussian_by_the_formula(step: int, shares: list[float]) -> None:
    """The Gaussian of exponent .5 and sigma .5 moves from the first source to the last."""
    rule = EasyToHard(ROWS, steps=100, schedule="gaussian")
    assert list(rule.shares(step, EQUAL).values()) == pytest.approx(shares, abs=1e-6)


def test_floor_lifts_the_gaussian() -> None:
    """A share is the floor and its part of the rest."""
    rule = EasyToHard(ROWS, steps=100, schedule="gaussian", floor=0.1)
    assert list(rule.shares(25, EQUAL).values()) == pytest.approx(
        [0.1745548, 0.6508903, 0.1745548], abs=1e-6
    )


def test_levels_are_in_the_order_of_the_sources() -> None:
    """The order of the weights does not matter."""
    rule = EasyToHard(ROWS, steps=100)
    shares = rule.shares(0, {"hard": 1.0, "easy": 1.0, "normal": 1.0})
    assert shares == pytest.approx({"easy": 2 / 3, "normal": 1 / 3, "hard": 0})


def test_sources_of_weight_zero_are_no_levels() -> None:
    """The levels are the sources of positive weight, and a single one has everything."""
    rule = EasyToHard(ROWS, steps=100)
    assert rule.shares(0, {"easy": 0.0, "normal": 1.0, "hard": 1.0}) == {
        "easy": 0.0, "normal": 1.0, "hard": 0.0,
    }  # fmt: skip
    assert rule.shares(100, {"easy": 2.0, "normal": 0.0, "hard": 0.0})["easy"] > 0


def test_floor_must_leave_something() -> None:
    """The error names key and value."""
    with pytest.raises(ConfigurationError, match="1 over the number of sources") as error:
        EasyToHard(ROWS, steps=1, floor=0.4)
    assert (error.value.key, error.value.value) == ("floor", 0.4)
