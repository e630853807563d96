"""The mix of a soak: sources of every kind, with everything on, that changes between lives."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_HOOKS = "curriculum_learning.custom_log."
_REWARD = {
    "type": "reward", "reward_threshold": 0.45, "initial_complexity_percentile": 20,
    "num_intervals": 4, "min_batches_per_level": 20,
}  # fmt: skip
_TIME = {
    "type": "time", "initial_complexity_percentile": 30, "final_complexity_percentile": 100,
    "complexity_warmup_steps": 400,
}  # fmt: skip
KINDS: dict[str, dict[str, Any] | None] = {
    "plain": None, "parquet": None, "capped": None, "time": _TIME, "reward": _REWARD,
    "focused": {**_REWARD, "focus_new_intervals": True},
}  # fmt: skip


@dataclasses.dataclass
class SourceOfMix:
    """One source."""

    number: int
    """Never given to another source: rows are counted by it."""
    name: str
    kind: str
    size: int
    weight: Any = 1.0

    @property
    def file(self) -> str:
        """The name of its prompt file."""
        return f"{self.number}.{'parquet' if self.kind == 'parquet' else 'jsonl'}"

    def write(self, folder: Path) -> None:
        """Writes its rows; a file that grew keeps the old ones."""
        rows = [
            {"input": f"{self.number} {row}", "metadata": {"complexity_score": row % 97}}
            for row in range(self.size)
        ]
        if self.kind == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), folder / self.file)
        else:
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / self.file).write_text(lines, encoding="utf-8")


@dataclasses.dataclass
class Mix:
    """The sources of now, and what the next resume must be told about them."""

    sources: list[SourceOfMix] = dataclasses.field(default_factory=list)
    seed: int = 1
    group_size: int = 2
    next_number: int = 0
    resume: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Keys of the one resume after a change."""

    def add(self, kind: str, randomness: random.Random, folder: Path) -> SourceOfMix:
        """Adds a source of some size and weight."""
        number = self.next_number
        self.next_number += 1
        weight = randomness.choice([0.5, 1.0, 2.0, "lambda step: 1 + 0.9 * (step % 40) / 40"])
        source = SourceOfMix(
            number, f"{kind}_{number}", kind, randomness.randrange(50, 900), weight
        )
        source.write(folder)
        self.sources.append(source)
        return source

    def change(self, randomness: random.Random, folder: Path) -> str:
        """Changes something that a resume accepts; returns what."""
        source = randomness.choice(self.sources)
        changes = ["add", "remove", "rename", "grow", "weights", "size"] * 3 + ["seed"]
        what = randomness.choice(changes)
        if what == "add" and len(self.sources) < 9:
            self.add(randomness.choice(list(KINDS)), randomness, folder)
            self.resume = {"on_source_change": "adopt"}
        elif what == "remove" and len(self.sources) > 4 and source.kind != "parquet":
            self.sources.remove(source)
            self.resume = {"on_source_change": "adopt"}
        elif what == "rename":
            former, source.name = source.name, source.name + "x"
            self.resume = {"renamed_from": {source.name: former}}
        elif what == "grow" and source.kind != "parquet":
            source.size += randomness.randrange(1, 200)
            source.write(folder)
            self.resume = {"on_source_change": "restart" if source.kind == "focused" else "error"}
        elif what == "size":
            self.group_size = randomness.choice([1, 2, 3])
            self.resume = {"on_source_change": "adopt"}
        elif what == "seed":
            self.seed += 1
            self.resume = {"on_source_change": "restart"}
        else:
            what, source.weight = "weights", randomness.choice([0.1, 1.0, 3.0])
        return what

    def arguments(self, folder: Path) -> dict[str, Any]:
        """The keys of a data source, as JSON can hold them."""
        caps = ["lambda step: 0.9" if one.kind == "capped" else None for one in self.sources]
        return {
            "prompt_data": [str(folder / source.file) for source in self.sources],
            "prompt_data_source_names": [source.name for source in self.sources],
            "data_source_weights": [source.weight for source in self.sources],
            "data_source_curricula": [KINDS[source.kind] for source in self.sources],
            "data_source_adaptive": {
                "update_frequency": 3,
                "temperature": 0.3,
                "max_source_ratio": 60,
            },
            "data_source_reward_caps": caps,
            "data_source_metrics_callback": "tests.soak.life.take_metrics",
            "buffer_filter_path": "tests.soak.life.newest_first",
            "dynamic_sampling_filter_path": (
                "curriculum_learning.reward_cap_filter.check_reward_cap_per_source"
            ),
            "custom_rollout_log_function_path": _HOOKS + "custom_rollout_log_function",
            "rollout_all_samples_process_path": _HOOKS + "process_all_samples",
            "partial_rollout": True,
            "mixture_target": "trained",
            "max_oversampling": 3,
            "max_staleness": 3,
            "rollout_shuffle": True,
            "rollout_seed": self.seed,
            "rollout_batch_size": 64,
            "n_samples_per_prompt": self.group_size,
            "num_rollout": 10,
            "save": str(folder / "save"),
            **self.resume,
        }
