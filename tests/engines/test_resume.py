from __future__ import annotations

import itertools
import pickle
from collections import Counter
from typing import Any

import pytest
from torchdata.stateful_dataloader import StatefulDataLoader

from curriculum_learning import (
    CheckpointError,
)
from curriculum_learning.samplers import (
    MultiSourceSampler,
    RewardCurriculumSampler,
    TimeCurriculumSampler,
)
from tests.engines.sampler_data import (
    CLASSES,
    REWARD,
    Rows,
    config,
    feedback,
)


@pytest.mark.parametrize(("kind", "keys"), CLASSES)
def test_a_resumed_run_has_the_batches_of_an_uninterrupted_one(
    kind: type[MultiSourceSampler], keys: dict[str, Any]
) -> None:
    """With torchdata's loader a run resumes at every batch, epoch ends included, once or twice."""
    dataset = Rows({"logicif": 40, "iftrain": 30})
    steps = 20

    def make() -> tuple[MultiSourceSampler, StatefulDataLoader[Any]]:
        sampler = kind(dataset, config(8, **keys))
        loader = StatefulDataLoader(
            dataset, batch_size=8, sampler=sampler, drop_last=True, num_workers=0,
            collate_fn=lambda rows: [dataset.rows.index(row) for row in rows],
        )  # fmt: skip
        return sampler, loader

    def run(state: Any, start: int, stop: int) -> tuple[list[list[int]], Any]:
        sampler, loader = make()
        if state is not None:
            loader.load_state_dict(state)
        got: list[list[int]] = []
        while start + len(got) < stop:
            for batch in loader:
                got.append(batch)
                sampler.observe(*feedback(dataset, batch, start + len(got)))
                if start + len(got) == stop:
                    break
        return got, loader.state_dict()

    expected, _ = run(None, 0, steps)
    moved = Counter(len(set(batch)) for batch in expected)
    assert moved
    for cut in range(1, steps):
        first, state = run(None, 0, cut)
        middle = (cut + steps) // 2
        second, state = run(state, cut, middle)
        third, _ = run(state, middle, steps)
        assert first + second + third == expected, cut


def test_samplers_can_be_pickled() -> None:
    """A pickled copy draws the same rows as the original."""
    dataset = Rows({"logicif": 40, "iftrain": 40})
    sampler = RewardCurriculumSampler(dataset, config(8, **REWARD))
    list(itertools.islice(sampler, 16))
    copied = pickle.loads(pickle.dumps(sampler))
    assert list(itertools.islice(copied, 16)) == list(itertools.islice(sampler, 16))


def test_a_state_of_something_else_is_refused() -> None:
    """Other rows, scores, sizes or classes raise an error that says what differs."""
    dataset = Rows({"logicif": 40, "iftrain": 30})
    state = TimeCurriculumSampler(dataset, config(8)).state_dict()
    other = Rows({"logicif": 40, "iftrain": 30})
    for row in other.rows:
        row["extra_info"]["complexity_score"] *= -1
    reordered = Rows({"logicif": 40, "iftrain": 30})
    reordered.rows.reverse()
    for data, values, piece in (
        (Rows({"logicif": 40, "iftrain": 31}), config(8), "when the state was saved: .*rows"),
        (Rows({"logicif": 40, "b": 30}), config(8), "the sources"),
        (reordered, config(8), "hash"),
        (other, config(8), "complexity_scores"),
        (dataset, config(7), "train_batch_size=8"),
        (dataset, config(8, seed=8), "sampler.seed=7"),
    ):
        with pytest.raises(CheckpointError, match=piece):
            TimeCurriculumSampler(data, values).load_state_dict(state)
    with pytest.raises(CheckpointError, match="class_name=TimeCurriculumSampler"):
        RewardCurriculumSampler(dataset, config(8, reward_threshold=1)).load_state_dict(state)
    for broken in ({}, {**state, "mixture": None}, {"identity": 5}):
        with pytest.raises(CheckpointError):
            TimeCurriculumSampler(dataset, config(8)).load_state_dict(broken)


def test_a_state_of_another_curriculum_is_refused() -> None:
    """Other intervals, focus or adaptive weights are named, and a bad state changes nothing."""
    dataset = Rows({"logicif": 40, "iftrain": 30})
    sampler = RewardCurriculumSampler(dataset, config(8, **REWARD))
    list(itertools.islice(sampler, 20))
    state = sampler.state_dict()
    for changes, piece in (
        ({"num_intervals": 3}, "num_intervals=10"),
        ({"focus_new_intervals": True}, "focus_new_intervals=False"),
        ({"initial_complexity_percentile": 20}, "initial_complexity_percentile=30"),
        ({"adaptive_weights": True}, "adaptive_weights=False"),
    ):
        other = RewardCurriculumSampler(dataset, config(8, **{**REWARD, **changes}))
        with pytest.raises(CheckpointError, match=piece):
            other.load_state_dict(state)
    same = RewardCurriculumSampler(dataset, config(8, **REWARD))
    before = same.state_dict()
    for broken in (
        {key: value for key, value in state.items() if key != "updates"},
        {**state, "updates": None},
        {**state, "mixture": {**state["mixture"], "sources": {}}},
    ):
        with pytest.raises(CheckpointError):
            same.load_state_dict(broken)
        assert same.state_dict() == before
