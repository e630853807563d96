"""Per-source metrics, and the log function that engines call by dotted path."""

from __future__ import annotations

import json
import logging
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import orjson

from curriculum_learning.data_source import (
    MultipleWeightedRolloutDataSourceWithBuffer,
    find_data_source,
)
from curriculum_learning.sample import SOURCE_KEY, SOURCE_NAME_KEY, flatten

logger = logging.getLogger(__name__)

_JSON = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
_UNTAGGED = ""
_told_not_found = False


def custom_rollout_log_function(
    rollout_id: int,
    args: Any,
    samples: list[Any],
    rollout_extra_metrics: Mapping[str, Any] | None,
    rollout_time: float,
) -> bool:
    """Log a rollout, and tell its data source that these samples are trained on.

    In slime (``--custom-rollout-log-function-path``) everything that slime logs by itself goes to
    its trackers, with the metrics of ``per_source_metrics``. Elsewhere the metrics go to
    ``data_source_metrics_callback(metrics, rollout_id)`` where that is configured, else to the
    logger ``curriculum_learning.custom_log``, one JSON object a line.

    Args:
        rollout_id: The rollout that is over.
        args: The object that the data source was made from; that is how it is found.
        samples: The samples that are trained on, flat or in groups.
        rollout_extra_metrics: Metrics of the engine, logged as they are.
        rollout_time: Seconds that the rollout took.

    Returns:
        True: the engine need not log by itself.

    Raises:
        CurriculumLearningError: The data source raised an error on a worker thread of the
            engine, where engines swallow it.
    """
    source = find_data_source(args)
    if source is None:
        _tell_not_found()
    else:
        source.raise_swallowed_error()
    samples = list(flatten(samples))
    metrics: dict[str, Any] = dict(rollout_extra_metrics or {})
    metrics |= per_source_metrics(
        samples, status=source.source_status() if source else {}, reward_key=_reward_key(args)
    )
    if source is not None:
        source.observe(samples, rollout_id=rollout_id, fate="trained")
    callback = source.config.metrics_callback if source else None
    if "slime" in sys.modules and hasattr(args, "use_wandb"):
        _log_in_slime(rollout_id, args, samples, metrics, rollout_time)
    elif callback is not None:
        callback(metrics, rollout_id)
    else:
        metrics |= {"rollout/step": rollout_id, "perf/rollout_time": rollout_time}
        logger.info("%s", _as_json(metrics))
    return True


def _as_json(metrics: dict[str, Any]) -> str:
    try:
        return orjson.dumps(metrics, default=str, option=_JSON).decode()
    except TypeError:  # a whole number of more than 64 bits
        return json.dumps(metrics, default=str)


def process_all_samples(args: Any, all_samples: list[Any], data_source: Any) -> None:
    """Tell the data source which groups were finished; for slime's all-samples hook.

    With this and ``custom_rollout_log_function`` every group is accounted for at the end of each
    synchronous rollout: trained, dropped by the dynamic filter, surplus, given back or discarded.

    Args:
        args: The object that the data source was made from.
        all_samples: Every group that was finished in the rollout, the dropped ones included.
        data_source: The data source, or a method of it: slime passes ``get_samples``.
    """
    source = getattr(data_source, "__self__", data_source)
    if not isinstance(source, MultipleWeightedRolloutDataSourceWithBuffer):
        source = find_data_source(args)
    if source is None:
        _tell_not_found()
    else:
        source.rollout_finished(all_samples)


def per_source_metrics(
    samples: Iterable[Any],
    *,
    status: Mapping[str, Mapping[str, float]] | None = None,
    reward_key: str | None = None,
) -> dict[str, float]:
    """Metrics of each source over the samples of one rollout.

    Args:
        samples: Samples, flat or in groups, with their source in ``metadata``.
        status: What ``source_status`` of a data source gives. Its sources are reported also
            where they have no sample, and its values as they are.
        reward_key: The entry to report where rewards are mappings.

    Returns:
        For each source, under ``rollout/{source}/``: what ``status`` has; ``sample_count``;
        ``trained_share``, its part of the groups (0 to 1); and where it has samples
        ``response_len/{mean,median,max,min}`` in trained tokens and
        ``raw_reward/{mean,median,max,min}``. Samples without a usable reward are counted in
        ``missing_reward_count``, those without a source in ``rollout/untagged_sample_count``;
        both are absent where there are none.
    """
    status = status or {}
    by_source: defaultdict[str, list[Any]] = defaultdict(list)
    for sample in flatten(samples):
        by_source[_source_of(sample)].append(sample)
    untagged = by_source.pop(_UNTAGGED, [])
    metrics: dict[str, float] = {}
    if untagged:
        metrics["rollout/untagged_sample_count"] = len(untagged)
    group_counts = {name: _count_groups(items) for name, items in by_source.items()}
    groups = sum(group_counts.values()) + _count_groups(untagged)
    for name in [*status, *(name for name in by_source if name not in status)]:
        prefix = f"rollout/{name}/"
        items = by_source.get(name, [])
        for key, value in status.get(name, {}).items():
            metrics[prefix + key] = value
        metrics[f"{prefix}trained_share"] = group_counts.get(name, 0) / groups if groups else 0.0
        metrics[f"{prefix}sample_count"] = len(items)
        if not items:
            continue
        metrics |= _statistics(f"{prefix}response_len", [_response_length(item) for item in items])
        rewards = [reward for item in items if (reward := _reward(item, reward_key)) is not None]
        metrics |= _statistics(f"{prefix}raw_reward", rewards)
        if len(rewards) < len(items):
            metrics[f"{prefix}missing_reward_count"] = len(items) - len(rewards)
    return metrics


def _source_of(sample: Any) -> str:
    metadata = getattr(sample, "metadata", None)
    if not isinstance(metadata, dict):
        return _UNTAGGED
    source = metadata.get(SOURCE_KEY) or metadata.get(SOURCE_NAME_KEY)
    return source if isinstance(source, str) else _UNTAGGED


def _count_groups(samples: list[Any]) -> int:
    """Distinct groups; a sample that does not say its group is one of its own."""
    ids = [getattr(sample, "group_index", None) for sample in samples]
    return len(set(ids) - {None}) + ids.count(None)


def _response_length(sample: Any) -> float:
    mask = getattr(sample, "loss_mask", None)
    try:
        length = getattr(sample, "response_length", 0) if mask is None else sum(mask)
        return float(length)
    except (TypeError, ValueError):
        return 0.0


def _reward(sample: Any, reward_key: str | None) -> float | None:
    """The reward before any shaping, as slime reads it; None where there is no number."""
    metadata = getattr(sample, "metadata", None)
    reward = getattr(sample, "reward", None)
    if isinstance(metadata, dict) and "raw_reward" in metadata:
        reward = metadata["raw_reward"]
    elif isinstance(reward, Mapping):
        reward = reward.get(reward_key)
    try:
        return None if reward is None else float(reward)
    except (TypeError, ValueError):
        return None


def _statistics(prefix: str, values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    array = np.asarray(values)
    return {
        f"{prefix}/mean": float(array.mean()),
        f"{prefix}/median": float(np.median(array)),
        f"{prefix}/max": float(array.max()),
        f"{prefix}/min": float(array.min()),
    }


def _reward_key(args: Any) -> str | None:
    key = args.get("reward_key") if isinstance(args, Mapping) else getattr(args, "reward_key", None)
    return key if isinstance(key, str) else None


def _tell_not_found() -> None:
    global _told_not_found
    if not _told_not_found:
        _told_not_found = True
        logger.warning(
            "no %s was made from these args in this process: weights, buffers and epochs are not "
            "logged, and the schedules are not told which rollout it is",
            MultipleWeightedRolloutDataSourceWithBuffer.__name__,
        )


def _log_in_slime(
    rollout_id: int, args: Any, samples: list[Any], metrics: dict[str, Any], seconds: float
) -> None:
    """Log what slime's default does, and ``metrics``, through slime's trackers."""
    if getattr(args, "load_debug_rollout_data", None):
        return
    try:
        # since August 2026
        from slime.observability import logging_utils, rollout_metrics
        from slime.observability.metric_utils import compute_rollout_step
    except ImportError:
        from slime.ray import rollout as rollout_metrics
        from slime.utils import logging_utils
        from slime.utils.metric_utils import compute_rollout_step

    defaults: dict[str, Any] = {}
    for prefix, compute, extra in (
        ("rollout/", rollout_metrics.compute_metrics_from_samples, ()),
        ("perf/", rollout_metrics.compute_perf_metrics_from_samples, (seconds,)),
    ):
        try:
            computed = compute(args, samples, *extra)
        except Exception:
            # A sample without a reward breaks slime's statistics; it must not break the run.
            logger.exception("slime's own metrics (%s) failed in rollout %d", prefix, rollout_id)
            continue
        defaults |= {prefix + key: value for key, value in computed.items()}
    log = {**defaults, **metrics}
    logger.info("rollout %d: %s", rollout_id, log)
    log["rollout/step"] = compute_rollout_step(args, rollout_id)
    logging_utils.log(args, log, step_key="rollout/step")
