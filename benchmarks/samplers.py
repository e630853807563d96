"""Start-up and speed of the samplers over a million rows, beside torch's own weighted sampler.

python benchmarks/samplers.py
"""

from __future__ import annotations

import itertools
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import WeightedRandomSampler

from curriculum_learning.samplers import (
    MultiSourceSampler,
    RewardCurriculumSampler,
    TimeCurriculumSampler,
)

ROWS = 1_000_000
INDICES = 200_000
REPEATS = 5


def main() -> None:
    """Print one line per sampler."""
    randomness = np.random.default_rng(0)
    names = np.array(["iftrain", "logicif"])[randomness.integers(0, 2, ROWS)]
    table = datasets.Dataset.from_dict(
        {
            "data_source": names,
            "extra_info": [{"complexity_score": score} for score in randomness.random(ROWS)],
        }
    )
    reward = {"reward_threshold": 0.5}
    print(f"{ROWS:,} rows, medians of {REPEATS}")
    for name, make in {
        "MultiSourceSampler": lambda: MultiSourceSampler(table, _config()),
        "TimeCurriculumSampler, 30 % open": lambda: TimeCurriculumSampler(table, _config()),
        "RewardCurriculumSampler": lambda: RewardCurriculumSampler(table, _config(**reward)),
        "RewardCurriculumSampler, focused": lambda: RewardCurriculumSampler(
            table, _config(**reward, focus_new_intervals=True)
        ),
        "torch WeightedRandomSampler": lambda: WeightedRandomSampler(
            torch.ones(ROWS).tolist(), ROWS
        ),
    }.items():
        _measure(name, make)


def _config(**keys: Any) -> dict[str, Any]:
    return {"train_batch_size": 512, "sampler": keys}


def _measure(name: str, make: Callable[[], Any]) -> None:
    starts, rates = [], []
    for _ in range(REPEATS):
        began = time.perf_counter()
        sampler = make()
        started = time.perf_counter()
        indices: Iterator[int] = itertools.islice(sampler, INDICES)
        count = sum(1 for _ in indices)
        rates.append(count / (time.perf_counter() - started))
        starts.append(started - began)
    print(
        f"{name:34} start {statistics.median(starts):5.2f} s, "
        f"{statistics.median(rates) / 1e3:6.0f}k indices/s"
    )


if __name__ == "__main__":
    logging.getLogger("curriculum_learning").setLevel(logging.WARNING)
    main()
