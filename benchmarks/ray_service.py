"""The service beside a bare Ray actor, and beside the data source in the process.

``python -m benchmarks.ray_service`` starts a cluster on this machine and takes about two minutes.
The bare actor answers as many calls, with dictionaries of the same size, and does nothing else.
Figures of one run can be compared with each other, those of different machines cannot.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import ray
from ray.cluster_utils import Cluster

from benchmarks.rows import flat_files
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.config.plan import ServicePlan
from curriculum_learning.ray_service import RemoteDataSource
from curriculum_learning.samples.sample import Group
from curriculum_learning.service.actor import ServiceActor
from curriculum_learning.service.messages import (
    Draw,
    Numbered,
    Settle,
    Told,
    decode_drawn,
    encode_message,
)

_SECONDS = 5.0
_SAMPLES = 8
_PROCESSES = 16


class Run(NamedTuple):
    """What one client has done."""

    groups: int
    draws: list[float]
    """Seconds of each."""
    reports: list[float]


class Source(Protocol):
    """What is measured."""

    def get_samples(self, num_samples: int, /) -> Any:
        """Groups."""

    def observe(self, samples: Any, /, *, fate: Any) -> None:
        """They are trained on."""


class Bare:
    """An actor without a service: it answers with dictionaries as large as its groups."""

    def __init__(self, groups: list[Group]) -> None:
        self._groups = [
            {
                "group_index": group[0].group_index,
                "index": group[0].index,
                "prompt": group[0].prompt,
                "label": group[0].label,
                "metadata": group[0].metadata,
            }
            for group in groups
        ]

    def draw(self, client: str, count: int) -> list[dict[str, Any]]:
        """Groups."""
        return self._groups[:count]

    def report(self, client: str, told: list[dict[str, Any]]) -> None:
        """They are trained on."""


class BareSource:
    """A client of ``Bare``."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def get_samples(self, count: int) -> list[dict[str, Any]]:
        """Groups."""
        groups: list[dict[str, Any]] = ray.get(self._actor.draw.remote("client", count))
        return groups

    def observe(self, groups: list[dict[str, Any]], *, fate: str) -> None:
        """They are trained on."""
        told = [
            {"group_index": group["group_index"], "lease": 1, "rewards": [1.0] * _SAMPLES}
            for group in groups
        ]
        ray.get(self._actor.report.remote("client", told))


class Clients:
    """Clients in one process that draw and report as fast as they can."""

    def __init__(self, args: Any, bare: Any, count: int) -> None:
        self._sources: list[Source] = [
            RemoteDataSource(args) if bare is None else BareSource(bare) for _ in range(count)
        ]

    def run(self, count: int, seconds: float) -> list[Run]:
        """Requests of ``count`` groups for so long."""
        runs: list[Run] = []
        threads = [
            threading.Thread(target=self._run, args=[source, count, seconds, runs])
            for source in self._sources
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return runs

    def _run(self, source: Source, count: int, seconds: float, runs: list[Run]) -> None:
        runs.append(measure(source, count, seconds))


def measure(source: Source, count: int, seconds: float) -> Run:
    """Requests of ``count`` groups for so long."""
    until = time.perf_counter() + seconds
    draws, reports = [], []
    while (begun := time.perf_counter()) < until:
        groups = source.get_samples(count)
        drawn = time.perf_counter()
        source.observe(groups, fate="trained")
        draws.append(drawn - begun)
        reports.append(time.perf_counter() - drawn)
    return Run(count * len(draws), draws, reports)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ray_service", description=__doc__)
    parser.add_argument("--many", type=int, default=128, help="clients of the last row; 0: none")
    many = parser.parse_args().many
    with tempfile.TemporaryDirectory() as folder:
        args = {
            "prompt_data": flat_files(Path(folder)),
            "data_source_weights": [1.0] * len(flat_files(Path(folder))),
            "rollout_shuffle": True,
            "n_samples_per_prompt": _SAMPLES,
            "save": str(Path(folder) / "save"),
            "ray_service": {"name": "benchmark"},
        }
        print(f"load before: {os.getloadavg()[0]:.1f}")
        print("| | groups in a request | groups/s | draw p50, p99 | report p50, p99 | of bare |")
        print("|---|---|---|---|---|---|")
        in_process = DataSource({**args, "save": None})
        for count in (1, 32):
            _row("in the process", count, [measure(in_process, count, 2.0)], 2.0)
        for count in (1, 32):
            for save in (None, args["save"]):
                _without_ray({**args, "save": save}, count)
        _with_ray(args, in_process.get_samples(32), many)
        print(f"load after: {os.getloadavg()[0]:.1f}")


def _with_ray(args: dict[str, Any], groups: list[Group], many: int) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    path = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    ray.init(
        address=cluster.address,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )
    source = RemoteDataSource(args)
    bare = ray.remote(Bare).options(num_cpus=0).remote(groups)
    make = ray.remote(Clients).options(num_cpus=0)
    both = [[make.remote(args, actor, 1) for _ in range(_PROCESSES)] for actor in (bare, None)]
    for clients in both:
        ray.get([client.run.remote(1, 0.5) for client in clients])
    for number, count in ((1, 1), (4, 1), (16, 1), (1, 32), (4, 32), (16, 32)):
        name = f"{number} client{'s' * (number > 1)}"
        rates: list[float] = []
        for what, clients in zip(("bare actor", "service"), both, strict=True):
            runs = ray.get([client.run.remote(count, _SECONDS) for client in clients[:number]])
            all_runs = list(itertools.chain(*runs))
            rates.append(_row(f"{what}, {name}", count, all_runs, _SECONDS, *rates))
    if many:
        for clients in both:
            for client in clients:
                ray.kill(client)
        each = many // _PROCESSES
        clients = [make.remote(args, None, each) for _ in range(_PROCESSES)]
        ray.get([client.run.remote(1, 0.5) for client in clients])
        for count in (1, 32):
            runs = ray.get([client.run.remote(count, _SECONDS) for client in clients])
            name = f"service, {each * _PROCESSES} clients of {_PROCESSES} processes"
            _row(name, count, list(itertools.chain(*runs)), _SECONDS)
    source.shut_down()
    ray.shutdown()
    cluster.shutdown()


def _without_ray(args: Any, count: int) -> None:
    """The actor's work on draws and their reports, none of it waiting for a client."""
    actor = ServiceActor(args, {}, "run", ServicePlan(name=f"alone-{count}"))
    actor.connect("client", "label", {})
    repeats = 3200 // count
    seconds = 0.0
    for number in range(repeats):
        draw = encode_message(Numbered("client", 2 * number, [], Draw(count, None)))
        begun = time.perf_counter()
        answer = actor.request(draw)
        seconds += time.perf_counter() - begun
        lease = decode_drawn(answer).lease
        told: list[Told] = [(count * number + group, lease, []) for group in range(count)]
        report = Settle("trained", None, told)
        data = encode_message(Numbered("client", 2 * number + 1, [], report))
        begun = time.perf_counter()
        actor.request(data)
        seconds += time.perf_counter() - begun
    where = "in memory" if args["save"] is None else "with its database, one request at a time"
    print(f"| the actor's work alone, {where} | {count} | {count * repeats / seconds:,.0f} | | | |")


def _row(what: str, count: int, runs: list[Run], seconds: float, bare: float = 0.0) -> float:
    rate = sum(run.groups for run in runs) / seconds
    cells = []
    for parts in ([run.draws for run in runs], [run.reports for run in runs]):
        times = sorted(itertools.chain(*parts))
        p50, p99 = statistics.median(times) * 1000, times[int(len(times) * 0.99)] * 1000
        cells.append(f"{p50:.2f} ms, {p99:.2f} ms")
    ratio = f"{rate / bare:.2f}" if bare else ""
    print(f"| {what} | {count} | {rate:,.0f} | {' | '.join(cells)} | {ratio} |", flush=True)
    return rate


if __name__ == "__main__":
    main()
