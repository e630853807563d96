"""The log lines of the samplers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized

import numpy as np

from curriculum_learning.config.plan import SamplerPlan
from curriculum_learning.curricula.rows.reward import RewardCurriculum
from curriculum_learning.curricula.rows.time import TimeCurriculum

Lines = list[str]

OfOneSource = TimeCurriculum | RewardCurriculum
"""The curricula whose keys are keys of a sampler."""

_RULE = "=" * 80


def start(
    name: str, config: SamplerPlan, rows: Mapping[str, Sized], shares: Mapping[str, float]
) -> Lines:
    """The sources and how they are mixed."""
    mode = "adaptive" if config.adaptive_weights else "fixed"
    lines = [
        f"[{name}] Strategy: {config.sampling_strategy}, Mode: {mode}, Sources: {len(rows)}, "
        f"Batch size: {config.batch_size}"
    ]
    if config.adaptive_weights:
        keys = config.adaptive.arguments
        ratio = keys["max_source_ratio"]
        others = sum(share > 0 for share in shares.values()) - 1
        lines += [
            f"[{name}] Adaptive: alpha={keys['alpha']:g}, "
            f"update_freq={keys['update_frequency']}, temp={keys['temperature']:g}",
            f"[{name}] Weight bounds: [{100 / (1 + others * ratio):.1f}%, "
            f"{100 * ratio / (ratio + others):.1f}%]",
        ]
    lines += [
        f"  {source}: {len(own)} samples (weight: {shares[source]:.3f})"
        for source, own in rows.items()
    ]
    return lines


def no_journal(name: str) -> Lines:
    """Says what a run without a journal loses."""
    return [
        f"[{name}] No journal: a trainer that saves before it reports rewards (verl up to 0.7) "
        f"loses the last report on resume; data.sampler.journal keeps it"
    ]


def no_filter(name: str) -> str:
    """A warning: nothing asks for the caps."""
    return (
        f"[{name}] source_reward_caps has no effect: verl up to 0.7 has no filter of groups; use "
        f"verl 0.9 with algorithm.filter_groups.enable=true"
    )


def drawn_ahead(name: str, batches: int) -> str:
    """A warning: batches were drawn before the rewards of the first of them were known."""
    return (
        f"[{name}] {batches} batches were drawn before the rewards of the first of them were "
        f"reported, so these had no influence on the others. If a loader draws ahead, use "
        f"num_workers=0, or torchdata's StatefulDataLoader with sampler.journal: a resume is not "
        f"exact otherwise"
    )


def unknown_rows(name: str, sources: Sequence[str]) -> str:
    """A warning: results do not tell the rows that curricula learn from."""
    listed = ", ".join(map(repr, sources))
    return (
        f"[{name}] the curricula of {listed} learn from single rows, and some results do not tell "
        f"theirs: give observe the rows, or give each row of a source an extra_info.index of its "
        f"own. Results without a row move only what goes by source"
    )


def unknown_groups(name: str, rule: str) -> str:
    """A warning: the rewards of a prompt cannot be told from those of others."""
    return (
        f"[{name}] {rule} compares the rewards within a group, and observe got neither groups nor "
        f"rows: all samples of a source count as one group"
    )


def lost_rewards(name: str, update: int, has_journal: bool) -> str:
    """A warning: the state is older than a report that nothing has kept."""
    reason = "data.sampler.journal names no file that keeps them"
    if has_journal:
        reason = "the journal does not have it, the run ended between the two"
    return f"[{name}] the state was saved before update {update}, whose rewards are lost: {reason}"


def adaptation(
    name: str, update: int, emas: Mapping[str, float | None], shares: Mapping[str, float]
) -> Lines:
    """New adaptive weights, and the rewards that they come from."""
    positive = [share for share in shares.values() if share > 0]
    return [
        "",
        f"[{name}] Batch {update} - Weight adjustment:",
        *(
            f"  {source}: reward_ema={np.nan if emas[source] is None else emas[source]:6.2f}, "
            f"weight={share:.3f} ({100 * share:.1f}%)"
            for source, share in shares.items()
        ),
        f"  Actual max/min ratio: {max(positive) / min(positive):.2f}x",
    ]


def curriculum_start(name: str, source: str, curriculum: OfOneSource) -> Lines:
    """The curriculum of the complexity source."""
    if isinstance(curriculum, TimeCurriculum):
        return _time_start(name, source, curriculum)
    return _reward_start(name, source, curriculum)


def _time_start(name: str, source: str, curriculum: TimeCurriculum) -> Lines:
    """The percentiles of a time curriculum."""
    steps = curriculum.warmup_steps
    return [
        f"[{name}] Complexity curriculum for '{source}'",
        f"[{name}] Progress: {curriculum.percentile(0):g}% → "
        f"{curriculum.percentile(steps):g}% over {steps} updates",
    ]


def time_progress(name: str, curriculum: TimeCurriculum, update: int) -> Lines:
    """A line for each percent that an update has opened."""
    percent = int(curriculum.percentile(update))
    if percent == int(curriculum.percentile(update - 1)):
        return []
    opened, size = curriculum.open_rows(update), len(curriculum.rank)
    return [f"[{name}] Complexity: {percent}% ({opened}/{size} items)"]


def _reward_start(name: str, source: str, curriculum: RewardCurriculum) -> Lines:
    """The intervals of a reward curriculum."""
    initial, *others = curriculum.percentiles
    assert curriculum.rows.scores is not None
    scores = np.sort(curriculum.rows.scores)
    lines = [
        f"[{name}] Complexity source: '{source}'",
        f"[{name}] Initial: {initial:g}%, Final: {others[-1]:g}%",
        f"[{name}] Intervals: {1 + len(others)} (1 initial + {len(others)} progressive)",
    ]
    first = 0
    for number, last in enumerate(curriculum.counts):
        label = f" (Initial {initial:g}%)" if number == 0 else ""
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
