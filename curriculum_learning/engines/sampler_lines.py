"""What the samplers say in the log, line by line."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.config.samplers import (
    RewardSamplerConfig,
    SamplerConfig,
    TimeSamplerConfig,
)
from curriculum_learning.curricula.reward import RewardCurriculum
from curriculum_learning.curricula.time import TimeCurriculum

Lines = list[str]

_RULE = "=" * 80


def start(
    name: str, config: SamplerConfig, sizes: Mapping[str, int], shares: Mapping[str, float]
) -> Lines:
    """The sources and how they are mixed."""
    mode = "adaptive" if config.adaptive_weights else "fixed"
    lines = [
        f"[{name}] Strategy: {config.sampling_strategy}, Mode: {mode}, Sources: {len(sizes)}, "
        f"Batch size: {config.batch_size}"
    ]
    if config.adaptive_weights:
        ratio = config.max_source_ratio
        others = sum(share > 0 for share in shares.values()) - 1
        lines += [
            f"[{name}] Adaptive: alpha={config.alpha:g}, update_freq={config.update_frequency}, "
            f"temp={config.temperature:g}",
            f"[{name}] Weight bounds: [{100 / (1 + others * ratio):.1f}%, "
            f"{100 * ratio / (ratio + others):.1f}%]",
        ]
    lines += [
        f"  {source}: {size} samples (weight: {shares[source]:.3f})"
        for source, size in sizes.items()
    ]
    return lines


def no_journal(name: str) -> Lines:
    """What is missed without a journal."""
    return [
        f"[{name}] No journal: a trainer that saves before it reports rewards (verl up to 0.7) "
        f"loses the last report on resume; data.sampler.journal keeps it"
    ]


def adaptation(
    name: str, update: int, emas: Mapping[str, float | None], shares: Mapping[str, float]
) -> Lines:
    """New adaptive weights, and the rewards that they come from."""
    positive = [share for share in shares.values() if share > 0]
    return [
        f"[{name}] Batch {update} - Weight adjustment:",
        *(
            f"  {source}: reward_ema={np.nan if emas[source] is None else emas[source]:6.2f}, "
            f"weight={share:.3f} ({100 * share:.1f}%)"
            for source, share in shares.items()
        ),
        f"  Actual max/min ratio: {max(positive) / min(positive):.2f}x",
    ]


def time_start(name: str, config: TimeSamplerConfig) -> Lines:
    """What a time curriculum will do."""
    return [
        f"[{name}] Complexity curriculum for '{config.complexity_source}'",
        f"[{name}] Progress: {config.initial_complexity_percentile:g}% → "
        f"{config.final_complexity_percentile:g}% over {config.complexity_warmup_steps} updates",
    ]


def time_progress(name: str, curriculum: TimeCurriculum, update: int) -> Lines:
    """A line for each percent that an update has opened."""
    percent = int(curriculum.percentile(update))
    if percent == int(curriculum.percentile(update - 1)):
        return []
    opened, size = curriculum.open_rows(update), len(curriculum.rank)
    return [f"[{name}] Complexity: {percent}% ({opened}/{size} items)"]


def reward_start(
    name: str,
    config: RewardSamplerConfig,
    curriculum: RewardCurriculum,
    scores: NDArray[np.float64],
) -> Lines:
    """The intervals of a reward curriculum; ``scores`` are sorted."""
    lines = [
        f"[{name}] Complexity source: '{config.complexity_source}'",
        f"[{name}] Initial: {config.initial_complexity_percentile:g}%, "
        f"Final: {config.final_complexity_percentile:g}%",
        f"[{name}] Intervals: {config.num_intervals + 1} "
        f"(1 initial + {config.num_intervals} progressive)",
    ]
    first = 0
    for number, last in enumerate(curriculum.counts):
        label = f" (Initial {config.initial_complexity_percentile:g}%)" if number == 0 else ""
        span = f", [{scores[first]:.3f}, {scores[last - 1]:.3f}]" if last > first else ""
        lines.append(f"  Interval {number}{label}: {last - first} samples{span}")
        first = last
    return lines


def level_up(name: str, curriculum: RewardCurriculum, update: int) -> Lines:
    """A level has been opened by an update."""
    level, counts = curriculum.level, curriculum.counts
    return [
        _RULE,
        f"[{name}] LEVEL UP! {level - 1} → {level}",
        f"[{name}] Batch {update}: Reward {curriculum.ema.value:.3f} >= {curriculum.threshold:g}",
        f"[{name}] Samples: {counts[level - 1]} → {counts[level]}",
        _RULE,
    ]
