"""The samplers in torch's and torchdata's loaders: with workers, and on several ranks."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from curriculum_learning import CheckpointError, ConfigurationError
from curriculum_learning.samplers import (
    MultiSourceSampler,
    RewardCurriculumSampler,
    TimeCurriculumSampler,
)
from tests.engines.sampler_data import ADAPTIVE, REWARD, Row, Rows, config, feedback

BATCH = 8
WORKERS, PREFETCH = 2, 2
AHEAD = WORKERS * PREFETCH
SIZES = {"logicif": 40, "iftrain": 30}
"""Passes of 8 batches."""

SWITCH = {
    "source_weights": {
        "logicif": "lambda step: 1 if step < 10 else 0",
        "iftrain": "lambda step: 0 if step < 10 else 1",
    }
}
LEARNING: dict[str, Any] = {
    **ADAPTIVE,
    "update_frequency": 1,
    "source_curricula": {"iftrain": {"type": "pools"}},
}
CLASSES: list[tuple[type[MultiSourceSampler], dict[str, Any]]] = [
    (MultiSourceSampler, LEARNING),
    (MultiSourceSampler, SWITCH),
    (TimeCurriculumSampler, {"complexity_warmup_steps": 12}),
    (RewardCurriculumSampler, {**REWARD, **ADAPTIVE, "focus_new_intervals": True}),
]


def _numbers(rows: list[Row], *, known: dict[str, int]) -> list[int]:
    return [known[row["prompt"]] for row in rows]


def _loader(kind: Any, dataset: Rows, sampler: MultiSourceSampler, **keys: Any) -> Any:
    """A loader whose batches are row numbers."""
    known = {row["prompt"]: number for number, row in enumerate(dataset.rows)}
    numbers = functools.partial(_numbers, known=known)
    return kind(
        dataset, sampler=sampler, drop_last=True, collate_fn=numbers,
        **{"batch_size": BATCH, "num_workers": WORKERS, "prefetch_factor": PREFETCH, **keys},
    )  # fmt: skip


def _tell(sampler: MultiSourceSampler, dataset: Rows, batch: list[int], number: int) -> None:
    """Reports the rewards of a batch, with their rows."""
    sources, rewards = feedback(dataset, batch, number)
    sampler.observe(sources, rewards, sorted(batch))


def test_workers_of_a_plain_loader_get_the_same_batches() -> None:
    """Where nothing depends on rewards or steps, a loader with workers has what one without has."""
    dataset = Rows(SIZES)
    weights = {"source_weights": {"logicif": 3, "iftrain": 1}}
    one, other = (MultiSourceSampler(dataset, config(BATCH, **weights)) for _ in range(2))
    batches = list(_loader(DataLoader, dataset, one))
    assert batches == list(_loader(DataLoader, dataset, other, num_workers=0, prefetch_factor=None))
    assert all(Counter(dataset.names(batch)) == {"logicif": 6, "iftrain": 2} for batch in batches)


@pytest.mark.parametrize("kind", [DataLoader, StatefulDataLoader])
def test_rewards_lag_by_the_batches_that_workers_hold(kind: Any) -> None:
    """A batch is drawn when num_workers * prefetch_factor batches are out: so many updates late."""
    dataset = Rows(dict.fromkeys(SIZES, 160))
    sampler = MultiSourceSampler(dataset, config(BATCH, **SWITCH))
    sources = []
    for number, batch in enumerate(_loader(kind, dataset, sampler), start=1):
        sources.append(set(dataset.names(batch)))
        _tell(sampler, dataset, batch, number)
    assert sources[: 10 + AHEAD] == [{"logicif"}] * (10 + AHEAD)
    assert sources[10 + AHEAD :] == [{"iftrain"}] * (len(sources) - 10 - AHEAD)


@pytest.mark.parametrize(("kind", "keys"), CLASSES)
def test_a_run_with_workers_resumes_exactly(
    kind: type[MultiSourceSampler], keys: dict[str, Any], tmp_path: Path
) -> None:
    """With a journal a killed run has the batches of an uninterrupted one; also when killed twice.

    The state of the loader is that of a batch whose rewards were not known when it was drawn.
    """
    dataset, steps = Rows(SIZES), 20
    made = 0

    def run(journal: Path, state: Any, start: int, stop: int, save: int) -> tuple[Any, Any]:
        """Returns the batches up to ``stop``, and the state after batch ``save``."""
        nonlocal made
        made += 1
        sampler = kind(dataset, config(BATCH, journal=str(journal), **keys))
        loader = _loader(StatefulDataLoader, dataset, sampler)
        if state is not None:
            loader.load_state_dict(state)
        got: list[list[int]] = []
        saved = None
        while start + len(got) < stop:
            for batch in loader:
                got.append(batch)
                number = start + len(got)
                _tell(sampler, dataset, batch, number)
                saved = loader.state_dict() if number == save else saved
                if number == stop:
                    break
        return got, saved

    expected, _ = run(tmp_path / "whole", None, 0, steps, steps)
    for cut in (1, AHEAD, AHEAD + 1, 7, 8, 9, 15):
        journal = tmp_path / f"killed at {cut}"
        first, state = run(journal, None, 0, cut + 2, cut)
        assert first == expected[: cut + 2]
        second, state = run(journal, state, cut, cut + 4, cut + 3)
        assert second == expected[cut : cut + 4], cut
        third, _ = run(journal, state, cut + 3, steps, steps)
        assert third == expected[cut + 3 :], cut


def test_what_nobody_kept_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Without a journal a warning says that batches were drawn ahead of rewards."""
    dataset = Rows(SIZES)
    sampler = MultiSourceSampler(dataset, config(BATCH, **LEARNING))
    for number, batch in enumerate(_loader(StatefulDataLoader, dataset, sampler), start=1):
        _tell(sampler, dataset, batch, number)
    assert "batches were drawn before the rewards" in caplog.text
    assert "sampler.journal" in caplog.text


def _ranks(dataset: Rows, world_size: int, **keys: Any) -> list[MultiSourceSampler]:
    return [
        MultiSourceSampler(dataset, config(BATCH, **keys), rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]


def _step(dataset: Rows, ranks: list[MultiSourceSampler], loaders: list[Any], n: int) -> list[int]:
    """A batch of all ranks in the order of a single one; all are told all of the rewards."""
    parts = [next(loader) for loader in loaders]
    batch = [row for together in zip(*parts, strict=True) for row in together]
    for sampler in ranks:
        _tell(sampler, dataset, batch, n)
    return batch


def _loaders(dataset: Rows, ranks: list[MultiSourceSampler]) -> list[Any]:
    keys = {"batch_size": BATCH // len(ranks), "num_workers": 0, "prefetch_factor": None}
    return [_loader(StatefulDataLoader, dataset, sampler, **keys) for sampler in ranks]


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_together_have_the_sequence_of_one(world_size: int) -> None:
    """Rank r has every world_size-th row; rules and curricula learn the same on all of them."""
    dataset = Rows(SIZES)
    sequences, states = [], []
    for ranks in (_ranks(dataset, 1, **LEARNING), _ranks(dataset, world_size, **LEARNING)):
        assert len(ranks[0]) == 64 // len(ranks)
        loaders = [iter(loader) for loader in _loaders(dataset, ranks)]
        sequences.append([_step(dataset, ranks, loaders, n) for n in range(8)])
        for loader in loaders:
            assert next(loader, None) is None
        states.append([{**sampler.state_dict(), "run": None} for sampler in ranks])
    assert sequences[0] == sequences[1]
    assert states[1] == states[0] * world_size


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 2), (2, 1)])
def test_another_world_size_goes_on(before: int, after: int) -> None:
    """The state of any rank resumes any number of ranks, where one would have gone on."""
    dataset = Rows(SIZES)
    single = _ranks(dataset, 1, **LEARNING)
    loaders = [iter(loader) for loader in _loaders(dataset, single)]
    expected = [_step(dataset, single, loaders, n) for n in range(8)]
    ranks = _ranks(dataset, before, **LEARNING)
    loaders = _loaders(dataset, ranks)
    running = [iter(loader) for loader in loaders]
    assert [_step(dataset, ranks, running, n) for n in range(3)] == expected[:3]
    state = loaders[-1].state_dict()
    ranks = _ranks(dataset, after, **LEARNING)
    loaders = _loaders(dataset, ranks)
    for loader in loaders:
        loader.load_state_dict(state)
    running = [iter(loader) for loader in loaders]
    assert [_step(dataset, ranks, running, n) for n in range(3, 8)] == expected[3:]


def test_ranks_that_do_not_fit_are_refused() -> None:
    """A rank outside of the world, and a world that does not divide a batch, are named."""
    dataset = Rows(SIZES)
    for rank, world_size, key in ((2, 2, "rank"), (-1, 2, "rank"), (0, 3, "world_size")):
        with pytest.raises(ConfigurationError, match=str(world_size)) as raised:
            MultiSourceSampler(dataset, config(BATCH), rank=rank, world_size=world_size)
        assert raised.value.key == key
    with pytest.raises(ConfigurationError, match="world_size must be 1"):
        _ranks(dataset, 2)[0].keep_account()
    (sampler,) = _ranks(dataset, 1)
    next(iter(sampler))
    with pytest.raises(CheckpointError, match="save between batches"):
        _ranks(dataset, 2)[0].load_state_dict(sampler.state_dict())


@hypothesis.settings(max_examples=25)
@hypothesis.given(data=st.data())
def test_any_walk_over_ranks_and_states_is_one_sequence(data: st.DataObject) -> None:
    """However often a run is cut, and resumed by another number of ranks, the batches are one's."""
    dataset = Rows(SIZES)
    single = _ranks(dataset, 1, **LEARNING)
    expected = [_drawn(dataset, single, number) for number in range(12)]
    state: dict[str, Any] | None = None
    got: list[list[int]] = []
    while len(got) < 12:
        ranks = _ranks(dataset, data.draw(st.sampled_from([1, 2, 4, 8])), **LEARNING)
        if state is not None:
            for sampler in ranks:
                sampler.load_state_dict(state)
        for _ in range(data.draw(st.integers(1, 6))):
            got.append(_drawn(dataset, ranks, len(got)))
        state = data.draw(st.sampled_from(ranks)).state_dict()
    assert got[:12] == expected


def _drawn(dataset: Rows, ranks: list[MultiSourceSampler], number: int) -> list[int]:
    """The next batch of all ranks, over the ends of passes; all are told its rewards."""
    size = BATCH // len(ranks)
    parts = []
    for sampler in ranks:
        endless = itertools.chain.from_iterable(itertools.repeat(sampler))
        parts.append(list(itertools.islice(endless, size)))
    batch = [row for together in zip(*parts, strict=True) for row in together]
    for sampler in ranks:
        _tell(sampler, dataset, batch, number)
    return batch
