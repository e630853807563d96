"""Per-source metrics of a rollout."""

from __future__ import annotations

import random
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import Figure, Findings, quantity
from benchmarks.fresh import in_turns
from benchmarks.rows import flat_files
from benchmarks.sources import SAMPLES, ours
from curriculum_learning.custom_log import per_source_metrics

_SAMPLES = 4_096
_MASK = 1_000
"""Tokens in each loss mask."""
_ROUNDS = 15


def measure(folder: str) -> dict[str, Any]:
    """Figures of the metrics."""
    source = ours(flat_files(Path(folder)))
    status = source.source_status()
    bare, masked = _trained(source), _trained(source)
    for sample in masked:
        sample.loss_mask = [1] * _MASK
    runs = in_turns(
        _ROUNDS,
        {
            "bare": lambda: per_source_metrics(bare, status=status),
            "masked": lambda: per_source_metrics(masked, status=status),
        },
    )
    milliseconds = {name: median(seconds) * 1e3 for name, seconds in runs.items()}
    figures = [
        Figure(
            f"per-source metrics of {_SAMPLES:,} samples",
            milliseconds["bare"],
            "ms",
            at_most=5,
            detail=f"with loss masks of {_MASK:,} tokens {quantity(milliseconds['masked'], 'ms')}",
            runs=runs,
        )
    ]
    return Findings(figures).as_data()


def _trained(source: Any) -> list[Any]:
    """Samples with lengths and rewards."""
    randomness = random.Random(0)
    groups = source.get_samples(_SAMPLES // SAMPLES)
    samples = [sample for group in groups for sample in group]
    for sample in samples:
        sample.response_length = randomness.randrange(1, 2_000)
        sample.reward = randomness.random()
    return samples
