"""Kill workers and the service itself, again and again, and check that no group is lost or doubled.

``python -m tests.with_ray.kills`` has 8 workers settle 2,000 groups each, over 20 kills of workers
and 3 of the service. With ``--power-losses 200`` the service also runs on a disk that fills up now
and then, and loses power until that has happened 200 times; it needs gcc. ``--help`` has the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from curriculum_learning.ray_service import RemoteDataSource
from tests.harness import arguments, row_of
from tests.with_ray.worker import Worker, connected

_WEIGHTS = {"math": 0.5, "code": 0.3, "chat": 0.2}
_ROWS = 1000


def main() -> int:
    """The command line; 0 if nothing was lost or doubled."""
    parser = argparse.ArgumentParser(prog="python -m tests.with_ray.kills", description=__doc__)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--groups", type=int, default=2000, help="of each client")
    parser.add_argument("--worker-kills", type=int, default=20)
    parser.add_argument("--service-kills", type=int, default=3)
    parser.add_argument("--power-losses", type=int, default=0, help="of the service's disk")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        disk = FaultyDisk(Path(folder)) if options.power_losses else None
        cluster = start_cluster(3, disk)
        try:
            found = campaign(
                Path(folder),
                options.clients,
                options.groups,
                options.worker_kills,
                options.service_kills,
                options.seed,
                disk,
                options.power_losses,
            )
        finally:
            stop_cluster(cluster)
    print(json.dumps(found))
    return 0 if not found["problems"] else 1


class FaultyDisk:
    """Below the databases of all processes that are started with its ``environment``."""

    def __init__(self, folder: Path) -> None:
        source, library = Path(__file__).with_name("faulty_disk.c"), folder / "faulty_disk.so"
        command = ["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source)]
        subprocess.run([*command, "-ldl", "-lpthread"], check=True)
        self._log = folder / "faulty_disk.log"
        self.environment = {"LD_PRELOAD": str(library), "FAULTY_DISK": f"500 300 {self._log}"}

    def count(self, what: str) -> int:
        """How often there was a "power loss" or "disk full"."""
        return self._log.read_text(encoding="utf-8").count(what) if self._log.exists() else 0

    def mend(self) -> None:
        """No more faults."""
        self._log.with_name(f"{self._log.name}.off").touch()


def start_cluster(nodes: int, disk: FaultyDisk | None = None) -> Cluster:
    """A cluster of several nodes on this machine, to which this process is connected."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    for _ in range(nodes - 1):
        cluster.add_node(num_cpus=2)
    path = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    ray.init(
        address=cluster.address,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": path, **(disk.environment if disk else {})}},
    )
    return cluster


def stop_cluster(cluster: Cluster) -> None:
    """End it."""
    ray.shutdown()
    cluster.shutdown()


def service_pid(source: RemoteDataSource) -> int:
    """The process of the service."""
    pid: int = ray.get(source._channel._actor.__ray_call__.remote(_pid))
    return pid


def _pid(_: Any) -> int:
    return os.getpid()


def campaign(
    folder: Path,
    clients: int,
    groups: int,
    worker_kills: int,
    service_kills: int,
    seed: int,
    disk: FaultyDisk | None = None,
    power_losses: int = 0,
) -> dict[str, Any]:
    """A run that is killed all along: figures, and the problems that were found."""
    randomness = random.Random(seed)
    args = arguments(
        folder,
        dict.fromkeys(_WEIGHTS, _ROWS),
        data_source_weights=_WEIGHTS,
        ray_service={"lease_timeout": 10.0, "name": f"kills-{seed}"},
    )
    source = connected(args)
    slots = [_Slot(args, folder, number, groups, seed) for number in range(clients)]
    total = clients * groups
    victims = ["worker"] * worker_kills + ["service"] * service_kills
    randomness.shuffle(victims)
    points = sorted(randomness.uniform(0.02, 0.9) * total for _ in victims)
    begun = time.monotonic()
    late = 0
    while any(slot.left() for slot in slots) or (disk and disk.count("loss") < power_losses):
        if disk and disk.count("loss") < power_losses:
            for slot in slots:
                slot.quota = max(slot.quota, slot.settled + 50)
        settled = sum(slot.settled for slot in slots)
        alive = [slot for slot in slots if slot.left() and slot.alive]
        if victims and settled >= points[0] and alive:
            points.pop(0)
            if victims.pop() == "service":
                os.kill(service_pid(source), signal.SIGKILL)
            else:
                randomness.choice(alive).kill()
        late += sum(slot.go_on() for slot in slots)
        time.sleep(0.05)
    seconds = time.monotonic() - begun
    if disk is not None:
        disk.mend()
    late += sum(slot.end() for slot in slots)
    while (status := source.service_status()[""])["leased"]:
        time.sleep(0.1)
    found = _check(source, read([path for slot in slots for path in slot.notes]))
    found |= {
        "worker kills": sum(slot.kills for slot in slots),
        "service kills": service_kills,
        "late answers": late,
        "given up": status["given_up"],
        "power losses": disk.count("loss") if disk else 0,
        "full disks": disk.count("full") if disk else 0,
        "seconds": round(seconds, 1),
    }
    source.shut_down()
    return found


class _Slot:
    """A worker, and the one that takes its place when it has been killed."""

    def __init__(self, args: Any, folder: Path, number: int, groups: int, seed: int) -> None:
        self.notes: list[Path] = []
        self.kills = 0
        self.quota = groups
        self.settled = 0
        self._read = 0
        """Bytes of the latest notes in ``settled``."""
        self._folder, self._number = folder, number
        self._args = args
        self._seed = seed * 1000 + number
        self._worker: Any = None
        self._running: Any = None
        self._pid = 0

    def left(self) -> int:
        """Groups that it has still to settle."""
        if self.notes and self.notes[-1].exists():
            with open(self.notes[-1], "rb") as file:
                file.seek(self._read)
                lines = file.read().rpartition(b"\n")[0]
            self._read += len(lines) + bool(lines)
            found = (json.loads(line) for line in lines.splitlines())
            self.settled += sum(len(line.get("settled", ())) for line in found)
        return self.quota - self.settled

    def go_on(self) -> int:
        """Begin, or begin again after a kill; gives the late answers of a worker that is done."""
        if self._running is not None and not ray.wait([self._running], timeout=0)[0]:
            return 0
        if self._running is not None:
            try:
                late: int = ray.get(self._running)
            except ray.exceptions.RayActorError:
                self.kills += 1
            else:
                self._running = None
                self._pid = 0
                return late
        if self.left() > 0:
            make = ray.remote(Worker).options(num_cpus=0, scheduling_strategy="SPREAD")
            # A kill cuts a line short, so each worker has a file of its own.
            notes = self._folder / f"worker-{self._number}-{len(self.notes)}.notes"
            self.notes.append(notes)
            self._read = 0
            self._worker = make.remote(self._args, notes, self._seed + 100 * self.kills, 0.005)
            self._pid = ray.get(self._worker.pid.remote())
            self._running = self._worker.run.remote(self.left())
        return 0

    @property
    def alive(self) -> bool:
        """Whether there is a process to kill."""
        return self._pid != 0

    def kill(self) -> None:
        """Kill it, wherever it is."""
        os.kill(self._pid, signal.SIGKILL)
        self._pid = 0
        ray.wait([self._running], timeout=30)

    def end(self) -> int:
        """Let its process end."""
        late = self.go_on()
        self._worker = None
        return late


def read(notes: list[Path]) -> list[dict[str, Any]]:
    """The lines of files; a kill may have cut the last one of each short."""
    texts = [path.read_text(encoding="utf-8") for path in notes if path.exists()]
    return [json.loads(line) for text in texts for line in text.rpartition("\n")[0].splitlines()]


def _check(source: RemoteDataSource, lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Hold what the workers have noted against what the service says, and draw what waits."""
    rows: dict[int, tuple[str, int, int]] = {}
    problems: list[str] = []
    settled: Counter[int] = Counter()
    settling: set[int] = set()
    for line in lines:
        settled.update(line.get("settled", ()))
        settling.update(line.get("settling", ()))
        for group_index, *row in line.get("drawn", ()):
            if rows.setdefault(group_index, tuple(row)) != tuple(row):
                problems.append(f"group {group_index} was of two rows")
    counts = source.source_counts()
    waiting = source.get_buffer_length()
    drawn = int(sum(counts[name]["drawn"] for name in _WEIGHTS))
    ended = int(sum(counts[name][fate] for name in _WEIGHTS for fate in ("trained", "dropped")))
    rest = {group[0].group_index: row_of(group) for group in source.get_samples(waiting)}
    rows |= rest
    problems += [f"group {g} was settled twice" for g, n in settled.items() if n > 1]
    problems += [f"group {g} was settled and waits" for g in settled if g in rest]
    # Of a report that a kill cut short nobody noted whether it was taken in.
    lost = set(range(drawn)) - settled.keys() - rest.keys() - settling
    problems += [f"group {g} is lost" for g in sorted(lost)]
    if sorted(rows) != list(range(drawn)):
        problems.append(f"{drawn} groups were drawn, {len(rows)} are known")
    if ended + waiting != drawn:
        problems.append(f"{drawn} groups were drawn, {ended} settled, {waiting} wait")
    if len(set(rows.values())) != len(rows):
        problems.append("a row was drawn twice in an epoch")
    counted: Counter[str] = Counter()
    error = 0.0
    for number, group_index in enumerate(sorted(rows), 1):
        counted[rows[group_index][0]] += 1
        error = max(error, *(abs(counted[s] - w * number) for s, w in _WEIGHTS.items()))
    if error >= 1:
        problems.append(f"the draws are {error} groups off the shares")
    return {
        "drawn": drawn,
        "settled": ended,
        "waiting": waiting,
        "reports cut short": len(settling - settled.keys()),
        "largest error of the mixture": round(error, 3),
        "problems": problems,
    }


if __name__ == "__main__":
    sys.exit(main())
