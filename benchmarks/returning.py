"""Unfinished groups: given back with their tokens, and served again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Figure, Findings, quantity
from benchmarks.fresh import seconds_of
from benchmarks.rows import flat_files
from benchmarks.sources import SAMPLES, ours
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource

_GROUPS = 1_000
_TOKENS = 2_000
_VOCABULARY = 150_000
_ROUNDS = 5


def measure(folder: str) -> dict[str, Any]:
    """Figures of giving back and serving again."""
    source = ours(flat_files(Path(folder)))
    held = [_begun(source)]
    runs: dict[str, list[float]] = {"add": [], "serve": []}
    for _ in range(_ROUNDS):
        runs["add"].append(seconds_of(lambda: source.add_samples(held[0])))
        held.clear()
        runs["serve"].append(seconds_of(lambda: held.append(source.get_samples(_GROUPS))))
    both = [add + serve for add, serve in zip(runs["add"], runs["serve"], strict=True)]
    middle = sorted(range(_ROUNDS), key=both.__getitem__)[_ROUNDS // 2]
    figures = [
        Figure(
            f"add and serve again {_GROUPS:,} groups of {SAMPLES} x {_TOKENS:,} tokens",
            both[middle],
            "s",
            at_most=1,
            detail=f"adding, and encoding for a checkpoint, {quantity(runs['add'][middle], 's')}",
            runs=runs,
        )
    ]
    return Findings(figures).as_data()


def _begun(source: DataSource) -> list[list[Any]]:
    """Groups in the middle of their generation."""
    randomness = np.random.default_rng(0)
    groups = source.get_samples(_GROUPS)
    for sample in (sample for group in groups for sample in group):
        sample.tokens = randomness.integers(0, _VOCABULARY, _TOKENS).tolist()
        sample.response_length = _TOKENS
        sample.status = type(sample).Status.ABORTED
    return groups
