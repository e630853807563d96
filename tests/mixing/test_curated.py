"""A source with a row curriculum: which row comes next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum_learning.mixing.curated import CuratedSource
from curriculum_learning.mixing.focused import curated_source
from curriculum_learning.mixing.source import RowSource, Source
from tests.curricula.shipped import mean, reward_curriculum, scores_of, time_curriculum
from tests.harness import check_resume


def of_reward(size: int, seed: int = 2, **changes: Any) -> RowSource:
    """A source with a reward curriculum."""
    curriculum = reward_curriculum(size, seed, **changes)
    return curated_source(curriculum.rows, curriculum, shuffle=True)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(0, 100), st.integers(1, 30), st.integers(1, 200))
def test_an_epoch_serves_each_open_row_once(size: int, initial: int, warmup: int, n: int) -> None:
    """Whatever opens meanwhile: only open rows, none twice in an epoch, none left out."""
    curriculum = time_curriculum(scores_of(size), initial, 100, warmup)
    source = CuratedSource(curriculum.rows, curriculum, shuffle=True)
    epochs: dict[int, list[int]] = {}
    for draw in range(n):
        step = draw // 7
        row, epoch, _ = source.take(step)
        assert curriculum.rank[row] < curriculum.open_rows(step)
        epochs.setdefault(epoch, []).append(row)
    for number, rows in epochs.items():
        assert len(rows) == len(set(rows)), number
    closed_late = set(np.flatnonzero(curriculum.rank >= curriculum.open_rows(0)).tolist())
    for rows in list(epochs.values())[:-1]:
        assert set(range(size)) - closed_late <= set(rows)


def test_rows_that_open_behind_the_walk_wait_for_the_next_epoch() -> None:
    """The order of an epoch does not change when rows open; those passed by come next time."""
    scores = scores_of(200)
    everything = Source("s", 200, seed=1, shuffle=True)
    order = [everything.take()[0] for _ in range(200)]
    curriculum = time_curriculum(scores, 50, 100, 1)
    source = CuratedSource(curriculum.rows, curriculum, shuffle=True)
    first = [source.take(0)[0] for _ in range(40)]
    passed = order.index(first[-1])
    assert first == [row for row in order[: passed + 1] if curriculum.rank[row] < 100]
    rest = order[passed + 1 :]
    assert [source.take(1)[0] for _ in rest] == rest
    assert source.epoch == 1
    assert sorted(source.take(1)[0] for _ in range(200)) == list(range(200))


def test_few_open_rows_are_walked_in_the_same_order() -> None:
    """Where hardly a row is open an epoch is walked by the open rows, in the order of all."""
    size = 20_000
    curriculum = time_curriculum(scores_of(size), 0.5, 100, 10, seed=4)
    source = CuratedSource(curriculum.rows, curriculum, shuffle=True)
    everything = Source("s", size, seed=4, shuffle=True)
    order = [everything.take()[0] for _ in range(size)]
    expected = [row for row in order if curriculum.rank[row] < 100]
    first = [source.take(0)[0] for _ in range(60)]
    resumed = CuratedSource(curriculum.rows, curriculum, shuffle=True)
    resumed.load_state_dict(source.state_dict())
    assert first + [resumed.take(0)[0] for _ in range(40)] == expected
    assert resumed.take(0)[1] == 1
    passed = order.index(first[-1])
    rest = [row for row in order[passed + 1 :] if curriculum.rank[row] < curriculum.open_rows(5)]
    assert [source.take(5)[0] for _ in rest] == rest


@pytest.mark.parametrize("focus", [False, True])
def test_a_source_with_a_curriculum_goes_on_from_any_position(tmp_path: Path, focus: bool) -> None:
    """Cut anywhere, levels and intervals included: the same rows follow."""

    def make() -> RowSource:
        return of_reward(23, min_batches_per_level=2, focus_new_intervals=focus)

    def advance(source: RowSource, i: int) -> Any:
        rows = [source.take(0)[0] for _ in range(3)]
        return rows, source.observe(mean((i % 5) / 4), 0), source.epoch

    check_resume(make, advance, 30, tmp_path)


@pytest.mark.parametrize("focus", [False, True])
def test_rows_can_be_put_back(focus: bool) -> None:
    """Put back in reverse, the same rows follow again."""
    source = of_reward(23, focus_new_intervals=focus)
    source.observe(mean(1.0), 0)
    for _ in range(30):
        taken = [source.take(0) for _ in range(11)]
        for _, _, before in reversed(taken):
            source.put_back(before)
        assert [source.take(0)[:2] for _ in range(11)] == [each[:2] for each in taken]
        for _, _, before in reversed(taken[1:]):
            source.put_back(before)
