"""Requests and files that no client of ours makes, and what others see of them."""

from __future__ import annotations

import sqlite3
import threading
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from curriculum_learning.config.plan import ServicePlan
from curriculum_learning.errors import CheckpointError, DataError, GroupError
from curriculum_learning.groups.fates import Outcome
from curriculum_learning.samples.codec import encode_group
from curriculum_learning.samples.sample import flatten
from curriculum_learning.service.actor import ServiceActor
from curriculum_learning.service.database import Changes, Database
from curriculum_learning.service.messages import Fate, Settle, told
from curriculum_learning.state.files import states_in
from tests.harness import arguments, interrupt
from tests.service.clients import SIZES, Client, Service, ids, leases_of, make_actor


def test_an_odd_error_of_the_database_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request in the same transaction fails too, and can be made again."""
    service = Service(tmp_path)
    first, odd, other = (Client(service, name) for name in "abc")
    groups, others = odd.draw(2), other.draw(2)
    store = service.actor._service.database
    assert store is not None
    write, begun, go_on = store.write, threading.Event(), threading.Event()

    def slow(changes: Changes) -> None:
        begun.set()
        go_on.wait(60)
        if len(changes.rows["clients"]) > 1:
            changes.put("groups", 2**70, b"")  # SQLite cannot hold the number
        write(changes)

    monkeypatch.setattr(store, "write", slow)
    errors: list[BaseException] = []

    def settle(client: Client, settled: list[list[object]], rollout_id: int | None) -> None:
        try:
            client.settle(settled, rollout_id)
        except CheckpointError as error:
            errors.append(error)

    threads = [threading.Thread(target=first.draw, args=(1,), daemon=True)]
    threads[0].start()
    begun.wait(60)
    for client, settled, rollout_id in ((odd, groups, 0), (other, others, None)):
        threads.append(
            threading.Thread(target=settle, args=(client, settled, rollout_id), daemon=True)
        )
        threads[-1].start()
    while len(service.actor._service.account.changes.rows.get("clients", {})) < 2:
        pass
    go_on.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert len(errors) == 2
    other.settle(others)
    assert leases_of(service) == {"a": [4], "b": [0, 1], "c": []}


def test_a_group_that_is_given_up_twice_waits_once(tmp_path: Path) -> None:
    """A sample may have lost its lease: the group is named under two leases, then."""
    service = Service(tmp_path)
    client = Client(service, "a")
    groups = client.draw(2)
    del groups[0][1].metadata["data_source_lease"]
    client.give_up(groups)
    assert service.actor.figure("get_buffer_length") == 2
    assert ids(client.draw(3)) == [0, 1, 2]


def test_a_group_has_one_fate(tmp_path: Path) -> None:
    """What is reported with two, or ends no rollout, is refused, and changes nothing."""
    service = Service(tmp_path)
    client = Client(service, "a")
    groups = client.draw(3)
    trained = told(flatten(groups[:1]), rewards=False)
    odd: list[tuple[Fate, int | None, Outcome]] = [
        ("trained", 0, Outcome([], {}, [0])),
        ("trained", 0, Outcome([], {}, [1, 1])),
        ("trained", 0, Outcome([2], {2: None}, [])),
        ("finished", None, Outcome([1], {}, [2])),
    ]
    for fate, rollout_id, outcome in odd:
        with pytest.raises(GroupError, match="observe"):
            client.ask(Settle(fate, rollout_id, trained, outcome))
    assert leases_of(service) == {"a": [0, 1, 2]}
    assert service.actor.figure("get_buffer_length") == 0


def test_a_returned_group_without_samples_is_refused(tmp_path: Path) -> None:
    """Also where an engine returns it as a surplus."""
    service = Service(tmp_path)
    client = Client(service, "a")
    trained = told(flatten(client.draw(2)[:1]), rewards=False)
    with pytest.raises(GroupError, match="sample"):
        client.ask(Settle("trained", 0, trained, Outcome([], {1: encode_group([])}, [])))
    assert leases_of(service) == {"a": [0, 1]}


def fractions(index: int) -> dict[str, Any]:
    """Rows of which the 65th has metadata that is no plain data: the first 64 are checked."""
    return {"input": "a half", "metadata": {"half": Fraction(1, 2) if index == 64 else 0.5}}


def test_a_row_that_cannot_be_sent_is_leased_to_nobody(tmp_path: Path) -> None:
    """The error names the source."""
    rows = "tests.service.test_odd_requests.fractions"
    service = Service(tmp_path, prompt_data=[rows], data_source_weights=[1.0])
    client = Client(service, "a")
    client.settle(client.draw(63))
    with pytest.raises(DataError, match=r"fractions.*Fraction"):
        client.draw(2)
    assert leases_of(service) == {"a": []}


def test_a_dead_client_whose_groups_cannot_be_served_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so."""
    service = Service(tmp_path)
    clients = [Client(service, name) for name in "abc"]
    for client in clients:
        client.draw(1)
        service.actor._service.leases.clients[client.name].heard -= 601
    end = service.actor._service.end

    def failing(name: str, how: str) -> int:
        if name == "b":
            raise CheckpointError("a row cannot be read")
        return end(name, how)

    monkeypatch.setattr(service.actor._service, "end", failing)
    service.actor._end_silent(600.0)
    assert leases_of(service) == {"a": [], "b": [1], "c": []}
    assert "the groups of client b cannot be served again" in caplog.text


def test_a_group_without_metadata_comes_back(tmp_path: Path) -> None:
    """Engines whose prompts are their own may have none."""
    service = Service(tmp_path, rollout_global_dataset=False)
    client = Client(service, "a")
    group = interrupt(client.draw(1)[0])
    for sample in flatten(group):
        sample.metadata = None
    client.give_back([group])
    (again,) = client.draw(1)
    assert ids([again]) == [0]
    assert again[0].metadata["data_source_lease"] > 0


def test_a_flipped_bit_of_the_run_begins_nothing_anew(tmp_path: Path) -> None:
    """The count beside the database names the run."""
    path, run = tmp_path / "x.sqlite", "session/namespace/a name"
    store = Database(path, run, {"numbers": int}, False)
    store.write(Changes())
    store.close()
    data = bytearray(path.read_bytes())
    data[data.rfind(run.encode()) + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged: its run"):
        Database(path, run, {"numbers": int}, False)
    assert not [*tmp_path.glob("*.aside")]


def test_a_file_that_cannot_be_locked_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another service may be alive on it."""
    path = tmp_path / "x.sqlite"
    Database(path, "first", {"numbers": int}, False).close()
    real = sqlite3.connect

    def connect(*args: Any, **options: Any) -> SimpleNamespace:
        connection = real(*args, **options)

        def execute(text: str) -> object:
            if text.startswith("BEGIN"):
                raise sqlite3.OperationalError("disk I/O error")
            return connection.execute(text)

        return SimpleNamespace(execute=execute, close=connection.close)

    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.raises(CheckpointError, match="disk I/O error"):
        Database(path, "second", {"numbers": int}, False)
    assert not [*tmp_path.glob("*.aside")]


@pytest.mark.parametrize("rollout_id", [None, -1])
@pytest.mark.parametrize("is_killed", [False, True])
def test_a_run_begins_beside_the_autosaves_of_one_that_died(
    tmp_path: Path, rollout_id: int | None, is_killed: bool
) -> None:
    """As a data source does that loads, finds nothing saved, and begins anew."""
    args = arguments(tmp_path, SIZES, save=str(tmp_path / "save"))
    for run in ("first", "second"):
        client = Client(started(args, run), run)
        client.load(rollout_id)
        groups = client.draw(3)
        assert ids(groups) == [0, 1, 2]
        if is_killed:
            ended(client.service.actor)
            client.service = started(args, run)
        client.settle(groups, rollout_id=0)
        ended(client.service.actor)


def test_what_a_loaded_state_supersedes_is_superseded_after_a_kill(tmp_path: Path) -> None:
    """But not what was saved since."""
    args = arguments(tmp_path, SIZES, save=str(tmp_path / "save"), autosave=False)
    client = Client(started(args, "run"), "a")
    for rollout_id in range(3):
        client.settle(client.draw(2), rollout_id)
        client.service.actor.save(rollout_id)
    client.load(0)
    for rollout_id, before, after in ((1, [0, 1, 2], [0, 1]), (2, [0, 1], [0, 1, 2])):
        ended(client.service.actor)
        client.service = started(args, "run")
        assert rollouts_saved(tmp_path / "save") == before
        client.settle(client.draw(2), rollout_id)
        client.service.actor.save(rollout_id)
        assert rollouts_saved(tmp_path / "save") == after


def test_a_lease_that_went_through_an_array_counts(tmp_path: Path) -> None:
    """Whoever reports, and for a report that comes too late."""
    service = Service(tmp_path)
    client, other = Client(service, "a"), Client(service, "b")
    old = client.draw(2)
    for sample in flatten(old):
        sample.metadata["data_source_lease"] = np.int64(sample.metadata["data_source_lease"])
    other.settle(old[:1])
    client.give_up(old[1:])
    assert ids(client.draw(1)) == ids(old[1:])
    with pytest.raises(GroupError, match="not leased"):
        client.settle(old[1:])
    assert service.counts("trained") == 1


@pytest.mark.parametrize("number", [-1, 2**63, 2**70])
@pytest.mark.parametrize("what", ["group", "lease"])
def test_ids_that_no_service_hands_out_are_named(number: int, what: str) -> None:
    """They cannot even be sent."""
    sample = SimpleNamespace(group_index=1, metadata={"data_source_lease": 2})
    if what == "group":
        sample.group_index = number
    else:
        sample.metadata["data_source_lease"] = number
    with pytest.raises(GroupError, match=f" {number}") as caught:
        told([sample], rewards=False)
    assert caught.value.value == [number]


def started(args: Any, run: str) -> Service:
    """A service on files that are there already."""
    service = Service.__new__(Service)
    service.actor = make_actor(args, run, ServicePlan())
    return service


def ended(actor: ServiceActor) -> None:
    """Releases its files, as a kill does."""
    actor._service.close()
    assert actor._service.database is not None
    actor._service.database.close()


def rollouts_saved(folder: Path) -> list[int]:
    """The rollouts whose states lie in a folder."""
    return sorted(state.rollout_id for state in states_in(folder))
