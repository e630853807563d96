"""Whole lives of verl's trainer in each of its modes, with stand-ins for the other processes."""

from __future__ import annotations

import json
import os
import time
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hydra
import pytest
import transfer_queue
from verl.trainer.ppo.v1 import get_trainer_cls, replay_buffer

from curriculum_learning import verl_trainer
from tests.with_verl_0_9 import inputs, stand_ins
from tests.with_verl_0_9.stand_ins import Engine, Fortune, Queue

WEIGHTS = {"a": 0.5, "b": 0.3, "c": 0.2}
SMOOTH = dict.fromkeys(WEIGHTS, Fortune())
ROUGH = {
    "a": Fortune(is_alike=0.1),
    "b": Fortune(fails=0.1, is_alike=0.3),
    "c": Fortune(fails=0.05, is_alike=0.6, patience=12),
}
BATCH = 16
SAMPLES = 2

FILTERED = ["algorithm.filter_groups.enable=true", "algorithm.filter_groups.metric=reward"]
REFILLED = ["trainer.v1.sampler.sync_refill_failed_groups=true"]
STALE = ["trainer.v1.sampler.max_off_policy_threshold=2"]
MODES = {
    "curriculum": [],
    "curriculum_colocate_async": [],
    "curriculum_separate_async": [
        "trainer.v1.separate_async.parameter_sync_step=4",
        "actor_rollout_ref.rollout.nnodes=1",
        "actor_rollout_ref.rollout.checkpoint_engine.backend=nccl",
        "actor_rollout_ref.actor.ppo_mini_batch_size=4",
    ],
}


class Life(NamedTuple):
    """What one process did."""

    engine: Engine
    metrics: dict[int, dict[str, float]]
    """By step, those of the curriculum."""
    observed: list[dict[str, list[Any]]]
    """What the sampler was told of rewards, by step."""
    trainer: verl_trainer.CurriculumMixin

    def trained(self, until: int | None = None) -> list[str]:
        """The groups trained in all updates, or in the first ones."""
        return [uid for batch in self.engine.trained[:until] for uid in batch]

    def shares(self, uids: Sequence[str]) -> dict[str, float]:
        """The part of each source in some groups."""
        return stand_ins.shares(self.engine.rows[uid][0] for uid in uids)

    def count(self, what: str) -> int:
        """A figure of the last step, over all sources."""
        last = self.metrics[max(self.metrics)]
        return int(sum(last[f"curriculum/{what}/{source}"] for source in WEIGHTS))


def write_inputs(folder: Path) -> tuple[Path, Path]:
    """A model with its tokenizer, and a file of rows."""
    inputs.write_rows(folder / "rows.parquet", *WEIGHTS)
    return inputs.write_model(folder / "model"), folder / "rows.parquet"


def live(
    files: tuple[Path, Path],
    folder: Path,
    patch: pytest.MonkeyPatch,
    mode: str,
    *overrides: str,
    fortunes: dict[str, Fortune] = SMOOTH,
    steps: int,
    kill_at: int | None = None,
) -> Life:
    """Runs a trainer to its end, or until it is killed; the next one in ``folder`` resumes it."""
    engine = Engine(Queue(), fortunes, samples=SAMPLES)
    engine.kill_at = kill_at
    for name in ("kv_list", "kv_batch_put", "kv_batch_get", "kv_clear"):
        patch.setattr(transfer_queue, name, getattr(engine.queue, name))
    for name in ("save_checkpoint", "load_checkpoint"):
        patch.setattr(transfer_queue, name, getattr(engine.queue, name))
    clock = types.SimpleNamespace(sleep=engine.sleep, time=time.time)
    patch.setattr(replay_buffer, "time", clock)
    log = folder / f"metrics{len(os.listdir(folder))}.jsonl"
    patch.setenv("VERL_FILE_LOGGER_PATH", str(log))
    trainer = get_trainer_cls(mode)(_config(files, folder, mode, steps, overrides))
    stand_ins.prepare(trainer, engine)
    observed: list[dict[str, list[Any]]] = []
    observe = trainer.sampler.observe

    def listen(**told: Any) -> None:
        observed.append(told)
        observe(**told)

    trainer.sampler.observe = listen
    try:
        trainer.fit(engine)
    except stand_ins.Killed:
        assert kill_at is not None
    lines = log.read_text().splitlines() if log.exists() else []
    entries = map(json.loads, lines)
    metrics = {entry["step"]: entry["data"] for entry in entries}
    return Life(engine, metrics, observed, trainer)


def _config(
    files: tuple[Path, Path], folder: Path, mode: str, steps: int, overrides: Sequence[str]
) -> Any:
    settings = [
        *inputs.settings(*files),
        *(f"+data.sampler.source_weights.{name}={weight}" for name, weight in WEIGHTS.items()),
        "+data.sampler.class_name=MultiSourceSampler",
        f"actor_rollout_ref.rollout.n={SAMPLES}",
        f"data.train_batch_size={BATCH}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={BATCH}",
        f"trainer.v1.trainer_mode={mode}",
        f"trainer.total_training_steps={steps}",
        "trainer.total_epochs=1000",
        f"trainer.default_local_dir={folder}/checkpoints",
        *MODES[mode],
        *overrides,
    ]
    with hydra.initialize_config_module("verl.trainer.config", version_base=None):
        return hydra.compose("ppo_trainer", settings)
