from __future__ import annotations

import numpy as np

from tests.curricula.shipped import scores_of, time_curriculum


def test_time_opens_rows_in_a_straight_line() -> None:
    """30 % at the start, 100 % after the warm-up, rounded down, never less than one row."""
    curriculum = time_curriculum(scores_of(1000), 30, 100, 100)
    assert [curriculum.open_rows(step) for step in (0, 1, 50, 99, 100, 5000)] == [
        300, 307, 650, 993, 1000, 1000,
    ]  # fmt: skip
    assert time_curriculum(scores_of(3), 0, 100, 10).open_rows(0) == 1
    # 0.1 % of 1000 rows is 1 row, although 0.1 has no exact binary form.
    assert [time_curriculum(scores_of(1000), p, 100, 1).open_rows(0) for p in (0.7, 29.3)] == [
        7,
        293,
    ]


def test_ties_are_broken_by_row() -> None:
    """Rows of equal complexity open in the order of the data."""
    curriculum = time_curriculum(np.array([2.0, 1.0, 2.0, 1.0]), 50, 100, 1)
    assert curriculum.rank.tolist() == [2, 0, 3, 1]
    assert curriculum.weights(0).tolist() == [0, 1, 0, 1]


def test_weights_are_the_same_array_while_nothing_opens() -> None:
    """An answer that has not changed costs nothing."""
    curriculum = time_curriculum(scores_of(10), 10, 100, 100)
    assert curriculum.weights(0) is curriculum.weights(5)
    assert curriculum.weights(100).tolist() == [1] * 10
