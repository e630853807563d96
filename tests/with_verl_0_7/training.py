"""verl's own trainer, with stand-ins for the workers that hold the model.

The workers run in this process: no Ray, no model. The policy is a number, its skill, which each
update raises by one and which its checkpoint holds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from verl import DataProto
from verl.single_controller.ray import ResourcePoolManager
from verl.trainer.ppo.ray_trainer import RayPPOTrainer
from verl.trainer.ppo.utils import Role

from tests.with_verl_0_7.project import BATCH_SIZE, COMPLETION, compose

SAMPLES = 2
"""Per prompt."""

_LONGEST = 4
"""Tokens of a response, and of a prompt."""


class KilledError(Exception):
    """The run ends here."""


@dataclasses.dataclass
class Run:
    """What a run, or the part of it up to a kill, has done; by step."""

    rows: dict[int, list[int]] = dataclasses.field(default_factory=dict)
    """The ``extra_info.index`` of each prompt of the batch."""
    stats: dict[int, dict[str, float]] = dataclasses.field(default_factory=dict)
    """The sampler's figures when the batch was generated."""
    rewards: dict[int, dict[str, float]] = dataclasses.field(default_factory=dict)
    """The mean reward of each source."""


class _Actor:
    """Stands in for the workers of the actor."""

    def __init__(self) -> None:
        self.skill = 0
        self._dispatch_info: dict[str, list[int]] = {}

    def _query_dispatch_info(self, mesh_name: str) -> list[int]:
        return [0, 1]  # two ranks, so that the trainer reorders rows to balance them

    def compute_log_prob(self, batch: Any) -> Any:
        zeros = torch.zeros_like(batch.batch["responses"], dtype=torch.float32)
        return DataProto.from_dict(tensors={"old_log_probs": zeros, "entropys": zeros.clone()})

    def update_actor(self, batch: Any) -> Any:
        self.skill += 1
        return DataProto(meta_info={"metrics": {"actor/skill": [self.skill]}})

    def save_checkpoint(
        self, local_path: str, hdfs_path: str | None, step: int, max_ckpt_to_keep: int | None
    ) -> None:
        Path(local_path).mkdir(parents=True)
        (Path(local_path) / "skill").write_text(str(self.skill), encoding="utf-8")

    def load_checkpoint(self, local_path: str, del_local_after_load: bool) -> None:
        self.skill = int((Path(local_path) / "skill").read_text(encoding="utf-8"))


class _Rollout:
    """Stands in for generation and scoring: a reward rises with skill, falls with complexity."""

    def __init__(self, actor: _Actor, sampler: Any, run: Run, kill_at: int | None) -> None:
        self._actor = actor
        self._sampler = sampler
        self._run = run
        self._kill_at = kill_at

    def generate_sequences(self, batch: Any) -> Any:
        step = batch.meta_info["global_steps"]
        if step == self._kill_at:
            raise KilledError
        extras, sources = (
            batch.non_tensor_batch["extra_info"],
            batch.non_tensor_batch["data_source"],
        )
        scores = torch.zeros(len(extras), _LONGEST)
        mask = torch.zeros(len(extras), _LONGEST, dtype=torch.int64)
        for at, extra in enumerate(extras):
            length = 1 + (extra["index"] + at % SAMPLES) % _LONGEST
            mask[at, :length] = 1
            scores[at, length - 1] = (
                self._actor.skill / 20 - (extra["complexity_score"] or 0.0) + at % SAMPLES / 10
            )
        self._run.rows[step] = [extra["index"] for extra in extras[::SAMPLES]]
        self._run.stats[step] = self._sampler.get_stats()
        self._run.rewards[step] = {
            name: float(scores[torch.from_numpy(sources == name)].sum(dim=-1).double().mean())
            for name in set(sources)
        }
        tokens = torch.ones(len(extras), _LONGEST, dtype=torch.int64)
        everything = torch.cat([tokens, mask], dim=1)
        return DataProto.from_dict(
            tensors={
                "prompts": tokens,
                "responses": mask,
                "response_mask": mask.clone(),
                "input_ids": everything,
                "attention_mask": everything.clone(),
                "position_ids": everything.cumsum(dim=1) - 1,
                "rm_scores": scores,
            },
            non_tensors={"multi_modal_inputs": np.array([{} for _ in extras], dtype=object)},
            meta_info={"timing": {}},
        )


class _Weights:
    """Stands in for the transfer of weights from the actor to the rollout, which follows a save."""

    def __init__(self, kill_after_save_of: int | None) -> None:
        self._kill_after_save_of = kill_after_save_of

    def sleep_replicas(self) -> None:
        pass

    def update_weights(self, step: int) -> None:
        if step == self._kill_after_save_of:
            raise KilledError


def settings(
    folder: Path, data_file: Path, class_name: str, keys: Mapping[str, Any], **trainer: Any
) -> Any:
    """The configuration of a run that saves to ``folder`` every 5 steps.

    Args:
        folder: The run's.
        data_file: To train on.
        class_name: Of the sampler.
        keys: More of the sampler's keys.
        trainer: verl's keys of that name.
    """
    values = {
        "default_local_dir": folder / "checkpoints",
        "logger": "[console]",
        "save_freq": 5,
        "test_freq": -1,
        "val_before_train": False,
        **trainer,
    }
    return compose(
        data_file,
        [
            *COMPLETION,
            f"data.sampler.class_name={class_name}",
            *(f"+data.sampler.{key}={value}" for key, value in keys.items()),
            "algorithm.adv_estimator=grpo",
            f"actor_rollout_ref.rollout.n={SAMPLES}",
            *(f"trainer.{key}={value}" for key, value in values.items()),
        ],
    )


def train(
    config: Any,
    tokenizer: Any,
    *,
    kill_at: int | None = None,
    kill_after_save_of: int | None = None,
) -> Run:
    """Run verl's trainer, from the latest checkpoint on if there is one.

    Args:
        config: See ``settings``.
        tokenizer: Of the prompts.
        kill_at: The step whose generation is the end; the one before it is complete.
        kill_after_save_of: The step whose checkpoint is the last thing done.
    """
    trainer = RayPPOTrainer(
        config,
        tokenizer,
        role_worker_mapping={Role.ActorRollout: object},
        resource_pool_manager=ResourcePoolManager({"all": [1]}, {Role.ActorRollout: "all"}),
    )
    run = Run()
    actor = _Actor()
    trainer.actor_rollout_wg = actor
    trainer.async_rollout_manager = _Rollout(actor, trainer.train_dataloader.sampler, run, kill_at)
    trainer.checkpoint_manager = _Weights(kill_after_save_of)
    try:
        trainer.fit()
    except KilledError:
        assert kill_at is not None or kill_after_save_of is not None
    else:
        assert kill_at is None
        assert kill_after_save_of is None
    assert all(len(rows) == BATCH_SIZE for rows in run.rows.values())
    return run
