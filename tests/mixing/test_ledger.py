from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum_learning.mixing.ledger import (
    WHOLE,
    Apportionment,
    WideApportionment,
    apportionment,
    units_of,
)

weights = st.floats(min_value=0, max_value=1e6, allow_nan=False)
some_weights = st.lists(weights, min_size=1, max_size=24).filter(any)


@given(some_weights)
def test_units_sum_to_the_whole_and_follow_the_weights(values: list[float]) -> None:
    """Units sum to WHOLE, are within one of their exact value, and 0 exactly for a weight of 0."""
    units = units_of(values)
    assert sum(units) == WHOLE
    for unit, value in zip(units, values, strict=True):
        assert (unit == 0) == (value == 0)
        assert abs(unit - value / sum(values) * WHOLE) <= len(values)


@pytest.mark.parametrize("values", [[1e308, 1e308], [5e-324, 1.0], [1e-30] * 3, [1e308, 1e-308]])
def test_extreme_weights_have_units(values: list[float]) -> None:
    """Weights at the ends of the range of numbers neither overflow nor vanish."""
    units = units_of(values)
    assert sum(units) == WHOLE
    assert min(units) >= 1


@settings(max_examples=60, deadline=None)
@given(some_weights, st.integers(1, 600))
def test_constant_weights_stay_strictly_below_one_off(values: list[float], draws: int) -> None:
    """At every draw each source's count is strictly less than 1 away from its share."""
    units = units_of(values)
    ledger = Apportionment(len(units))
    counts = [0] * len(units)
    for number in range(1, draws + 1):
        counts[ledger.draw(units)] += 1
        assert all(
            abs(count * WHOLE - number * unit) < WHOLE
            for count, unit in zip(counts, units, strict=True)
        )


@pytest.mark.parametrize("size", [3, 20, 200])
def test_many_sources_stay_strictly_below_one_off(size: int) -> None:
    """The bound holds for few and for many sources with very different weights."""
    randomness = random.Random(size)
    units = units_of([randomness.random() ** 4 for _ in range(size)])
    ledger = Apportionment(size)
    for _ in range(5000):
        ledger.draw(units)
        assert max(map(abs, ledger.credits)) < WHOLE


@settings(max_examples=60, deadline=None)
@given(st.lists(some_weights, min_size=1, max_size=1), st.data())
def test_any_schedule_stays_within_the_harmonic_bound(
    first: list[list[float]], data: st.DataObject
) -> None:
    """With weights that change at every draw nobody is further off than H(S) + 1."""
    size = len(first[0])
    bound = sum(1 / n for n in range(1, size + 1)) + 1
    ledger = Apportionment(size)
    schedule = data.draw(
        st.lists(
            st.lists(weights, min_size=size, max_size=size).filter(any), min_size=1, max_size=60
        )
    )
    for values in itertools.islice(itertools.cycle(schedule), 300):
        ledger.draw(units_of(values))
        assert sum(ledger.credits) == 0
        assert max(map(abs, ledger.credits)) <= bound * WHOLE


@pytest.mark.parametrize("size", [4, 16, 64])
def test_starving_schedule_stays_within_the_harmonic_bound(size: int) -> None:
    """The worst schedule known, weight only for sources not yet drawn, stays within the bound."""
    ledger = Apportionment(size)
    waiting = set(range(size))
    while waiting:
        values = [1.0 if index in waiting else 0.0 for index in range(size)]
        waiting.discard(ledger.draw(units_of(values)))
        off = max(map(abs, ledger.credits)) / WHOLE
        assert off <= sum(1 / n for n in range(1, size + 1)) + 1
    assert sum(ledger.credits) == 0


def test_a_disabled_source_is_never_drawn() -> None:
    """A source of weight 0 is not drawn, not even where it is still owed something."""
    ledger = Apportionment(3)
    for _ in range(7):
        ledger.draw(units_of([0.2, 0.2, 0.6]))
    assert {ledger.draw(units_of([0.5, 0.5, 0.0])) for _ in range(1000)} == {0, 1}


def test_golden_sequence() -> None:
    """The sequence of a mixture never changes between versions."""
    ledger = Apportionment(3)
    units = units_of([0.3, 0.5, 0.2])
    assert "".join(str(ledger.draw(units)) for _ in range(30)) == "101201101210120110121012011012"


@given(some_weights, st.integers(0, 50), st.integers(1, 20))
def test_undo_takes_draws_back(values: list[float], before: int, undone: int) -> None:
    """Draws that are taken back leave no trace."""
    units = units_of(values)
    ledger = Apportionment(len(units))
    for _ in range(before):
        ledger.draw(units)
    credits = list(ledger.credits)
    drawn = [ledger.draw(units) for _ in range(undone)]
    for index in reversed(drawn):
        ledger.undo(index, units)
    assert ledger.credits == credits
    assert [ledger.draw(units) for _ in range(undone)] == drawn


@settings(max_examples=60, deadline=None)
@given(st.lists(some_weights, min_size=1, max_size=4), st.integers(1, 60))
def test_the_wide_ledger_draws_the_same(changes: list[list[float]], draws: int) -> None:
    """For any units, changing ones and zeros included, arrays and loop agree draw by draw."""
    size = max(map(len, changes))
    narrow, wide = Apportionment(size), WideApportionment(size)
    for values in changes:
        units = units_of([*values, *[0.0] * (size - len(values))])
        for _ in range(draws):
            drawn = narrow.draw(units)
            assert wide.draw(units) == drawn
            assert wide.credits == narrow.credits
        wide.undo(drawn, units)
        narrow.undo(drawn, units)
        wide.credits = list(wide.credits)
        assert wide.credits == narrow.credits


def test_a_thousand_sources() -> None:
    """With a thousand sources the draws are those of the loop, and stay below one off."""
    randomness = random.Random(0)
    units = units_of([randomness.random() ** 6 for _ in range(1000)])
    narrow, wide = Apportionment(1000), apportionment(1000)
    assert isinstance(wide, WideApportionment)
    for _ in range(3000):
        assert wide.draw(units) == narrow.draw(units)
    assert max(map(abs, wide.credits)) < WHOLE
