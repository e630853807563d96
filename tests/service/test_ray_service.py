from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import as_data, data_source, interrupt

ray = pytest.importorskip("ray")

from curriculum_learning.custom_log import (  # noqa: E402
    custom_rollout_log_function,
    process_all_samples,
)
from curriculum_learning.errors import (  # noqa: E402
    ConfigurationError,
    DataError,
    GroupError,
)
from curriculum_learning.ray_service import RemoteDataSource  # noqa: E402
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
