from __future__ import annotations

import contextlib
import itertools
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning.errors import CheckpointError
from curriculum_learning.samples.sample import flatten
from curriculum_learning.service.database import Changes, NotWrittenError
from curriculum_learning.service.messages import Draw, Request, Settle, told
from tests.service.clients import Client, Service, ids, leases_of, state_of


class Failing:
    """Lets transactions of a database fail, before or after they were written.

    Args:
        service: The service.
        monkeypatch: Puts it in the place of ``write``.
    """

    def __init__(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        assert service.actor._service.database is not None
        self._write = service.actor._service.database.write
        self.plan: Iterator[str] = itertools.repeat("well")
        monkeypatch.setattr(service.actor._service.database, "write", self.write)

    def write(self, changes: Changes) -> None:
        """As planned: ``well``, ``not at all``, or ``unheard``."""
        outcome = next(self.plan)
        if outcome != "not at all":
            self._write(changes)
        if outcome != "well":
            raise NotWrittenError("the disk is full")


def test_a_transaction_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups, leases and answers are as before; when there is room, the service goes on."""
    service = Service(tmp_path)
    client = Client(service, "a")
    groups = client.draw(4)
    failing = Failing(service, monkeypatch)
    before = state_of(service), leases_of(service)
    claims = told(flatten(groups), rewards=False)
    requests: list[Request] = [Draw(3, None), Settle("trained", 0, claims)]
    for number, request in enumerate(requests):
        failing.plan = iter(["not at all", *["well"] * 9])
        with pytest.raises(CheckpointError, match="the disk is full"):
            client.ask(request, 50 + number)
        assert (state_of(service), leases_of(service)) == before
    assert ids(client.draw(2)) == [4, 5]


def test_a_transaction_that_was_written_unheard_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk may fail after the data has reached it: the request is answered, then."""
    service = Service(tmp_path)
    client = Client(service, "a")
    Failing(service, monkeypatch).plan = itertools.cycle(["unheard", "well"])
    groups = client.draw(3)
    assert ids(groups) == [0, 1, 2]
    client.settle(groups)
    assert leases_of(service) == {"a": []}
    assert service.counts("trained") == 3


def test_requests_that_share_a_failing_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 clients at once, a third of the transactions fail: no group is lost or doubled."""
    service = Service(tmp_path)
    randomness = random.Random(0)
    outcomes = ["well", "well", "well", "well", "not at all", "unheard"]
    settled: list[int] = []

    def work(client: Client) -> None:
        for _ in range(30):
            groups = until_written(lambda: client.draw(2))
            until_written(lambda groups=groups: client.settle(groups))
            settled.extend(ids(groups))

    def until_written(call: Any) -> Any:
        while True:
            with contextlib.suppress(CheckpointError):
                return call()

    clients = [Client(service, str(number)) for number in range(8)]
    Failing(service, monkeypatch).plan = iter(lambda: randomness.choice(outcomes), None)
    threads = [threading.Thread(target=work, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [group for groups in leases_of(service).values() for group in groups]
    assert sorted(settled) == [*range(480)]
    assert held == []
    assert service.counts("trained") == 480


def test_what_is_settled_after_a_failure_survives_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction or the state of a rollout that could not be written takes nothing along."""
    service = Service(tmp_path)
    client = Client(service, "a")
    groups = client.draw(6)
    client.settle(groups[:2], rollout_id=0)
    service.actor._service._states.finish_writing()
    (service.save / "rollout").rename(tmp_path / "elsewhere")
    (service.save / "rollout").write_text("no folder", encoding="utf-8")
    with pytest.raises(CheckpointError):
        service.actor.save(0)
    client.settle(groups[2:4])
    with monkeypatch.context() as patched:
        Failing(service, patched).plan = iter(["not at all"])
        with pytest.raises(CheckpointError):
            client.settle(groups[4:])
    client.settle(groups[4:5])
    service.kill_and_restart()
    assert service.counts("trained") == 5
    assert leases_of(service) == {"a": [5]}
    (service.save / "rollout").unlink()
    service.actor.save(0)


def test_requests_that_arrive_together_share_a_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is written, those of 7 others gather; none is answered before it is written."""
    service = Service(tmp_path)
    clients = [Client(service, str(number)) for number in range(8)]
    assert service.actor._service.database is not None
    write, begun, goes_on = (
        service.actor._service.database.write,
        threading.Event(),
        threading.Event(),
    )
    written: list[int] = []
    answered: list[int] = []

    def slow(changes: Changes) -> None:
        begun.set()
        goes_on.wait()
        write(changes)
        written.append(len(changes.rows.get("groups", ())))

    monkeypatch.setattr(service.actor._service.database, "write", slow)
    threads = [
        threading.Thread(target=lambda one=client: answered.extend(ids(one.draw(2))))
        for client in clients
    ]
    threads[0].start()
    begun.wait()
    for thread in threads[1:]:
        thread.start()
    while len(service.actor._service.leases) < 16:
        pass
    assert not answered
    goes_on.set()
    for thread in threads:
        thread.join()
    assert written == [2, 14]
    assert sorted(answered) == [*range(16)]
