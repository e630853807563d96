"""The service beside the data source in the process: groups per second, and how long requests take.

``python -m benchmarks.ray_service`` starts a cluster on this machine and takes about a minute.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from benchmarks.rows import flat_files
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.config.plan import ServicePlan
from curriculum_learning.ray_service import RemoteDataSource
from curriculum_learning.samples.codec import encode
from curriculum_learning.service.actor import ServiceActor

_SECONDS = 6.0
_SAMPLES = 8


class Client:
    """Draws and reports as fast as it can.

    Args:
        args: Of the data source.
        remote: Whether it draws from the service, or from a data source of its own.
    """

    def __init__(self, args: Any, remote: bool) -> None:
        self.source: Any = RemoteDataSource(args) if remote else DataSource(args)

    def run(self, count: int, seconds: float) -> tuple[int, list[float]]:
        """Requests of ``count`` groups for so long: the groups, and the seconds of each draw."""
        until = time.perf_counter() + seconds
        times = []
        while (begun := time.perf_counter()) < until:
            groups = self.source.get_samples(count)
            times.append(time.perf_counter() - begun)
            self.source.observe(groups, fate="trained")
        return count * len(times), times


def main() -> None:
    """Measure, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        args = {
            "prompt_data": flat_files(Path(folder)),
            "data_source_weights": [1.0] * len(flat_files(Path(folder))),
            "rollout_shuffle": True,
            "n_samples_per_prompt": _SAMPLES,
            "save": str(Path(folder) / "save"),
            "ray_service": {"name": "benchmark"},
        }
        print("| | groups in a request | groups/s | draw p50 | draw p99 |\n|---|---|---|---|---|")
        for count in (1, 32):
            _row("in the process", count, [Client({**args, "save": None}, False).run(count, 2.0)])
        for count in (1, 32):
            seconds = asyncio.run(_without_ray(args, count))
            rate = f"{count / seconds:,.0f}"
            print(f"| the actor's work alone, without Ray | {count} | {rate} | | |")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        path = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
        ray.init(
            address=cluster.address,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": {"PYTHONPATH": path}},
        )
        source = RemoteDataSource(args)
        make = ray.remote(Client).options(num_cpus=0)
        clients = [make.remote(args, True) for _ in range(16)]
        ray.get([client.run.remote(1, 0.5) for client in clients])
        for number, count in ((1, 1), (4, 1), (16, 1), (1, 32), (4, 32), (16, 32)):
            running = [client.run.remote(count, _SECONDS) for client in clients[:number]]
            _row(f"{number} client{'s' * (number > 1)}", count, ray.get(running))
        source.shut_down()
        ray.shutdown()
        cluster.shutdown()


async def _without_ray(args: Any, count: int) -> float:
    """Seconds of the actor's work on a draw and its report, none of it waiting for a client."""
    actor = ServiceActor({**args, "save": None}, {}, "run", ServicePlan())
    repeats = 2000 // count
    begun = time.perf_counter()
    for number in range(repeats):
        await actor.request("a", 2 * number, 2 * number, "draw", encode([count, None, True]))
        told = [
            {"group_index": count * number + group, "index": 0, "reward": 1.0, "metadata": {}}
            for group in range(count)
            for _ in range(_SAMPLES)
        ]
        body = encode(["trained", None, told])
        await actor.request("a", 2 * number + 1, 2 * number + 1, "settle", body)
    return (time.perf_counter() - begun) / repeats


def _row(what: str, count: int, runs: list[tuple[int, list[float]]]) -> None:
    times = sorted(second for _, seconds in runs for second in seconds)
    seconds = 2.0 if what == "in the process" else _SECONDS
    rate = sum(groups for groups, _ in runs) / seconds
    p50, p99 = statistics.median(times) * 1000, times[int(len(times) * 0.99)] * 1000
    print(f"| {what} | {count} | {rate:,.0f} | {p50:.2f} ms | {p99:.2f} ms |", flush=True)


if __name__ == "__main__":
    main()
