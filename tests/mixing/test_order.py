from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum_learning.mixing.order import SORTED_UP_TO, Permutation, epoch_key
from curriculum_learning.mixing.source import Position, Source


@given(st.integers(1, 3 * SORTED_UP_TO), st.integers(0, 2**64 - 1))
def test_every_row_once(size: int, key: int) -> None:
    """Any key permutes the rows of any size."""
    assert sorted(Permutation(size, key).rows(0, size).tolist()) == list(range(size))


@given(st.integers(1, 10**12), st.integers(0, 2**64 - 1), st.data())
def test_any_part_by_itself(size: int, key: int, data: st.DataObject) -> None:
    """A part of the order is the same whether asked for alone or with its neighbours."""
    start = data.draw(st.integers(0, size - 1))
    stop = min(start + 64, size)
    permutation = Permutation(size, key)
    rows = permutation.rows(start, stop)
    assert [permutation.rows(i, i + 1).item() for i in range(start, stop)] == rows.tolist()
    assert rows.min() >= 0
    assert rows.max() < size


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (10, [3, 5, 8, 6, 2, 7, 1, 4, 9, 0]),
        (100_000, [84956, 59503, 41618, 311, 70347, 62523, 18043, 79338, 32766, 88983]),
    ],
)
def test_golden_order(size: int, expected: list[int]) -> None:
    """The order of a run never changes between versions."""
    assert Permutation(size, epoch_key(42, "math", 0)).rows(0, 10).tolist() == expected


def test_neighbouring_keys_differ() -> None:
    """Sources of equal size, and seed + 1 with epoch - 1, have orders of their own."""
    keys = {
        epoch_key(seed, name, epoch)
        for seed in range(10)
        for name in ("math", "code", "1", "0")
        for epoch in range(10)
    }
    assert len(keys) == 400


def test_all_orders_of_a_tiny_source_are_equally_likely() -> None:
    """Over many epochs the 24 orders of 4 rows come up equally often (chi-square, 23 degrees)."""
    epochs = 24_000
    counts = Counter(
        tuple(Permutation(4, epoch_key(1, "tiny", epoch)).rows(0, 4).tolist())
        for epoch in range(epochs)
    )
    expected = epochs / 24
    assert len(counts) == 24
    # 49.7 is the 99.9th percentile; the keys are fixed, so this cannot fail by chance.
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 49.7


def test_a_large_order_looks_random() -> None:
    """Neighbours in a large order are not correlated, and its first half covers all rows evenly."""
    size = 200_000
    rows = Permutation(size, epoch_key(7, "large", 3)).rows(0, size)
    assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 0.01
    histogram, _ = np.histogram(rows[: size // 2], bins=64, range=(0, size))
    expected = size / 2 / 64
    assert ((histogram - expected) ** 2 / expected).sum() < 103.4  # 99.9th percentile, 63 degrees


def test_the_global_random_state_is_left_alone() -> None:
    """Neither Python's nor numpy's global generator is touched."""
    before, numpy_before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]  # the default form is a tuple
    source = Source("math", 5000, seed=1, shuffle=True)
    for _ in range(6000):
        source.take()[0]
    assert random.getstate() == before
    assert np.random.get_state()[1].tolist() == numpy_before  # type: ignore[index]  # likewise


@given(st.integers(1, 40), st.booleans(), st.integers(0, 3), st.data())
def test_a_walk_can_start_anywhere(
    size: int, shuffle: bool, epoch: int, data: st.DataObject
) -> None:
    """A walk begun at any position continues exactly as one that came there by itself."""
    offset = data.draw(st.integers(0, size - 1))
    walked = Source("s", size, seed=5, shuffle=shuffle)
    for _ in range(epoch * size + offset):
        walked.take()[0]
    assert walked.position == Position(epoch, offset, size)
    started = Source("s", size, seed=5, shuffle=shuffle)
    started.seek(Position(epoch, offset, size))
    steps = range(2 * size + 1)
    assert [started.take()[0] for _ in steps] == [walked.take()[0] for _ in steps]


def test_each_epoch_has_every_row_once_in_its_own_order() -> None:
    """An epoch is a full pass, and the next one is in another order; unshuffled is file order."""
    source = Source("s", 3000, seed=5, shuffle=True)
    first, second = ([source.take()[0] for _ in range(3000)] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(3000))
    assert first != second
    plain = Source("s", 5, seed=5, shuffle=False)
    assert [plain.take()[0] for _ in range(10)] == [0, 1, 2, 3, 4] * 2


@given(st.integers(1, 3 * SORTED_UP_TO), st.integers(0, 2**64 - 1), st.booleans())
def test_positions_are_the_inverse_of_rows(size: int, key: int, shuffled: bool) -> None:
    """Every row stands where the order says."""
    permutation = Permutation(size, key if shuffled else None)
    rows = permutation.rows(0, size)
    assert permutation.positions(rows).tolist() == list(range(size))
