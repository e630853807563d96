"""A service after very many operations: its database, its memory, and its next start.

``python -m benchmarks.service_operations --operations 1000000`` has 16 clients, without Ray, draw
groups, give every eighth back unfinished, and report the others. Then the service is killed and
started again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from benchmarks.rows import flat_files
from curriculum_learning.config.plan import ServicePlan
from curriculum_learning.engines.slime import sample_class
from curriculum_learning.samples.codec import decode, decode_group, encode_group
from curriculum_learning.samples.group import Prompt, make_group
from curriculum_learning.service.actor import ServiceActor
from curriculum_learning.service.messages import (
    LEASE_KEY,
    Draw,
    Numbered,
    Request,
    Return,
    Settle,
    decode_drawn,
    encode_message,
)

_CLIENTS = 16
_SAMPLES = 8


class Client:
    """Makes operations on an actor of this process.

    Args:
        actor: The actor.
        name: The client's name.
    """

    def __init__(self, actor: ServiceActor, name: str) -> None:
        self.operations = 0
        self._actor, self._name = actor, name
        actor.connect(name, "benchmark", {})

    def run(self, operations: int) -> None:
        """Make so many operations."""
        until = self.operations + operations
        while self.operations < until:
            drawn = decode_drawn(self._ask(Draw(1, None)))
            for first in decode(drawn.fresh):
                if first["group_index"] % 8:
                    self._settle(first["group_index"], drawn.lease)
                else:
                    self._give_back(first, drawn.lease)
            for data in drawn.again:
                self._settle(decode_group(data, sample_class())[0].group_index, drawn.lease)

    def _settle(self, group_index: int, lease: int) -> None:
        self._ask(Settle("trained", None, [(group_index, lease, [])]))

    def _give_back(self, first: dict[str, Any], lease: int) -> None:
        prompt = Prompt(first["prompt"], first["label"], first["metadata"])
        indices = range(first["index"], first["index"] + _SAMPLES)
        tags = {LEASE_KEY: lease}
        group = make_group(sample_class(), prompt, tags, first["group_index"], indices)
        for sample in group:
            sample.tokens, sample.response, sample.response_length = [*range(100)], "...", 100
        self._ask(Return([encode_group(group)]))

    def _ask(self, request: Request) -> bytes:
        message = Numbered(self._name, self.operations, [], request)
        self.operations += 1
        return self._actor.request(encode_message(message))


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service_operations", description=__doc__
    )
    parser.add_argument("--operations", type=int, default=100_000)
    operations = parser.parse_args().operations
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        args = {
            "prompt_data": flat_files(Path(folder)),
            "data_source_weights": [0.5, 0.3, 0.2],
            "rollout_shuffle": True,
            "n_samples_per_prompt": _SAMPLES,
            "save": str(Path(folder) / "save"),
        }
        print(f"load before: {os.getloadavg()[0]:.1f}")
        print("| operations | seconds | memory | database with its log |\n|---|---|---|---|")
        ours, theirs = context.Pipe()
        process = context.Process(target=_operate, args=(args, operations, theirs))
        process.start()
        while (row := ours.recv()) is not None:
            print(row, flush=True)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        process = context.Process(target=_restart, args=(args, theirs))
        process.start()
        print(ours.recv())
        process.join()
        print(f"load after: {os.getloadavg()[0]:.1f}")


def _operate(args: dict[str, Any], operations: int, pipe: Connection) -> None:
    actor = ServiceActor(args, {}, "run", ServicePlan())
    clients = [Client(actor, f"client-{number}") for number in range(_CLIENTS)]
    begun, memory = time.monotonic(), psutil.Process()
    for _ in range(10):
        each = operations // 10 // _CLIENTS
        threads = [threading.Thread(target=client.run, args=[each]) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done = sum(client.operations for client in clients)
        seconds, megabytes = time.monotonic() - begun, memory.memory_info().rss / 1e6
        pipe.send(f"| {done:,} | {seconds:.0f} | {megabytes:.0f} MB | {_size(args):.1f} MB |")
    pipe.send(None)
    time.sleep(600)


def _restart(args: dict[str, Any], pipe: Connection) -> None:
    begun = time.monotonic()
    actor = ServiceActor(args, {}, "run", ServicePlan())
    seconds = time.monotonic() - begun
    status = actor.service_status()[""]
    pipe.send(f"started again in {seconds:.2f} s: {status['settled']:,} groups settled")


def _size(args: dict[str, Any]) -> float:
    """Megabytes of the database and its log."""
    return sum(path.stat().st_size for path in Path(args["save"], "ray_service").iterdir()) / 1e6


if __name__ == "__main__":
    main()
