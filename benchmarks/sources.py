"""The data sources under measurement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.plain import PlainSource
from benchmarks.rows import SOURCES
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.config.plan import LOG_FUNCTION

SAMPLES = 8
"""Per group."""


def ours(paths: Sequence[str], **changes: Any) -> DataSource:
    """The library's data source, shuffled, with the account of groups on."""
    return DataSource(
        {
            "prompt_data": list(paths),
            "data_source_weights": list(SOURCES.values()),
            "label_key": "label",
            "n_samples_per_prompt": SAMPLES,
            "rollout_batch_size": 256,
            "rollout_shuffle": True,
            "custom_rollout_log_function_path": LOG_FUNCTION,
            **changes,
        }
    )


def plain(paths: Sequence[str]) -> PlainSource:
    """P over the same files."""
    return PlainSource(paths, list(SOURCES.values()), SAMPLES)
