"""What is refused, or tried again, while transactions fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning.errors import CheckpointError, GroupError
from curriculum_learning.service import actor as actor_module
from curriculum_learning.service.database import Changes, NotWrittenError
from curriculum_learning.service.messages import Cancel
from curriculum_learning.state.files import states_in
from tests.harness import interrupt
from tests.service.clients import Client, Service, ids, leases_of


class FullDisk:
    """A disk on which the next transaction waits, and then fails.

    Args:
        service: The service.
        monkeypatch: Puts it in the place of ``write``.
    """

    def __init__(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        store = service.actor._service.database
        assert store is not None
        self._write = store.write
        self._begun, self._goes_on, self._failed = threading.Event(), threading.Event(), False
        monkeypatch.setattr(store, "write", self.write)

    def write(self, changes: Changes) -> None:
        """Fails once."""
        if not self._failed:
            self._begun.set()
            self._goes_on.wait(60)
            self._failed = True
            raise NotWrittenError("the disk is full")
        self._write(changes)

    def outcomes(self, first: Callable[[], Any], second: Callable[[], Any]) -> list[type | None]:
        """The errors of two calls, of which the second begins while the first is written."""
        errors: list[type | None] = [None, None]

        def call(place: int, function: Callable[[], Any]) -> None:
            try:
                function()
            except Exception as error:
                errors[place] = type(error)

        calls = [
            threading.Thread(target=call, args=(place, function), daemon=True)
            for place, function in enumerate((first, second))
        ]
        calls[0].start()
        assert self._begun.wait(60)
        calls[1].start()
        time.sleep(0.2)  # it is refused, and must wait to know why
        assert calls[1].is_alive()
        self._goes_on.set()
        for thread in calls:
            thread.join(60)
            assert not thread.is_alive()
        return errors


def test_a_refusal_waits_for_what_it_rests_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report made twice, of which the first is not written: neither counts, and a third does."""
    service = Service(tmp_path)
    client = Client(service, "a")
    groups = client.draw(2)
    disk = FullDisk(service, monkeypatch)
    errors = disk.outcomes(lambda: client.settle(groups), lambda: client.settle(groups))
    assert errors == [NotWrittenError, NotWrittenError]
    assert leases_of(service) == {"a": [0, 1]}
    client.settle(groups)
    with pytest.raises(GroupError, match="not leased"):
        client.settle(groups)
    assert service.counts("trained") == 2


def test_a_cancel_that_is_sent_twice_is_done_or_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the client thinks that the groups were taken back."""
    service = Service(tmp_path)
    client = Client(service, "a")
    client.draw(2)
    client.number = 0  # it has not had the answer
    cancels = [client.encoded(Cancel(0), number) for number in (5, 6)]
    disk = FullDisk(service, monkeypatch)
    request = service.actor.request
    errors = disk.outcomes(lambda: request(cancels[0]), lambda: request(cancels[1]))
    assert errors == [NotWrittenError, NotWrittenError]
    assert leases_of(service) == {"a": [0, 1]}


def test_a_client_that_died_while_the_disk_was_full_is_ended_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as there is room, and not when its leases end."""
    service = Service(tmp_path, {"lease_timeout": 3600.0})
    client, other = Client(service, "a"), Client(service, "b")
    client.draw(2)
    other.draw(1)
    service.actor.heartbeat("a", 1, [], ["the end of a"])
    store = service.actor._service.database
    assert store is not None
    write, failures = store.write, iter(range(2))

    def fail_twice(changes: Changes) -> None:
        for _ in failures:
            raise NotWrittenError("the disk is full")
        write(changes)

    class Ray:
        """Says that a client is dead."""

        @staticmethod
        def wait(stays: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
            return stays, []

    class EndOfTestError(BaseException):
        """Ends the thread that watches clients."""

    class Clock:
        """The time of the actor alone: other threads go on."""

        monotonic = staticmethod(time.monotonic)
        pauses = 0

        @classmethod
        def sleep(cls, _: float) -> None:
            cls.pauses += 1
            if cls.pauses > 3:
                raise EndOfTestError

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", fail_twice)
        patch.setattr(actor_module, "ray", Ray)
        patch.setattr(actor_module, "time", Clock)
        with pytest.raises(EndOfTestError):
            service.actor._watch()
    assert leases_of(service) == {"b": [2]}
    assert not service.actor._stays


def test_a_client_that_is_heard_while_others_are_ended_keeps_its_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gave up what it had when it came back, and has drawn others since."""
    service = Service(tmp_path, {"lease_timeout": 60.0})
    client, other = Client(service, "a"), Client(service, "b")
    client.draw(2)
    given_up, drawn = other.draw(2), []
    for name in "ab":
        service.actor._service.leases.clients[name].heard -= 61.0
    end = service.actor._service.end

    def end_first(name: str, how: str) -> int:
        service.actor._service.leases.clients["b"].heard = time.monotonic()
        return end(name, how)

    monkeypatch.setattr(service.actor._service, "end", end_first)
    service.actor._end_silent(60.0)
    other.give_up(given_up)
    drawn = other.draw(2)
    other.settle(drawn)
    assert leases_of(service) == {"a": [], "b": []}


def test_a_client_that_cannot_be_ended_makes_no_other_wait_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service goes back to its database, but knows when it has heard the others."""
    service = Service(tmp_path)
    for name in "ab":
        Client(service, name).draw(1)
    service.actor._service.leases.clients["b"].heard -= 100.0
    FullDisk(service, monkeypatch)._goes_on.set()
    with pytest.raises(CheckpointError):
        service.actor.disconnect("a")
    status = service.actor.service_status()
    assert [status[name]["leased"] for name in ("label/a", "label/b")] == [1, 1]
    assert status["label/b"]["silent"] >= 100.0


def test_a_rollout_is_autosaved_when_the_database_has_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one whose report was refused."""
    service = Service(tmp_path)
    client = Client(service, "a")
    groups = client.draw(3)
    client.settle(groups[:1], 0)
    FullDisk(service, monkeypatch)._goes_on.set()
    with pytest.raises(CheckpointError):
        client.settle(groups[1:], 1)
    service.actor._service._states.finish_writing()
    assert [state.rollout_id for state in states_in(service.save)] == [0]
    client.settle(groups[1:], 1)
    service.actor._service._states.finish_writing()
    assert sorted(state.rollout_id for state in states_in(service.save)) == [0, 1]


def test_a_database_that_cannot_be_read_at_once_loses_no_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollout that has ended still has the groups that had begun, though none has now."""
    service = Service(tmp_path, autosave=False, load=None)
    client = Client(service, "a")
    groups = client.draw(2)
    client.give_back([interrupt(groups[1])])
    client.settle(groups[:1], 0)
    client.settle(client.draw(1, 1))
    store = service.actor._service.database
    assert store is not None
    read, failures = store.read, iter(range(1))

    def fail_once(table: str) -> Any:
        for _ in failures:
            raise CheckpointError("the disk cannot be read")
        return read(table)

    FullDisk(service, monkeypatch)._goes_on.set()
    monkeypatch.setattr(store, "read", fail_once)
    with pytest.raises(CheckpointError, match="cannot be read"):
        client.draw(1)
    service.actor.save(0)
    service.actor.disconnect("a")
    client = Client(service, "b")
    client.load(0)
    (again,) = client.draw(1)
    assert (ids([again]), again[0].response) == ([1], "xxx")
