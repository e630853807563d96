"""Several rollout workers and a trainer that share one data source, on a cluster of this machine.

``python -m examples.ray_workers`` takes about half a minute. Each worker is a process of its own,
on one of three nodes: it draws groups, "generates" and scores them, and hands them to the trainer.
One worker is killed on the way: its groups are served to the others.
"""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from curriculum_learning.errors import GroupError
from curriculum_learning.ray_service import RemoteDataSource
from curriculum_learning.samples.sample import Group

_WORKERS = 4
_ROLLOUTS = 6
_BATCH = 32
_SOURCES = {"math": "lambda step: 0.2 + step / 10", "code": 0.3, "chat": 0.2}


class RolloutWorker:
    """Generates groups of the shared data source, a few at a time.

    Args:
        args: Of the data source, the same for all.
        seed: Of its "generation".
    """

    def __init__(self, args: Any, seed: int) -> None:
        self.source = RemoteDataSource(args)
        self.random = random.Random(seed)

    def pid(self) -> int:
        """Its process."""
        return os.getpid()

    def rollout(self, count: int) -> list[Group]:
        """``count`` groups, generated and scored."""
        groups = self.source.get_samples(count)
        time.sleep(self.random.uniform(0.05, 0.3))
        for group in groups:
            for sample in group:
                sample.response = "..."
                sample.response_length = 3
                sample.reward = float(self.random.random() < 0.5)
                sample.status = type(sample).Status.COMPLETED
        return groups


def main() -> None:
    """Train for a few rollouts, and print what was trained on."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    for _ in range(2):
        cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    with tempfile.TemporaryDirectory() as folder:
        try:
            _train(_arguments(Path(folder)))
        finally:
            ray.shutdown()
            cluster.shutdown()


def _arguments(folder: Path) -> dict[str, Any]:
    for name in _SOURCES:
        rows = (json.dumps({"input": f"{name} {row}"}) + "\n" for row in range(500))
        (folder / f"{name}.jsonl").write_text("".join(rows), encoding="utf-8")
    return {
        "prompt_data": [str(folder / f"{name}.jsonl") for name in _SOURCES],
        "data_source_weights": _SOURCES,
        "n_samples_per_prompt": 4,
        "rollout_shuffle": True,
        "save": str(folder / "checkpoints"),
    }


def _train(args: dict[str, Any]) -> None:
    source = RemoteDataSource(args)  # the process that lives longest makes the service
    worker = ray.remote(RolloutWorker).options(num_cpus=1)
    workers = [worker.remote(args, number) for number in range(_WORKERS)]
    running = {worker.rollout.remote(4): worker for worker in workers}
    for rollout_id in range(_ROLLOUTS):
        source.set_rollout_step(rollout_id)
        batch: list[Group] = []
        while len(batch) < _BATCH:
            (done,), _ = ray.wait(list(running))
            finished = running.pop(done)
            try:
                groups = ray.get(done)
            except ray.exceptions.RayActorError:
                print("a worker is dead; its groups are served to the others")
                continue
            running[finished.rollout.remote(4)] = finished
            try:
                # Before they are trained on: the service refuses groups that it serves again.
                source.observe(groups, fate="trained")
                batch += groups
            except GroupError as error:
                print(f"not trained on: {error.value}")
        # The policy would be updated here.
        source.observe([], rollout_id=rollout_id, fate="trained")
        source.save(rollout_id)
        counts = Counter(group[0].metadata["data_source"] for group in batch)
        print(f"rollout {rollout_id}: {dict(sorted(counts.items()))}")
        if rollout_id == 2:
            os.kill(ray.get(workers[0].pid.remote()), signal.SIGKILL)
    for other in workers[1:]:
        ray.kill(other)
    while (total := source.service_status()[""])["leased"]:
        time.sleep(0.1)
    drawn = sum(counts["drawn"] for counts in source.source_counts().values() if "drawn" in counts)
    print(
        f"{drawn:.0f} groups drawn, {total['settled']:.0f} trained on, "
        f"{source.get_buffer_length()} of workers that ended wait to be served again"
    )
    source.shut_down()


if __name__ == "__main__":
    main()
