from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness import arguments, interrupt

ray = pytest.importorskip("ray")

from curriculum_learning.errors import (  # noqa: E402
    CurriculumLearningError,
    GroupError,
)
from curriculum_learning.ray_service import RemoteDataSource  # noqa: E402
from tests.service.clients import RAY_SIZES, ids, leased, wait_until  # noqa: E402
from tests.with_ray.kills import campaign, service_pid  # noqa: E402


def test_a_killed_worker_gives_its_groups_back(connect: Callable[..., RemoteDataSource]) -> None:
    """Ray tells of its death; its heartbeats would not be missed for long."""
    client = connect({"lease_timeout": 600.0})

    class Worker:
        def __init__(self, args: Any) -> None:
            self.client = RemoteDataSource(args)

        def draw(self) -> tuple[int, list[int]]:
            return os.getpid(), ids(self.client.get_samples(3))

    worker = ray.remote(Worker).options(num_cpus=0).remote(client.args)
    pid, drawn = ray.get(worker.draw.remote())
    assert ids(client.get_samples(1)) == [3]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: leased(client) == 1)
    assert ids(client.get_samples(4)) == [*drawn, 4]


def test_a_silent_client_loses_its_leases(connect: Callable[..., RemoteDataSource]) -> None:
    """Its late answer is refused and counted, and the worker's thread cannot hide it."""
    silent, other = connect({"lease_timeout": 4.0}), connect({"lease_timeout": 4.0})
    groups = silent.get_samples(3)
    silent._channel._closed.set()  # its heartbeats end, as if the process hung
    wait_until(lambda: leased(other) == 0)
    again = other.get_samples(3)
    assert ids(again) == ids(groups)
    with pytest.raises(GroupError, match="do not train on these groups") as error:
        silent.observe(groups, fate="trained")
    assert error.value.value == ids(groups)
    thread = threading.Thread(target=lambda: _ignore(lambda: silent.add_samples(groups)))
    thread.start()
    thread.join()
    with pytest.raises(CurriculumLearningError, match="on a worker thread"):
        silent.save(0)
    other.observe(again, fate="trained")
    status = other.service_status()[""]
    assert (status["expired"], status["late"], status["settled"]) == (3, 6, 3)


def _ignore(call: Callable[[], None]) -> None:
    with contextlib.suppress(GroupError):
        call()


def test_a_killed_service_comes_back(connect: Callable[..., RemoteDataSource]) -> None:
    """With all leases: what clients hold is settled by them, and is not served again."""
    client, other = connect(), connect()
    groups, theirs = client.get_samples(5), other.get_samples(3)
    client.observe(groups[:2], fate="trained")
    os.kill(service_pid(client), signal.SIGKILL)
    client.observe(groups[2:3], fate="trained")
    other.add_samples([interrupt(theirs[0])])
    os.kill(service_pid(client), signal.SIGKILL)
    assert ids(client.get_samples(3)) == [5, 8, 9]
    with pytest.raises(GroupError):
        client.observe(groups[:3], fate="trained")
    client.observe(groups[3:], fate="trained")
    other.observe(theirs[1:], fate="trained")
    counts = client.source_counts()
    assert sum(counts[name]["trained"] for name in RAY_SIZES) == 7


def test_the_latest_rollouts_survive_a_kill(connect: Callable[..., RemoteDataSource]) -> None:
    """They are saved as they were when they ended, and loaded."""
    client = connect()
    for rollout_id in range(4):
        client.observe(client.get_samples(3), rollout_id=rollout_id, fate="trained")
    os.kill(service_pid(client), signal.SIGKILL)
    for rollout_id in (1, 2, 3):
        client.save(rollout_id)
    client.load(1)
    assert client.rollout_step == 2
    assert ids(client.get_samples(2)) == [6, 7]


def is_alive(name: str) -> bool:
    """Whether Ray knows an actor."""
    try:
        ray.get_actor(name)
    except ValueError:
        return False
    return True


def test_the_next_service_goes_on_when_the_owner_dies(
    connect: Callable[..., RemoteDataSource],
) -> None:
    """Without ``detached`` the service dies with the process that made it."""
    client = connect({"lease_timeout": 3.0})
    args = client.args
    client.shut_down()

    class Owner:
        def __init__(self) -> None:
            self.source = RemoteDataSource(args)
            groups = self.source.get_samples(5)
            self.source.observe(groups[:3], fate="trained")

        def pid(self) -> int:
            return os.getpid()

    owner = ray.remote(Owner).options(num_cpus=0).remote()
    os.kill(ray.get(owner.pid.remote()), signal.SIGKILL)
    wait_until(lambda: not is_alive(args.ray_service["name"]))
    client = connect({"lease_timeout": 3.0})
    wait_until(lambda: leased(client) == 0)
    assert ids(client.get_samples(3)) == [3, 4, 5]
    counts = client.source_counts()
    assert sum(counts[name]["trained"] for name in RAY_SIZES) == 3


def test_a_second_service_of_one_folder_is_refused(
    connect: Callable[..., RemoteDataSource],
) -> None:
    """In another namespace it has the same files."""
    connect()
    with pytest.raises(CurriculumLearningError, match="another service of this name and folder"):
        connect({"namespace": "other"})


class Stopped:
    """A worker that holds groups ready."""

    def __init__(self, args: Any) -> None:
        self.source = RemoteDataSource(args)

    def draw(self, count: int = 1) -> tuple[int, list[int]]:
        """Its process, and groups."""
        return os.getpid(), ids(self.source.get_samples(count))


@pytest.mark.parametrize(("count", "pause"), [(1, 0.0), (1, 1.5), (4, 0.0)])
def test_a_stopped_client_does_not_hand_out_what_others_have(
    connect: Callable[..., RemoteDataSource], count: int, pause: float
) -> None:
    """What it held ready is given back before it draws.

    Also if heartbeats have come through in between, or if it draws more than it held ready.
    """
    other = connect({"lease_timeout": 3.0})
    client = connect({"lease_timeout": 3.0, "prefetch": 3})
    worker = ray.remote(Stopped).options(num_cpus=0).remote(client.args)
    pid, first = ray.get(worker.draw.remote())
    wait_until(lambda: leased(other) == 4)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: leased(other) == 0)
    groups = other.get_samples(4)
    assert set(first) < set(ids(groups))
    os.kill(pid, signal.SIGCONT)
    time.sleep(pause)
    assert ray.get(worker.draw.remote(count))[1] == [*range(4, 4 + count)]


def test_a_client_that_dies_while_it_waits_is_not_served(
    connect: Callable[..., RemoteDataSource],
) -> None:
    """Its place is taken by nobody."""
    client = connect({"max_leased_groups": 1})
    worker = ray.remote(Stopped).options(num_cpus=0, max_concurrency=2).remote(client.args)
    pid, _ = ray.get(worker.draw.remote())
    worker.draw.remote()
    wait_until(lambda: client.service_status()[""]["waits"])
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(client.service_status()) == 2)
    assert leased(client) == 0
    assert ids(client.get_samples(1)) == [0]


SHUT_DOWN_FIRST = """
import sys, json, ray
from curriculum_learning.ray_service import RemoteDataSource
ray.init(address="local", num_cpus=1, logging_level="ERROR", log_to_driver=False)
source = RemoteDataSource(json.loads(sys.argv[1]))
source.get_samples(2)
ray.shutdown()
source.close()
source.shut_down()
print(ray.is_initialized())
"""


def test_a_client_that_is_closed_after_its_cluster_starts_no_other(tmp_path: Path) -> None:
    """Ray would start one for any call."""
    args = {**vars(arguments(tmp_path, RAY_SIZES)), "save": None}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", SHUT_DOWN_FIRST, json.dumps(args)],
        env={**environment, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip().splitlines()[-1] == "False"


def test_nothing_is_lost_over_kills(cluster: Any, tmp_path: Path) -> None:
    """A small run of ``python -m tests.with_ray.kills``."""
    found = campaign(tmp_path, clients=3, groups=60, worker_kills=2, service_kills=1, seed=1)
    assert found["problems"] == []
    assert found["worker kills"] == 2
    assert found["settled"] >= 180
