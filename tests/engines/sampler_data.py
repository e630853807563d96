"""Data sets, configurations and rewards for the tests of the samplers."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.utils.data import Dataset

from curriculum_learning.samplers import (
    MultiSourceSampler,
    RewardCurriculumSampler,
    TimeCurriculumSampler,
)

Row = dict[str, Any]

ADAPTIVE = {"adaptive_weights": True, "update_frequency": 2, "temperature": 0.3}


# Every single reward matters with these, so that a lost one shows.
REWARD = {
    "reward_threshold": 0.47, "reward_alpha": 1.0, "min_batches_per_level": 0, "check_frequency": 1,
}  # fmt: skip

CLASSES: list[tuple[type[MultiSourceSampler], dict[str, Any]]] = [
    (MultiSourceSampler, ADAPTIVE),
    (TimeCurriculumSampler, {"complexity_warmup_steps": 9}),
    (RewardCurriculumSampler, REWARD),
    (RewardCurriculumSampler, {**REWARD, **ADAPTIVE, "focus_new_intervals": True}),
]


class Rows(Dataset[Row]):
    """A data set of rows, without columns."""

    def __init__(self, sizes: dict[str, int], *, scores: bool = True) -> None:
        names = [name for name, size in sizes.items() for _ in range(size)]
        order = np.random.default_rng(0).permutation(len(names))
        self.rows: list[Row] = [
            {"prompt": f"{names[place]} {place}", "data_source": names[place]} for place in order
        ]
        if scores:
            for place, row in enumerate(self.rows):
                row["extra_info"] = {"complexity_score": float((place * 37) % 101)}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    def names(self, indices: list[int]) -> list[str]:
        """The sources of rows."""
        return [self.rows[index]["data_source"] for index in indices]


def config(batch: int = 8, /, **sampler: Any) -> dict[str, Any]:
    """The ``config.data`` of verl, as far as samplers read it."""
    return {"train_batch_size": batch, "seed": 7, "sampler": {"class_name": "x", **sampler}}


def batches_of(sampler: MultiSourceSampler, size: int) -> list[list[int]]:
    """The batches of one pass."""
    rows = list(sampler)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def feedback(dataset: Rows, batch: list[int], number: int) -> tuple[list[str], list[float]]:
    """Sources and rewards of a batch, in another order than it was drawn."""
    rows = sorted(batch)
    return dataset.names(rows), [((row * 31 + number) % 10) / 10 for row in rows]
