"""The functions that engines call by dotted path: the log of a rollout, and all its samples."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import orjson

from curriculum_learning.config.data_source import read_config
from curriculum_learning.data_source import (
    MultipleWeightedRolloutDataSourceWithBuffer,
    find_data_source,
    registry,
)
from curriculum_learning.engines import slime
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.groups.metrics import per_source_metrics
from curriculum_learning.samples.ids import in_lists
from curriculum_learning.samples.sample import flatten
from curriculum_learning.weights.shares import normalise, weights_at

__all__ = ["custom_rollout_log_function", "per_source_metrics", "process_all_samples"]

logger = logging.getLogger(__name__)

_JSON = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
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
        args: The object that the data source was made from, or a copy; that is how it is found. If
            there are several, each is told of the samples that it served.
        samples: The samples that are trained on, flat or in groups.
        rollout_extra_metrics: Metrics of the engine, logged as they are.
        rollout_time: Seconds that the rollout took.

    Returns:
        True: the engine need not log by itself.

    Raises:
        CurriculumLearningError: The data source raised an error on a worker thread of the
            engine, where engines swallow it.
    """
    samples = list(flatten(in_lists(samples)))
    parts = registry.split(args, samples)
    for source in parts:
        source.raise_swallowed_error()
    main = next(iter(parts), None)
    if main is None:
        _tell_not_found()
    metrics: dict[str, Any] = dict(rollout_extra_metrics or {})
    status = _configured(args, rollout_id) if main is None else main.source_status()
    metrics |= per_source_metrics(samples, status=status, reward_key=_reward_key(args))
    for source, part in parts.items():
        source.observe(part, rollout_id=rollout_id, fate="trained")
    for name, counts in (main.source_counts() if main else {}).items():
        metrics |= {f"rollout/{name}/{key}": value for key, value in counts.items()}
    callback = main.config.metrics_callback if main else None
    if slime.is_running(args):
        slime.log_rollout(rollout_id, args, samples, metrics, rollout_time)
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
        all_samples = in_lists(all_samples)
        source = find_data_source(args, list(flatten(all_samples)))
    if source is None:
        _tell_not_found()
    else:
        source.rollout_finished(all_samples)


def _configured(args: Any, step: int) -> dict[str, dict[str, float]]:
    """Returns the weights that ``args`` configure for each source; {} if they configure none."""
    try:
        schedules = {source.name: source.weight for source in read_config(args).sources}
        weights = weights_at(schedules, step) if schedules else {}
    except ConfigurationError:
        return {}
    shares = normalise(weights) if weights else {}
    return {name: {"weight": shares[name], "configured_weight": weights[name]} for name in weights}


def _reward_key(args: Any) -> str | None:
    key = args.get("reward_key") if isinstance(args, Mapping) else getattr(args, "reward_key", None)
    return key if isinstance(key, str) else None


def _tell_not_found() -> None:
    global _told_not_found
    if not _told_not_found:
        _told_not_found = True
        logger.warning(
            "no %s was made from these args in this process: the weights logged are those "
            "configured, buffers and epochs are not logged, and the schedules are not told which "
            "rollout it is",
            MultipleWeightedRolloutDataSourceWithBuffer.__name__,
        )
