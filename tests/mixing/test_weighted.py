from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curriculum_learning.mixing.row_credits import WHOLE
from curriculum_learning.mixing.source import Source
from curriculum_learning.mixing.weighted import WeightedOrder
from tests.mixing.filter_walk import FilterWalk

Weights = NDArray[np.float64]

TINY = 1e-6
"""Above what rounding to 2**-31 adds up to over the epochs of a test."""

STORED = ("units", "credits")
"""What a state keeps of each row."""

repeatable = settings(derandomize=True, deadline=None)

some_weights = st.lists(
    st.one_of(st.just(0.0), st.just(1.0), st.floats(1e-3, 1e3)), min_size=1, max_size=40
).filter(any)


@st.composite
def skewed_weights(draw: st.DrawFn) -> list[float]:
    """A few heavy rows among many light ones: an epoch takes very few of them."""
    size = draw(st.integers(70, 300))
    floor = draw(st.sampled_from([0.0, 1e-4, 1e-3, 0.01]))
    weights = [floor * (1 + row % 3) for row in range(size)]
    for row in draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=3)):
        weights[row] = draw(st.sampled_from([0.5, 0.9, 1.0]))
    return weights


def order_of(size: int, shuffle: bool = True, seed: int = 3) -> WeightedOrder:
    return WeightedOrder(size, seed=seed, name="math", shuffle=shuffle)


def weighted(weights: list[float] | Weights, shuffle: bool = True) -> WeightedOrder:
    order = order_of(len(weights), shuffle)
    order.set_weights(weights)
    return order


def rows_and_epochs(order: WeightedOrder | Source, count: int) -> list[tuple[int, int]]:
    return [order.take()[:2] for _ in range(count)]


def some_shapes(size: int) -> Iterator[Weights]:
    """Weights of very different shapes, one after the other."""
    rng = np.random.default_rng(5)
    yield rng.random(size)
    skewed = np.full(size, 1e-4)
    skewed[rng.choice(size, 3)] = 1
    yield skewed
    yield rng.random(size) ** 3
    yield (rng.random(size) < 0.002) + np.eye(1, size, 7)[0]
    yield skewed[::-1]
    yield np.ones(size)
    yield 1 / np.arange(1, size + 1) ** 2


# --- how often --------------------------------------------------------------------------------


@repeatable
@given(st.one_of(some_weights, skewed_weights()), st.booleans())
def test_a_row_is_never_more_than_about_one_visit_off(values: list[float], shuffle: bool) -> None:
    """At every moment, for every row; less than one visit after whole epochs."""
    weights = np.array(values) / max(values)
    order = weighted(values, shuffle)
    counts = np.zeros(len(weights))
    previous = 0
    for _ in range(600):
        row, epoch, _ = order.take()
        if epoch != previous:
            assert (np.abs(counts - weights * epoch) < 1 + TINY).all()
            previous = epoch
        counts[row] += 1
        assert (counts > weights * epoch - 1 - TINY).all()
        assert (counts < weights * (epoch + 1) + 1 + TINY).all()


@repeatable
@given(st.one_of(some_weights, skewed_weights()))
def test_every_row_of_positive_weight_comes_in_bounded_time(values: list[float]) -> None:
    """Between two visits to a row are no more epochs than its weight says; closed never come."""
    weights = np.array(values) / max(values)
    order = weighted(values)
    last = np.full(len(weights), -1)
    epoch = 0
    while epoch < 40:
        row, epoch, _ = order.take()
        assert weights[row] > 0
        last[row] = epoch
        waited = epoch - 1 - last  # whole epochs
        assert (waited[weights > 0] <= np.ceil(1 / weights[weights > 0] + TINY)).all()


def plain_walk(
    units: list[int], credits: list[int], at_first: int | None = None
) -> Iterator[tuple[int, int]]:
    """The promise, literally: row after row gains its units, and comes at each whole visit.

    Epoch 0 has the first ``at_first`` rows only.
    """
    for epoch in itertools.count():
        for row in range(len(units))[: None if epoch else at_first]:
            credits[row] += units[row]
            if credits[row] >= WHOLE:
                credits[row] -= WHOLE
                yield row, epoch


def units_and_credits(order: WeightedOrder) -> tuple[list[int], list[int]]:
    state = order.state_dict()
    units, credits = (np.frombuffer(state[key], dtype="<u4").tolist() for key in STORED)
    return units, credits


@repeatable
@given(
    st.integers(1, 130),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 60)), min_size=1, max_size=8),
)
def test_nothing_is_lost_or_doubled_when_weights_change(
    size: int, changes: list[tuple[int, int]]
) -> None:
    """At any moment of the walk, from any weights to any others: each row keeps its credit."""
    shapes = [shape[:size] + (not shape[:size].any()) for shape in some_shapes(max(size, 8))]
    order = order_of(size, shuffle=False)
    units, credits = units_and_credits(order)
    expected = plain_walk(units, credits)
    for shape, count in changes:
        order.set_weights(shapes[shape])
        units[:] = units_and_credits(order)[0]
        for _ in range(count):
            assert order.take()[:2] == next(expected)


@pytest.mark.parametrize("size", [20_000, 140_000])
def test_large_sources_keep_the_bounds_over_changes(size: int) -> None:
    """Dense, sparse and closed weights follow each other within epochs; no row is far off."""
    order = order_of(size)
    counts, least, most = np.zeros(size), np.zeros(size), np.zeros(size)
    low = high = np.ones(size)
    begun = 0
    for values in some_shapes(size):
        order.set_weights(values)
        weights = values / values.max()
        low, high = np.minimum(low, weights), np.maximum(high, weights)
        for _ in range(6000):
            row, epoch, _ = order.take()
            for _ in range(begun, epoch):
                least, most, low, high = least + low, most + high, weights, weights
            begun = epoch
            counts[row] += 1
            assert weights[row] > 0
        assert (counts > least - 1 - TINY).all()
        assert (counts < most + high + 1 + TINY).all()


@pytest.mark.parametrize("light", [0.5, 2.0**-10])
def test_a_visit_is_complete_at_exactly_its_units(light: float) -> None:
    """Neither one unit earlier nor later, for walked rows and for looked-up ones."""
    order = weighted(np.where(np.arange(200) % 150, light, 1.0), shuffle=False)
    order.load_state_dict({**order.state_dict(), "credits": bytes(800)})
    expected = plain_walk(*units_and_credits(order))
    assert rows_and_epochs(order, 5000) == [next(expected) for _ in range(5000)]


def test_equal_weights_below_the_largest_come_evenly() -> None:
    """Each epoch takes half of the rows with half the weight, one more or less."""
    weights = np.full(1001, 0.5)
    weights[0] = 1
    order = weighted(weights)
    epochs = [epoch for _, epoch in rows_and_epochs(order, 10_000)][:-501]
    assert {epochs.count(epoch) for epoch in range(15)} <= {500, 501, 502}


def test_a_tiny_weight_is_still_a_weight() -> None:
    """Rounding closes no row."""
    assert units_and_credits(weighted([1.0, 1e-300]))[0] == [WHOLE, 1]


# --- weights of 0 and one constant ------------------------------------------------------------


def compare_with_filter(size: int, numbers: list[tuple[int, int]], shuffle: bool) -> None:
    """Open so many rows, take so many; both walks must give the same rows and epochs."""
    rank = np.random.default_rng(size).permutation(size)
    walk = FilterWalk("math", size, seed=3, shuffle=shuffle)
    order = order_of(size, shuffle)
    for number, count in numbers:
        order.set_weights(np.where(rank < number, 0.3, 0))
        for _ in range(count):
            assert order.take()[:2] == walk.take(rank < number)
            assert order.epoch == walk.epoch


@repeatable
@given(st.integers(1, 300), st.booleans(), st.data())
def test_constant_weights_are_the_order_of_today(
    size: int, shuffle: bool, data: st.DataObject
) -> None:
    """Rows that open and close at any time come as from a filtered permutation, to the row."""
    changes = st.tuples(st.integers(1, size), st.integers(0, 2 * size))
    compare_with_filter(size, data.draw(st.lists(changes, min_size=1, max_size=6)), shuffle)


@pytest.mark.parametrize("shuffle", [True, False])
def test_constant_weights_of_large_sources_are_the_order_of_today(shuffle: bool) -> None:
    """The same where the order is a network, with all, some, few and one of the rows open."""
    numbers = [(9000, 5000), (10_000, 7000), (100, 350), (5000, 3000), (1, 5), (70, 200)]
    compare_with_filter(10_000, numbers, shuffle)


def test_constant_weights_after_others_take_every_open_row_once_per_epoch() -> None:
    """What rows had gained of a visit before does not matter."""
    weights = np.random.default_rng(0).random(50)
    order = weighted(weights)
    rows_and_epochs(order, 77)
    order.set_weights(weights > 0.4)
    begun = order.epoch + 1
    taken = [(row, epoch) for row, epoch in rows_and_epochs(order, 300) if epoch >= begun]
    first = sorted(row for row, epoch in taken if epoch == begun)
    assert first == np.flatnonzero(weights > 0.4).tolist()


# --- the same again ---------------------------------------------------------------------------


def test_the_order_is_fixed() -> None:
    """Walked and looked-up orders never change between versions."""
    mixed = [row for row, _ in rows_and_epochs(weighted([1.0, 0.5, 0.25, 0.0, 0.75]), 20)]
    assert mixed == [1, 4, 0, 4, 0, 2, 1, 0, 4, 0, 1, 4, 0, 4, 0, 2, 1, 0, 4, 0]
    skewed = np.full(1000, 1e-3)
    skewed[[3, 4]] = 1
    looked_up = [row for row, _ in rows_and_epochs(weighted(skewed), 12)]
    assert looked_up == [3, 4, 401, 3, 168, 778, 4, 3, 4, 4, 545, 3]


def test_seeds_and_names_have_orders_of_their_own() -> None:
    """Equal ones have the same order, others do not."""
    weights = np.random.default_rng(1).random(100)
    taken = []
    for seed, name in [(1, "a"), (1, "a"), (2, "a"), (1, "b")]:
        order = WeightedOrder(100, seed=seed, name=name, shuffle=True)
        order.set_weights(weights)
        taken.append(rows_and_epochs(order, 50))
    assert taken[0] == taken[1]
    assert taken[0] != taken[2]
    assert taken[0] != taken[3]


def copy_of(order: WeightedOrder) -> WeightedOrder:
    copy = order_of(order.size)
    copy.load_state_dict(order.state_dict())
    return copy


@settings(repeatable, max_examples=40)
@given(st.lists(st.one_of(some_weights, skewed_weights()), min_size=1, max_size=3), st.data())
def test_a_resume_at_every_position_continues_exactly(
    histories: list[list[float]], data: st.DataObject
) -> None:
    """Cut after every draw, also around changes of the weights, the rest is the same."""
    size = min(len(values) for values in histories)
    order = order_of(size)
    for values in histories:
        weights = np.array(values[:size])
        weights[0] += not weights.any()
        resumed = copy_of(order)
        resumed.set_weights(weights)
        order.set_weights(weights)
        for _ in range(data.draw(st.integers(1, 40))):
            again = copy_of(order)
            assert rows_and_epochs(again, 5) == peek(order, 5)
            row = order.take()[:2]
            assert resumed.take()[:2] == row
            resumed = copy_of(resumed)


def peek(order: WeightedOrder, count: int) -> list[tuple[int, int]]:
    """The next rows; they are put back."""
    taken = [order.take() for _ in range(count)]
    for _, _, before in reversed(taken):
        order.put_back(before)
    return [(row, epoch) for row, epoch, _ in taken]


@pytest.mark.parametrize("size", [3000, 20_000])
def test_a_resume_of_a_large_source_continues_exactly(size: int) -> None:
    """Cut in every kind of epoch, before and after a change of the weights."""
    order, resumed = order_of(size), order_of(size)
    for weights in some_shapes(size):
        for each in (order, resumed):
            each.set_weights(weights)
        for count in (0, 1, 700, 5000):
            resumed = copy_of(resumed)
            assert rows_and_epochs(resumed, count) == rows_and_epochs(order, count)
            assert resumed.state_dict() == order.state_dict()


@settings(repeatable, max_examples=40)
@given(
    st.integers(1, 200),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=20),
)
def test_put_back_undoes_everything(size: int, steps: list[tuple[int, int]]) -> None:
    """Rows put back, over changes of the weights too, leave the state as it was."""
    shapes = list(itertools.islice(some_shapes(max(size, 8)), 4))
    weights = [shape[:size] + (not shape[:size].any()) for shape in shapes]
    order = order_of(size)
    states, undo = [order.state_dict()], []
    for shape, count in steps:
        order.set_weights(weights[shape])
        for _ in range(count):
            states.append(order.state_dict())
            undo.append((order.take()[2], weights[shape]))
    for before, weights_then in reversed(undo):
        order.put_back(before)
        order.set_weights(weights_then)
        assert order.state_dict() == states.pop()


def test_a_row_put_back_comes_again() -> None:
    """Rows put back come in the same order again, at any place of the walk."""
    for weights in some_shapes(5000):
        order = weighted(weights)
        for count in (1, 50, 4500):
            expected = peek(order, count)
            assert rows_and_epochs(order, count) == expected


# --- growth, and what is refused --------------------------------------------------------------


@pytest.mark.parametrize("size", [50, 9000])
def test_rows_that_were_added_wait_for_the_next_epoch(size: int) -> None:
    """A state of fewer rows is continued as by Source."""
    source, order = Source("math", size, seed=3, shuffle=True), order_of(size)
    assert rows_and_epochs(order, size // 2) == rows_and_epochs(source, size // 2)
    grown = Source("math", size + 25, seed=3, shuffle=True)
    grown.load_state_dict(source.state_dict())
    larger = order_of(size + 25)
    larger.load_state_dict(order.state_dict())
    larger.set_weights(np.ones(size + 25))
    assert rows_and_epochs(larger, 2 * size) == rows_and_epochs(grown, 2 * size)
    with pytest.raises(ValueError, match="the state has"):
        order.load_state_dict(larger.state_dict())


@pytest.mark.parametrize("floor", [1e-3, 0.3])
@pytest.mark.parametrize("taken", [0, 1, 2])
def test_added_rows_gain_from_the_next_epoch_on(floor: float, taken: int) -> None:
    """Also with uneven weights they take no part in an epoch that has begun."""
    weights = np.full(300, floor)
    weights[:2] = 1
    order = weighted(weights[:200], shuffle=False)
    rows_and_epochs(order, taken)
    grown = order_of(300, shuffle=False)
    grown.load_state_dict(order.state_dict())
    grown.set_weights(weights)
    expected = plain_walk(*units_and_credits(grown), at_first=200 if taken else 300)
    first = [next(expected) for _ in range(3000)]
    assert rows_and_epochs(grown, 3000 - taken) == first[taken:]


@pytest.mark.parametrize("taken", range(1, 10))
def test_added_rows_wait_where_rows_are_looked_up(taken: int) -> None:
    """Rows that were added when few rows of an epoch come wait for the next epoch as well."""
    weights = np.full(300, 0.01)
    weights[0] = 1
    order = weighted(weights[:200])
    rows_and_epochs(order, taken)
    grown = order_of(300)
    grown.load_state_dict(order.state_dict())
    grown.set_weights(np.roll(weights, 250))
    begun = grown.epoch
    added = [epoch for row, epoch in rows_and_epochs(grown, 500) if row >= 200]
    assert added
    assert begun not in added


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 1.0], "shape"),
        ([1.0, -1.0, 1.0], "row 1 has weight -1"),
        ([1.0, 1.0, math.nan], "row 2 has weight nan"),
        ([math.inf, 1.0, 1.0], "row 0 has weight inf"),
        ([0.0, 0.0, 0.0], "all rows"),
    ],
)
def test_wrong_weights_are_refused(weights: list[float], message: str) -> None:
    """The error names the row; the weights before stay."""
    order = weighted([1.0, 0.5, 0.0])
    expected = rows_and_epochs(copy_of(order), 10)
    with pytest.raises(ValueError, match=message):
        order.set_weights(weights)
    assert rows_and_epochs(order, 10) == expected
