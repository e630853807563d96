"""Start-up and speed of the samplers over a million rows, beside torch's own weighted sampler."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import WeightedRandomSampler

from benchmarks.figures import Figure, Findings, quantity
from curriculum_learning.samplers import (
    MultiSourceSampler,
    RewardCurriculumSampler,
    TimeCurriculumSampler,
)

_ROWS = 1_000_000
_INDICES = 1_000_000
_ROUNDS = 3


def measure(folder: str) -> dict[str, Any]:
    """Figures of each sampler; ``folder`` is not used."""
    table = _table()
    reward = {"reward_threshold": 0.5}
    ours: dict[str, Callable[[], Any]] = {
        "MultiSourceSampler": lambda: MultiSourceSampler(table, _config()),
        "TimeCurriculumSampler": lambda: TimeCurriculumSampler(table, _config()),
        "RewardCurriculumSampler": lambda: RewardCurriculumSampler(table, _config(**reward)),
        "RewardCurriculumSampler, focused": lambda: RewardCurriculumSampler(
            table, _config(**reward, focus_new_intervals=True)
        ),
    }
    figures = [figure for name, make in ours.items() for figure in _figures(name, make)]
    starts, rates = _runs(lambda: WeightedRandomSampler(torch.ones(_ROWS).tolist(), _ROWS))
    figures.append(
        Figure(
            "torch's WeightedRandomSampler: a second",
            median(rates) / 1e3,
            "k indices",
            detail=f"start {quantity(median(starts), 's')}; draws with replacement, by lot",
            runs={"start": starts, "indices per second": rates},
        )
    )
    return Findings(figures).as_data()


def _table() -> datasets.Dataset:
    randomness = np.random.default_rng(0)
    names = np.array(["iftrain", "logicif"])[randomness.integers(0, 2, _ROWS)]
    return datasets.Dataset.from_dict(
        {
            "data_source": names,
            "extra_info": [{"complexity_score": score} for score in randomness.random(_ROWS)],
        }
    )


def _config(**keys: Any) -> dict[str, Any]:
    return {"train_batch_size": 512, "sampler": keys}


def _figures(name: str, make: Callable[[], Any]) -> list[Figure]:
    starts, rates = _runs(make)
    return [
        Figure(f"{name}: start", median(starts), "s", at_most=5, runs={"ours": starts}),
        Figure(
            f"{name}: a second",
            median(rates) / 1e3,
            "k indices",
            at_least=300,
            detail=f"of {_ROWS:,} rows",
            runs={"ours": rates},
        ),
    ]


def _runs(make: Callable[[], Any]) -> tuple[list[float], list[float]]:
    """Seconds of the start, and indices per second."""
    starts, rates = [], []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        sampler = make()
        started = time.perf_counter()
        indices: Iterator[int] = itertools.islice(sampler, _INDICES)
        count = sum(1 for _ in indices)
        rates.append(count / (time.perf_counter() - started))
        starts.append(started - began)
    return starts, rates
