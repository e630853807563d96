"""The figures of a sampler for a tracker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.curricula.rows.time import TimeCurriculum
from curriculum_learning.engines.sampler_lines import OfOneSource
from curriculum_learning.groups.reward_caps import RewardCaps
from curriculum_learning.mixing.mixture import Mixture


def stats_of(mixture: Mixture, caps: RewardCaps, step: int) -> dict[str, float]:
    """Returns shares and epochs, and the figures of the rule, the curricula and the caps."""
    stats = {f"weight/{name}": share for name, share in mixture.shares(step).items()}
    of_rule = {} if mixture.rule is None else mixture.rule.metrics()
    for source in mixture.sources:
        metrics = {
            **of_rule.get(source.name, {}),
            **source.metrics(step),
            **caps.metrics(source.name, step),
        }
        stats[f"epoch/{source.name}"] = source.epoch
        stats |= {f"{key}/{source.name}": value for key, value in metrics.items()}
    return stats


def level_stats(curriculum: OfOneSource, step: int) -> dict[str, float]:
    """Returns how far the curriculum of the complexity source is, and what that depends on."""
    if isinstance(curriculum, TimeCurriculum):
        return {"complexity_percentile": curriculum.percentile(step)}
    stats: dict[str, float] = {
        "level": curriculum.level,
        "complexity_percentile": curriculum.percentiles[curriculum.level],
    }
    if curriculum.ema.value is not None:
        stats["curriculum_reward_ema"] = curriculum.ema.value
    return stats


def metrics_of(sources: Sequence[str], rewards: Iterable[Sequence[float]]) -> dict[str, float]:
    """Returns the mean reward of each source, and the share of its groups that teach something.

    A group whose rewards are all the same has no advantages: nothing is learnt from it.

    Args:
        sources: The source of each group.
        rewards: The rewards of each group, one per sample; NaN where a sample has none.
    """
    by_source: dict[str, list[NDArray[np.float64]]] = {}
    for source, group in zip(sources, rewards, strict=True):
        values = np.asarray(group, dtype=np.float64)
        by_source.setdefault(source, []).append(values[np.isfinite(values)])
    metrics: dict[str, float] = {}
    for source, groups in by_source.items():
        if any(map(len, groups)):
            metrics[f"reward/{source}"] = float(np.concatenate(groups).mean())
            taught = [len(group) > 0 and group.min() < group.max() for group in groups]
            metrics[f"signal/{source}"] = float(np.mean(taught))
    return metrics
