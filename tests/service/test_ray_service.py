from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import as_data, data_source, interrupt

ray = pytest.importorskip("ray")

from curriculum_learning.custom_log import (  # noqa: E402
    custom_rollout_log_function,
    process_all_samples,
)
from curriculum_learning.errors import (  # noqa: E402
    CheckpointError,
    ConfigurationError,
    DataError,
    GroupError,
)
from curriculum_learning.ray_service import RemoteDataSource  # noqa: E402
from curriculum_learning.service.draws import Draws  # noqa: E402
from curriculum_learning.service.messages import (  # noqa: E402
    Cancel,
    GiveUp,
    Request,
    decode_request,
)
from tests.service.clients import RAY_SIZES, ids, leased, wait_until  # noqa: E402
from tests.with_ray.kills import service_pid  # noqa: E402


def test_clients_draw_from_one_sequence(
    connect: Callable[..., RemoteDataSource], tmp_path: Path
) -> None:
    """Together they are served what one data source serves, but for the number of the lease."""
    expected = as_data(data_source(tmp_path, RAY_SIZES, save=None).get_samples(12))
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
    with pytest.raises(ConfigurationError, match=r"data_source_weights: \[1, 3\] here") as error:
        connect(data_source_weights=[1.0, 3.0], rollout_seed=1)
    assert error.value.value == ["data_source_weights", "seed"]
    with pytest.raises(ConfigurationError, match=r"ray_service.lease_timeout \('1'\) must be"):
        connect({"lease_timeout": "1"})


def test_a_service_that_cannot_start_says_why(connect: Callable[..., RemoteDataSource]) -> None:
    """With the error of the data source, not the traceback of an actor."""
    with pytest.raises(DataError, match=r"^the service '.*' cannot start: source 'math', .*\]$"):
        connect(input_key="question")


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


def test_a_client_whose_groups_others_report_forgets_them(
    connect: Callable[..., RemoteDataSource],
) -> None:
    """What it knows of them does not grow with the run."""
    client, other = connect({"max_leased_groups": 4}), connect({"max_leased_groups": 4})
    kept = client.get_samples(1)
    for _ in range(10):
        other.observe(client.get_samples(3), fate="trained")
    assert len(client._held) <= 9 + 3
    assert client.recognises(kept[0][0])
    client.observe(kept, fate="trained")


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


@pytest.mark.parametrize("place", ["_groups_of", "_fetch_ahead"])
def test_an_answer_whose_reading_is_interrupted_leaks_no_lease(
    connect: Callable[..., RemoteDataSource], place: str
) -> None:
    """It is taken back, and nothing that was held ready is served twice."""
    client = connect({"prefetch": 3})
    real, trained = getattr(Draws, place), []

    def interrupted(*args: Any) -> None:
        real(*args)
        raise KeyboardInterrupt

    for _ in range(3):
        groups = client.get_samples(2)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Draws, place, interrupted)
            with pytest.raises(KeyboardInterrupt):
                client.get_samples(4)
        groups += client.get_samples(5)
        client.observe(groups, fate="trained")
        trained += ids(groups)
        wait_until(lambda: leased(client) == 3)
    client.close()
    rest = ids(connect().get_samples(30))
    assert sorted(trained + rest) == [*range(len(trained) + 30)]


class Refusing:
    """A method of the actor that fails once for a kind of request, as on a full disk."""

    def __init__(self, method: Any, kind: type[Request]) -> None:
        self._method, self._kind, self.refused = method, kind, 0

    def remote(self, data: bytes) -> Any:
        """Calls it, or an error."""
        if isinstance(decode_request(data).request, self._kind) and not self.refused:
            self.refused += 1
            return ray.remote(num_cpus=0)(refuse).remote()
        return self._method.remote(data)


def refuse() -> None:
    """What a service raises that cannot write."""
    raise CheckpointError("the disk is full")


def test_a_cancel_that_fails_is_sent_again(connect: Callable[..., RemoteDataSource]) -> None:
    """Else the groups of a draw that nobody waits for are leased for good."""
    client = connect({"max_leased_groups": 4, "lease_timeout": 5.0})
    methods = client._channel._methods
    methods[False] = refusing = Refusing(methods[False], Cancel)
    groups = client.get_samples(3)
    with contextlib.suppress(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(client.get_samples_async(2), 0.3))
    wait_until(lambda: refusing.refused)
    client.observe(groups, fate="trained")
    wait_until(lambda: not client._channel._cancelled)
    assert leased(client) == 0
    assert ids(client.get_samples(4)) == [3, 4, 5, 6]


def test_what_cannot_be_given_back_is_kept(connect: Callable[..., RemoteDataSource]) -> None:
    """What was fetched ahead of a load that fails comes next."""
    client = connect({"prefetch": 3})
    client.get_samples(1)
    wait_until(lambda: leased(client) == 4)
    client.get_samples(1)  # those that were coming are ready
    methods = client._channel._methods
    methods[False] = Refusing(methods[False], GiveUp)
    with pytest.raises(CheckpointError, match="the disk is full"):
        client.load()
    wait_until(lambda: not client._channel._cancelled)
    assert ids(client.get_samples(5)) == [2, 3, 4, 5, 6]


def test_a_draw_above_the_limit_is_refused_at_once(
    connect: Callable[..., RemoteDataSource],
) -> None:
    """Also if some groups are ready: with them it would fit never."""
    client = connect({"max_leased_groups": 4, "prefetch": 3})
    client.get_samples(1)
    wait_until(lambda: leased(client) == 4)
    with pytest.raises(GroupError, match=r"at most ray_service\.max_leased_groups \(4\)"):
        client.get_samples(5)
    assert ids(client.get_samples(3)) == [1, 2, 3]


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
