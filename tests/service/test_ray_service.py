from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Group, arguments, as_data, data_source, interrupt

ray = pytest.importorskip("ray")

from curriculum_learning.custom_log import (  # noqa: E402
    custom_rollout_log_function,
    process_all_samples,
)
from curriculum_learning.errors import (  # noqa: E402
    ConfigurationError,
    CurriculumLearningError,
    GroupError,
)
from curriculum_learning.ray_service import RemoteDataSource  # noqa: E402
from tests.with_ray.kills import (  # noqa: E402
    campaign,
    service_pid,
    start_cluster,
    stop_cluster,
)

SIZES = {"math": 60, "code": 40}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of two nodes on this machine."""
    cluster = start_cluster(nodes=2)
    yield cluster
    stop_cluster(cluster)


@pytest.fixture
def connect(cluster: Any, tmp_path: Path) -> Iterator[Callable[..., RemoteDataSource]]:
    """Makes clients of one service; it is ended after the test."""
    clients = []

    def make(service: dict[str, Any] | None = None, **changes: Any) -> RemoteDataSource:
        options = {
            "name": tmp_path.name,
            "lease_timeout": 30.0,
            "draw_timeout": 60.0,
            **(service or {}),
        }
        client = RemoteDataSource(arguments(tmp_path, SIZES, ray_service=options, **changes))
        clients.append(client)
        return client

    yield make
    for client in clients:
        client._channel._closed.set()
    if clients:
        clients[0]._channel._closed.clear()
        clients[0].shut_down()


def ids(groups: list[Group]) -> list[int]:
    """The ids of groups."""
    return [group[0].group_index for group in groups]


def wait_until(condition: Callable[[], Any]) -> None:
    """Wait for what other processes bring about."""
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def leased(client: RemoteDataSource) -> int:
    """Groups that clients hold."""
    return int(client.service_status()[""]["leased"])


def test_clients_draw_from_one_sequence(
    connect: Callable[..., RemoteDataSource], tmp_path: Path
) -> None:
    """Together they are served what one data source serves, but for the number of the lease."""
    expected = as_data(data_source(tmp_path, SIZES, save=None).get_samples(12))
    clients = [connect(), connect()]
    groups = [group for _ in range(3) for client in clients for group in client.get_samples(2)]
    for sample in (sample for group in groups for sample in group):
        assert isinstance(sample.metadata.pop("data_source_lease"), int)
    assert as_data(groups) == expected
    assert len(clients[0]) == 100
    assert clients[1].dataset is not None
    assert len(clients[1].dataset) == 100


def test_the_protocol_of_the_data_source(connect: Callable[..., RemoteDataSource]) -> None:
    """Steps, states, buffers, metadata: as of the data source itself."""
    client = connect()
    client.set_rollout_step(5)
    assert client.rollout_step == 5
    groups = client.get_samples(4)
    assert groups[0][0].metadata["data_source_rollout_step"] == 5
    client.add_samples([interrupt(groups[0])])
    assert client.get_buffer_length() == 1
    client.observe(groups[1], fate="dropped")
    client.observe(groups[2:], rollout_id=7, fate="trained")
    assert client.rollout_step == 8
    client.update_metadata({"a": [1]})
    assert client.get_metadata() == {"a": [1]}
    assert client.source_status()["math"]["weight"] == 0.5
    client.save(7)
    assert ids(client.get_samples(2)) == [0, 4]
    client.load(7)
    assert ids(client.get_samples(2)) == [0, 4]
    assert client.source_counts()["ray_service"]["settled"] == 3


def test_a_coroutine_can_do_the_same(connect: Callable[..., RemoteDataSource]) -> None:
    """Many tasks of one process draw and report at once."""
    client = connect()

    async def task() -> list[int]:
        groups = await client.get_samples_async(2)
        await client.add_samples_async([interrupt(groups[0])])
        await client.observe_async(groups[1], fate="trained")
        return ids(groups[1:])

    async def tasks() -> list[list[int]]:
        return await asyncio.gather(*(task() for _ in range(20)))

    settled = [group_index for ended in asyncio.run(tasks()) for group_index in ended]
    assert len(set(settled)) == len(settled) == 20
    assert leased(client) == 0


def test_another_configuration_is_refused(connect: Callable[..., RemoteDataSource]) -> None:
    """The error names the keys that differ, with both values."""
    connect()
    with pytest.raises(
        ConfigurationError, match=r"data_source_weights: \[1.0, 3.0\] here"
    ) as error:
        connect(data_source_weights=[1.0, 3.0], rollout_seed=1)
    assert error.value.value == ["data_source_weights", "seed"]
    with pytest.raises(ConfigurationError, match=r"ray_service.lease_timeout \('1'\) must be"):
        connect({"lease_timeout": "1"})


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


def test_a_client_that_holds_too_much_waits(connect: Callable[..., RemoteDataSource]) -> None:
    """Until something of its own has ended; others are served meanwhile."""
    limits = {"max_leased_groups": 4, "draw_timeout": 1.0}
    slow, quick = connect(limits), connect(limits)
    groups = slow.get_samples(3)
    drawn: list[int] = []
    thread = threading.Thread(target=lambda: drawn.extend(ids(slow.get_samples(2))))
    thread.start()
    for _ in range(5):
        quick.observe(quick.get_samples(4), fate="trained")
    assert not drawn
    slow.observe(groups[0], fate="trained")
    thread.join()
    assert len(drawn) == 2
    with pytest.raises(GroupError, match=r"waited 1 s for room: this client holds 4 groups"):
        slow.get_samples(1)
    with pytest.raises(GroupError, match=r"at most ray_service\.max_leased_groups"):
        slow.get_samples(5)
    assert slow.service_status()[""]["waits"] == 2


def test_groups_are_fetched_ahead(connect: Callable[..., RemoteDataSource]) -> None:
    """At most as many as configured, in the order of the sequence; closing gives them back."""
    client, other = connect({"prefetch": 3}), connect({"prefetch": 3})
    served = [group_index for _ in range(4) for group_index in ids(client.get_samples(2))]
    assert served == list(range(8))
    wait_until(lambda: leased(other) == 11)
    client.close()
    assert ids(other.get_samples(8)) == list(range(8))


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
    assert sum(counts[name]["trained"] for name in SIZES) == 7


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
    assert sum(counts[name]["trained"] for name in SIZES) == 3


def test_a_second_service_of_one_folder_is_refused(
    connect: Callable[..., RemoteDataSource],
) -> None:
    """In another namespace it has the same files."""
    connect()
    with pytest.raises(CurriculumLearningError, match="another service of this name and folder"):
        connect({"namespace": "other"})


def test_settings_must_be_alike(connect: Callable[..., RemoteDataSource]) -> None:
    """Of its own a client may have ``prefetch`` only."""
    connect({"max_leased_groups": 10})
    connect({"max_leased_groups": 10, "prefetch": 2})
    with pytest.raises(ConfigurationError, match=r"max_leased_groups: 20 here, 10 there"):
        connect({"max_leased_groups": 20})


def test_an_interrupted_draw_leaks_no_lease(connect: Callable[..., RemoteDataSource]) -> None:
    """A coroutine is cancelled at any time, or the user interrupts."""
    client = connect({"max_leased_groups": 4})

    async def cancelled(seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            client.observe(
                await asyncio.wait_for(client.get_samples_async(3), seconds), fate="trained"
            )

    for wait in (0.0, 0.0003, 0.001, 0.002, 0.005):
        asyncio.run(cancelled(wait))
        client.observe(client.get_samples(3), fate="trained")
    groups = client.get_samples(3)
    asyncio.run(cancelled(0.3))
    with pytest.raises(KeyboardInterrupt), alarm(0.3):
        client.get_samples(2)
    assert leased(client) == 3
    client.observe(groups, fate="trained")
    groups = client.get_samples(4)
    client.observe(groups, fate="trained")
    assert leased(client) == 0
    assert client.service_status()[""]["settled"] == max(ids(groups)) + 1


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Interrupt, as a user does."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Stopped:
    """A worker that holds groups ready."""

    def __init__(self, args: Any) -> None:
        self.source = RemoteDataSource(args)

    def draw(self) -> tuple[int, list[int]]:
        """Its process, and groups."""
        return os.getpid(), ids(self.source.get_samples(1))


def test_a_stopped_client_does_not_hand_out_what_others_have(
    connect: Callable[..., RemoteDataSource],
) -> None:
    """What it held ready is given back before it draws."""
    settings = {"lease_timeout": 3.0, "prefetch": 3}
    other = connect({"lease_timeout": 3.0})
    client = connect(settings)
    worker = ray.remote(Stopped).options(num_cpus=0).remote(client.args)
    pid, first = ray.get(worker.draw.remote())
    wait_until(lambda: leased(other) == 4)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: leased(other) == 0)
    groups = other.get_samples(4)
    assert set(first) < set(ids(groups))
    os.kill(pid, signal.SIGCONT)
    assert ray.get(worker.draw.remote())[1] == [4]


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


def test_errors_that_are_handled_poison_nothing(connect: Callable[..., RemoteDataSource]) -> None:
    """A thread that goes on after a late answer has handled it."""
    client = connect()

    def work() -> None:
        groups = client.get_samples(2)
        client.observe(groups, fate="trained")
        with contextlib.suppress(GroupError):
            client.observe(groups, fate="trained")
        client.observe(client.get_samples(1), rollout_id=0, fate="trained")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    client.save(0)


def test_closing_and_loading_give_back_what_was_fetched_ahead(
    connect: Callable[..., RemoteDataSource],
) -> None:
    """It is served to others."""
    client, other = connect({"prefetch": 3}), connect()
    client.observe(client.get_samples(1), rollout_id=0, fate="trained")
    client.save(0)
    wait_until(lambda: leased(other) == 3)
    client.load(0)
    assert leased(other) == 0
    assert ids(client.get_samples(1)) == [1]
    wait_until(lambda: leased(other) == 4)
    client.close()
    assert ids(other.get_samples(4)) == [1, 2, 3, 4]


def test_prompts_of_the_engine(connect: Callable[..., RemoteDataSource]) -> None:
    """With ``rollout_global_dataset: false`` the service gives ids, and takes groups back."""
    client = connect(rollout_global_dataset=False)
    groups = client.get_samples(3)
    assert [sample.index for group in groups for sample in group] == [*range(6)]
    assert client.dataset is None
    client.add_samples([interrupt(groups[1])])
    client.observe([groups[0], groups[2]], rollout_id=0, fate="trained")
    os.kill(service_pid(client), signal.SIGKILL)
    again = client.get_samples(2)
    assert ids(again) == [1, 3]
    assert again[0][0].response == "xxx"
    client.save(0)
    client.load(0)


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
    args = {**vars(arguments(tmp_path, SIZES)), "save": None}
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


def test_the_hooks_of_slime_find_the_client(connect: Callable[..., RemoteDataSource]) -> None:
    """A synchronous rollout is accounted for: trained, discarded, and finished without room."""
    logged: list[dict[str, float]] = []
    client = connect(
        custom_rollout_log_function_path="curriculum_learning.custom_log.custom_rollout_log_function",
        rollout_all_samples_process_path="curriculum_learning.custom_log.process_all_samples",
        data_source_metrics_callback=lambda metrics, rollout_id: logged.append(metrics),
        partial_rollout=True,
    )
    groups = client.get_samples(6)
    for group in groups[:5]:
        for sample in group:
            sample.status, sample.response = type(sample).Status.COMPLETED, "done"
    process_all_samples(client.args, groups[:5], client.get_samples)
    samples = [sample for group in groups[:4] for sample in group]
    custom_rollout_log_function(0, client.args, samples, {}, 1.0)
    assert client.rollout_step == 1
    assert leased(client) == 0
    again = client.get_samples(3)
    assert sorted(ids(again)[:2]) == [4, 5]
    assert {group[0].response for group in again} == {"done", ""}
    assert logged[0]["rollout/math/trained"] + logged[0]["rollout/code/trained"] == 4
    assert logged[0]["rollout/ray_service/settled"] == 4


def test_nothing_is_lost_over_kills(cluster: Any, tmp_path: Path) -> None:
    """A small run of ``python -m tests.with_ray.kills``."""
    found = campaign(tmp_path, clients=3, groups=60, worker_kills=2, service_kills=1, seed=1)
    assert found["problems"] == []
    assert found["worker kills"] == 2
    assert found["settled"] >= 180
