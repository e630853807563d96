"""Curricula and source rules in the data source and in a sampler: runs to compare."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.samplers import MultiSourceSampler
from tests.curricula.shipped import CURRICULA, REQUIRED, RULES
from tests.engine import SynchronousEngine
from tests.engines.sampler_data import Rows, config
from tests.harness import arguments, write_rows

SIZES = {"math": 14, "code": 9}
HOOKS = {
    "custom_rollout_log_function_path": "curriculum_learning.custom_log"
    ".custom_rollout_log_function",
    "rollout_all_samples_process_path": "curriculum_learning.custom_log.process_all_samples",
    "dynamic_sampling_filter_path": "tests.engine.keeps",
    "drop": 0.2,
}

# Small numbers, so that six updates change something.
_QUICK: dict[str, dict[str, Any]] = {
    "time": {"complexity_warmup_steps": 5},
    "reward": {
        "reward_threshold": 0.4, "reward_alpha": 1.0, "min_batches_per_level": 0,
        "check_frequency": 1,
    },
    "pass_rate_gaussian": {"steps": 5},
    "pools": {"hard_up_to": 0.4, "normal_up_to": 0.5},
    "easy_to_hard": {"steps": 5},
    "unimax": {"budget": 100},
    "adaptive": {"update_frequency": 1, "temperature": 0.2},
    "sec": {"temperature": 0.05},
}  # fmt: skip


def configured(name: str) -> dict[str, Any]:
    """The configuration of a shipped curriculum or rule."""
    return {"type": name, **REQUIRED.get(name, {}), **_QUICK.get(name, {})}


CURRICULUM_CASES = {
    **{name: configured(name) for name in CURRICULA},
    "focused": {**configured("reward"), "focus_new_intervals": True},
}
RULE_CASES = {name: configured(name) for name in RULES}


def data_source(folder: Path, **changes: Any) -> DataSource:
    """A data source of two sources whose rows have scores, and pass rates from before the run."""
    values: dict[str, Any] = {"num_rollout": 10, "rollout_batch_size": 4, "n_samples_per_prompt": 4}
    values = {**values, **HOOKS, "save": None, **changes}
    args = arguments(folder, SIZES, **values)
    for name, size in SIZES.items():
        rows = (
            {
                "input": f"{name} {row}",
                "metadata": {"complexity_score": row * 7 % size, "prior": row % 5 / 4},
            }
            for row in range(size)
        )
        write_rows(folder / f"{name}.jsonl", rows)
    return DataSource(args)


def again(source: DataSource, **changes: Any) -> DataSource:
    """A fresh data source of the same configuration, or a changed one."""
    return DataSource(argparse.Namespace(**{**vars(source.args), **changes}))


def rollout(source: DataSource, number: int) -> Any:
    """A rollout with drops and partial groups; what was trained, and all figures."""
    engine = SynchronousEngine(
        source, source.args, batch=4, request=6, seed=number, drop=source.args.drop
    )
    trained = [(group[0].prompt, group[0].index) for group in engine.rollout(number)]
    return trained, source.source_status(), source.source_counts()


def rows_of_data() -> Rows:
    """A data set with scores, pass rates from before the run, and an index in each row."""
    dataset = Rows(SIZES)
    for place, row in enumerate(dataset.rows):
        row["extra_info"] |= {"prior": place % 5 / 4, "index": f"id {place}"}
    return dataset


def sampler(dataset: Rows, **keys: Any) -> MultiSourceSampler:
    """A sampler of batches of 8 rows."""
    return MultiSourceSampler(dataset, config(8, **keys))


def update(dataset: Rows, sampler: MultiSourceSampler, number: int) -> Any:
    """Draws a batch and reports three rewards for each row, in another order; all figures."""
    batch = list(itertools.islice(sampler, 8))
    samples = [
        (row, (row * 31 + number * 7 + copy * 3) % 10 / 9) for copy in range(3) for row in batch
    ]
    rows = [row for row, _ in samples]
    sampler.observe(dataset.names(rows), [reward for _, reward in samples], rows=rows)
    return batch, sampler.get_stats()


def statistics(state: Mapping[str, Any], name: str) -> Any:
    """The statistics of the rows of a source in a state."""
    return state["mixture"]["sources"][name]["statistics"]
