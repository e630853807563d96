"""What a trainer of verl's works with, in this process: a queue, and an engine that only pretends.

The trainer and its replay buffer are verl's own, so is all that they decide. Time passes when the
replay buffer waits for samples.
"""

from __future__ import annotations

import pickle
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from verl.trainer.ppo.v1.trainer_separate_async import HybridEngineMode
from verl.utils import tensordict_utils


class Queue:
    """Stands for the module ``transfer_queue``."""

    def __init__(self) -> None:
        self.tags: dict[str, dict[str, dict[str, Any]]] = {}
        self._fields: dict[tuple[str, str], dict[str, Any]] = {}

    def kv_list(self, partition_id: str | None = None) -> dict[str, dict[str, dict[str, Any]]]:
        """Returns the tags of all keys by partition."""
        named = self.tags if partition_id is None else [partition_id]
        return {
            name: {key: dict(tag) for key, tag in self.tags[name].items()}
            for name in named
            if name in self.tags
        }

    def kv_batch_put(
        self, keys: list[str], partition_id: str, tags: Any = None, fields: Any = None
    ) -> None:
        """Stores tags and fields, beside what is known of the keys."""
        partition = self.tags.setdefault(partition_id, {})
        for at, key in enumerate(keys):
            partition.setdefault(key, {}).update({} if tags is None else tags[at])
            if fields is not None:
                own = {name: _plain(fields[name][at]) for name in fields.keys()}  # noqa: SIM118
                self._fields.setdefault((partition_id, key), {}).update(own)

    def kv_batch_get(
        self, keys: list[str], partition_id: str, select_fields: list[str] | None = None
    ) -> Any:
        """Returns fields of keys."""
        rows = [self._fields[partition_id, key] for key in keys]
        if select_fields is not None:
            return {name: [row[name] for row in rows] for name in select_fields}
        stacked = {}
        for name in rows[0]:
            values = [row[name] for row in rows]
            stacked[name] = torch.stack(values) if torch.is_tensor(values[0]) else _objects(values)
        return tensordict_utils.get_tensordict(stacked)

    def kv_clear(self, keys: list[str], partition_id: str) -> None:
        """Forgets keys."""
        for key in keys:
            self.tags.get(partition_id, {}).pop(key, None)
            self._fields.pop((partition_id, key), None)

    def save_checkpoint(self, folder: str, metadata: Any = None) -> None:
        """Writes all of it to a folder."""
        Path(folder).mkdir(parents=True)
        (Path(folder) / "queue").write_bytes(pickle.dumps((self.tags, self._fields)))

    def load_checkpoint(self, folder: str) -> None:
        """Reads it back."""
        self.tags, self._fields = pickle.loads((Path(folder) / "queue").read_bytes())


def _plain(value: Any) -> Any:
    return getattr(value, "data", value) if not torch.is_tensor(value) else value


def _objects(values: list[Any]) -> Any:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


class Fortune(NamedTuple):
    """How the groups of a source fare."""

    fails: float = 0.0
    """The part of which all samples fail."""
    is_alike: float = 0.0
    """The part with equal rewards, which a filter drops."""
    patience: int = 3
    """The longest time that one takes."""
    is_high: float = 0.0
    """The part with high rewards that are not equal."""


class Killed(Exception):  # noqa: N818  # not an error
    """The process would be dead now."""


class Engine:
    """Stands for verl's agent loop manager, and for the workers that train."""

    def __init__(self, queue: Queue, fortunes: Mapping[str, Fortune], *, samples: int) -> None:
        self.queue, self._fortunes, self._samples = queue, fortunes, samples
        self._running: dict[str, tuple[int, str, int]] = {}
        self.kill_at: int | None = None
        """The time at which the process dies."""
        self.time = 0
        self.rows: dict[str, tuple[str, int]] = {}
        """The source and the row of each group that was generated."""
        self.trained: list[list[str]] = []
        """The groups of each update."""
        self.rewards: dict[str, list[float]] = {}
        """Of each group that finished."""
        self.failed: set[str] = set()

    def generate_sequences(self, batch: Any) -> None:
        """Begins to generate; samples come as time passes."""
        steps = tensordict_utils.get_non_tensor_data(batch, "global_steps", None)
        columns = (batch["uid"], batch["data_source"], batch["extra_info"])
        for uid, source, extra in zip(*map(list, columns), strict=True):
            uid, source, extra = _plain(uid), _plain(source), _plain(extra)
            self.rows[uid] = (source, extra["index"])
            due = self.time + self._luck(uid).randint(1, self._fortunes[source].patience)
            self._running[uid] = (due, source, steps)
            self.queue.kv_batch_put([uid], "train", tags=[{"status": "running"}])

    def sleep(self, seconds: float) -> None:
        """Time passes; stands for ``time.sleep``."""
        self.time += 1
        if self.time == self.kill_at:
            raise Killed
        for uid, (due, source, steps) in list(self._running.items()):
            if due <= self.time:
                del self._running[uid]
                self._finish(uid, self._fortunes[source], steps)

    @staticmethod
    def _luck(uid: str) -> random.Random:
        """Returns what decides on a group, in this life and in another."""
        return random.Random(uid)

    def _finish(self, uid: str, fortune: Fortune, steps: int) -> None:
        luck = self._luck(uid)
        status = "failure" if luck.random() < fortune.fails else "finished"
        if status == "failure":
            self.failed.add(uid)
        else:
            rewards = [1.0 if n % 2 else 0.0 for n in range(self._samples)]
            if luck.random() < fortune.is_alike:
                rewards = [1.0] * self._samples
            elif luck.random() < fortune.is_high:
                rewards = [0.8 if reward else 1.0 for reward in rewards]
            self.rewards[uid] = rewards
            fields = {"rm_scores": [torch.tensor([0.0, reward]) for reward in rewards]}
            keys = [f"{uid}_{number}_0" for number in range(self._samples)]
            tags = [{"status": "success", "global_steps": steps} for _ in keys]
            self.queue.kv_batch_put(keys, "train", tags=tags, fields=fields)
        self.queue.kv_batch_put([uid], "train", tags=[{"status": status}])

    def train(self, batch: Any, metrics: Any = None) -> Any:
        """Stands for the update of the actor."""
        self.trained.append(list(dict.fromkeys(key.split("_")[0] for key in batch.keys)))
        return batch


class _Nothing:
    """Workers and replicas: whatever they are asked for, nothing happens."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def prepare(trainer: Any, engine: Engine) -> None:
    """Does what ``init`` does, with stand-ins for all other processes."""
    trainer._init_tokenizer()
    trainer._init_dataloader()
    trainer._init_dump_executor()
    trainer.reward_loop_manager = _Nothing()
    for name in ("actor_rollout_wg", "checkpoint_manager", "standalone_checkpoint_manager"):
        setattr(trainer, name, _Nothing())
    trainer.current_mode = HybridEngineMode.TRAINER
    for name in ("_balance_batch", "_compute_old_log_prob", "_compute_advantage"):
        setattr(trainer, name, lambda batch, metrics: batch)
    trainer._update_actor = engine.train
    trainer._compute_metrics = lambda *_, **__: None
    trainer._load_checkpoint()
    trainer.on_init_end()


def shares(sources: Iterable[str]) -> dict[str, float]:
    """Returns the part that each source has."""
    counts = Counter(sources)
    return {name: count / counts.total() for name, count in counts.items()}
