"""One run: what it is configured with, and the line that it leaves."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.evidence.machine import facts
from benchmarks.evidence.methods import FOLDER, Method, Settings
from benchmarks.evidence.tasks import TASKS
from examples.spelling.records import Metrics, MetricsReader, read_held_out
from examples.spelling.train import new_state, start, train

Line = dict[str, Any]
"""What is kept of a run; plain data."""


@dataclass(frozen=True)
class Run:
    """A run that can be performed anywhere.

    Args:
        task: A key of ``TASKS``.
        method: Its name.
        seed: Of the policy, the order of rows and the tokens.
        settings: Of the method.
        config: All keys but those of places.
    """

    task: str
    method: str
    seed: int
    settings: Settings
    config: dict[str, Any]

    @property
    def id(self) -> str:
        """The same for the same run, wherever it is performed."""
        text = json.dumps([self.task, self.method, self.config], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_run(
    task: str, method: Method, seed: int, settings: Settings, rollouts: int | None = None
) -> Run:
    """Returns a run.

    Args:
        task: A key of ``TASKS``.
        method: What chooses sources and rows.
        seed: Of everything random.
        settings: Values by dotted key, over those of the method.
        rollouts: Instead of those in ``run.yaml``.
    """
    sources = TASKS[task].sources
    config: dict[str, Any] = {
        **yaml.safe_load((FOLDER / "run.yaml").read_text(encoding="utf-8")),
        **TASKS[task].config,
        "rollout_seed": seed,
        "prompt_data_source_names": list(sources),
        "data_source_weights": dict.fromkeys(sources, 1.0),
    }
    for key, value in copy.deepcopy(dict(method.config)).items():
        if key == "data_source_weights":  # methods name sources of several tasks
            value = {name: value.get(name, 0.0) for name in sources}
        config[key] = value
    for key, value in settings.items():
        *path, last = key.split(".")
        place = config
        for part in path:
            place = place[part]
        place[last] = value
    if rollouts is not None:
        config["num_rollout"] = rollouts
    return Run(task, method.name, seed, dict(settings), config)


def perform(run: Run, folder: Path) -> Line:
    """Trains, and returns what is kept of it.

    Args:
        run: What to do.
        folder: Shared by all runs of a grid: prompt files, and policies after the warm start.
    """
    began = time.process_time()
    task = TASKS[run.task]
    config = {**run.config, "prompt_data": prompt_files(run.task, folder)}
    with tempfile.TemporaryDirectory(dir=folder) as name:
        out = Path(name) / "run"
        shutil.copytree(_warm_start(run, config, folder), out)
        train(config, out, task, resume=True, curves=False)
        held_out = read_held_out(out)
        metrics = MetricsReader(out).new()
    samples = config["rollout_batch_size"] * config["n_samples_per_prompt"]
    groups = config["rollout_batch_size"] * len(metrics)
    mixed = sum(line["train/mixed_reward_groups"] for line in metrics)
    measured = sorted(held_out)
    return {
        "id": run.id,
        "task": run.task,
        "method": run.method,
        "seed": run.seed,
        "settings": run.settings,
        "hardest": task.hardest,
        "held_out": {set_: [held_out[at][set_] for at in measured] for set_ in held_out[0]},
        "samples": [at * samples for at in measured],
        "tokens": [_tokens(metrics[:at], task.sources) for at in measured],
        "samples_of": {
            source: sum(line[f"rollout/{source}/sample_count"] for line in metrics)
            for source in task.sources
        },
        "no_signal": round(1 - mixed / groups, 6),
        "seconds": round(time.process_time() - began, 1),
        **facts(),
    }


def prompt_files(task: str, folder: Path) -> list[str]:
    """Returns the paths of the prompt files of a task."""
    return [str(folder / task / f"{source}.jsonl") for source in TASKS[task].sources]


def _warm_start(run: Run, config: dict[str, Any], folder: Path) -> Path:
    """Returns the folder of a run that has not begun; all methods begin with the same policy."""
    done = folder / "warm_starts" / f"{run.task}-{run.seed}"
    if not done.exists():
        args = Namespace(**config)
        task = TASKS[run.task]
        task.write_prompts(args.prompt_data)
        with tempfile.TemporaryDirectory(dir=folder) as name:
            out = Path(name) / "out"
            out.mkdir()
            start(args, task, out, new_state(args, task))
            done.parent.mkdir(exist_ok=True)
            try:
                out.rename(done)
            except OSError:  # another worker was faster, with the same result
                if not done.exists():
                    raise
    return done


def _tokens(metrics: list[Metrics], sources: Iterable[str]) -> int:
    """Returns the answer tokens that were trained on."""
    tokens = 0.0
    for line in metrics:
        for source in sources:
            mean = line.get(f"rollout/{source}/response_len/mean", 0.0)
            tokens += mean * line[f"rollout/{source}/sample_count"]
    return round(tokens)
