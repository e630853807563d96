"""The service as an actor: calls on many threads, group commit, the ends of clients."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from curriculum_learning.config.plan import ServicePlan
from curriculum_learning.errors import ConfigurationError, CurriculumLearningError, GroupError
from curriculum_learning.service.database import Database, NotWrittenError
from curriculum_learning.service.description import refuse_other
from curriculum_learning.service.messages import Draw, Numbered, decode_request
from curriculum_learning.service.restored import TABLES
from curriculum_learning.service.served import ServedDataSource
from curriculum_learning.service.service import Service

logger = logging.getLogger(__name__)

_FIGURES = ("rollout_step", "source_status", "source_counts", "get_buffer_length", "get_metadata")
_FORGOTTEN = 60
"""Lease timeouts after which a silent client is forgotten."""


class ServiceActor:
    """One data source for many clients. All methods may be called from any thread.

    Args:
        args: What the data source is made from.
        texts: What all clients must have alike.
        run: Identifies the run, over restarts of the actor.
        config: The keys of ``ray_service``.

    Raises:
        CurriculumLearningError: As the data source; or the database is damaged or in use.
    """

    def __init__(self, args: Any, texts: dict[str, str], run: str, config: ServicePlan) -> None:
        self._texts = texts
        self._config = config
        source = ServedDataSource(args)
        self._database: Database | None = None
        if source.config.save is None:
            run += uuid.uuid4().hex  # the next one will not go on from this one
        else:
            path = source.config.save / "ray_service" / f"{config.name}.sqlite"
            self._database = Database(path, run, TABLES, config.resume)
        self._service = Service(source, config, run, self._database)
        self._lock = threading.RLock()
        """Held while a request is carried out; where both are held, ``_committing`` comes first."""
        self._rooms: dict[str, threading.Condition] = {}
        """Of the clients that wait for room."""
        self._stays: dict[str, threading.Event] = {}
        self._committing = threading.Lock()
        self._written = self._service.account.number
        """The last change in the database."""
        self._failures = 0
        """Transactions that failed."""
        self._failure = ""
        """What the latest of them failed of."""
        self._is_stale = False
        """The service is not as the database says; it goes back before the next change."""
        threading.Thread(
            target=self._expire, name="curriculum_learning leases", daemon=True
        ).start()

    # Clients

    def connect(self, client: str, label: str, texts: dict[str, str]) -> int:
        """A client begins; returns the number of rows.

        Raises:
            ConfigurationError: It has another configuration.
        """
        refuse_other(self._texts, texts, self._config.name)
        with self._changing() as service:
            service.connect(client, label)
        return len(self._service.source)

    def heartbeat(self, client: str, done: int) -> None:
        """A client lives, and has the answers to all requests below ``done``."""
        with self._lock, contextlib.suppress(GroupError):
            self._service.leases.hear(client, time.monotonic(), done)

    def stay(self, client: str) -> None:
        """Returns when a client has ended; see ``watch``."""
        with self._lock:
            if client not in self._service.leases.clients:
                return
            ended = self._stays.setdefault(client, threading.Event())
        ended.wait()

    def watch(self, client: str, stay: list[Any]) -> None:
        """Waits for the end of a client.

        Args:
            client: The client.
            stay: The reference to what ``stay`` will return. The client owns it: if its process or
                node dies, Ray tells whoever waits for it.
        """
        import ray

        try:
            ray.get(stay[0])
        except ray.exceptions.OwnerDiedError:
            logger.info("client %s is dead", client)
            self.disconnect(client)

    def disconnect(self, client: str) -> None:
        """A client has ended: what it held is served again first."""
        with self._changing() as service:
            service.end(client, "given_up")
        self._rooms.pop(client, None)
        if (ended := self._stays.pop(client, None)) is not None:
            ended.set()

    def _expire(self) -> None:
        """Ends the leases of clients that are silent, again and again."""
        timeout = self._config.lease_timeout
        pause = timeout / 20
        while True:
            begun = time.monotonic()
            time.sleep(pause)
            if time.monotonic() - begun > pause + timeout / 4:
                continue  # this process was held up: heartbeats that wait are heard first
            try:
                self._end_silent(timeout)
            except Exception:
                logger.exception("the leases of silent clients were not ended")

    def _end_silent(self, timeout: float) -> None:
        now, leases = time.monotonic(), self._service.leases
        with self._lock:
            expired = [client for client in leases.silent(now, timeout) if leases.held(client)]
            forgotten = leases.silent(now, _FORGOTTEN * timeout)
        for client in expired:
            with self._changing() as service:
                count = service.end(client, "expired")
            logger.warning(
                "client %s was not heard for %g s: its %d groups are served again",
                client, timeout, count,
            )  # fmt: skip
        for client in forgotten:
            self.disconnect(client)

    # Requests

    def request(self, data: bytes) -> bytes:
        """Carries out an encoded ``Numbered``, or answers it again; see ``Service.carry_out``.

        Raises:
            GroupError: It has waited for room for ``draw_timeout``.
            CheckpointError: The database cannot be written; nothing has changed then.
        """
        message = decode_request(data)
        begun = time.monotonic()
        while (answer := self._carried_out(message)) is None:
            self._wait_for_room(message, begun)
        return answer

    def _carried_out(self, message: Numbered) -> bytes | None:
        try:
            with self._changing() as service:
                return service.carry_out(message)
        except NotWrittenError:
            with self._current() as service:  # it went back: what counts is in the database
                client = service.leases.clients.get(message.client)
                if client is not None and message.number in client.answers:
                    return service.carry_out(message)
            raise

    def _wait_for_room(self, message: Numbered, begun: float) -> None:
        """Waits until the client of a draw has room, or the draw is of no use any more."""
        assert isinstance(message.request, Draw)
        config = self._config
        with self._lock:
            client = self._service.leases.clients.get(message.client)
            if client is None:
                return
            room = self._rooms.setdefault(message.client, threading.Condition(self._lock))
            client.waits += 1
            now = time.monotonic()
            while self._service.must_wait(message):
                held, left = len(client.groups), begun + config.draw_timeout - now
                if left <= 0:
                    raise GroupError(
                        f"get_samples waited {config.draw_timeout:g} s for room: this client holds "
                        f"{held} groups of at most {config.max_leased_groups}; report what has "
                        f"become of them, or raise ray_service.max_leased_groups",
                        key="max_leased_groups",
                        value=held,
                    )
                room.wait(left)
                waited, now = time.monotonic() - now, time.monotonic()
                client.waited += waited

    @contextlib.contextmanager
    def _current(self) -> Iterator[Service]:
        """Gives the service, as the database has it, to one thread at a time."""
        self._lock.acquire()
        while self._is_stale:
            self._lock.release()
            self._go_back()
            self._lock.acquire()
        try:
            yield self._service
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Service]:
        """Gives the service for a change; returns when the change is in the database."""
        with self._current() as service:
            try:
                yield service
            except BaseException as error:
                refused = isinstance(error, CurriculumLearningError)
                is_whole = refused and service.account.is_current()
                self._is_stale = self._database is not None and not is_whole
                raise
            finally:
                for client in service.leases.freed:
                    if (room := self._rooms.get(client)) is not None:
                        room.notify_all()
                service.leases.freed.clear()
            failures, number = self._failures, service.account.number
        with self._committing:  # one thread writes for all that wait here
            if self._failures != failures:
                raise NotWrittenError(self._failure, key="save")
            if self._written < number:
                self._write()

    def _write(self) -> None:
        """Writes all changes so far in one transaction; ``_committing`` is held.

        Raises:
            NotWrittenError: It failed; the service goes back before the next change.
        """
        with self._lock:
            changes, number = self._service.account.take(), self._service.account.number
        try:
            if self._database is not None and changes:
                self._database.write(changes)
        except NotWrittenError as error:
            with self._lock:
                self._failures, self._failure = self._failures + 1, str(error)
                self._is_stale = True
                self._service.account.take()  # made on top of what is lost
            raise
        self._written = number

    def _go_back(self) -> None:
        """Goes back to what is in the database, as after a kill; raises CheckpointError."""
        with self._committing, self._lock:
            if self._is_stale:
                assert self._database is not None
                self._write()  # what others have changed before a request was refused
                self._database.reopen()
                self._service.account.restore()
                self._written = self._service.account.number
                self._is_stale = False

    # Figures

    def save(self, rollout_id: int) -> None:
        """Writes the state of a rollout, as the data source does."""
        self._service.source.save(rollout_id)

    def figure(self, what: str) -> Any:
        """A property of the data source, or the result of a method without arguments."""
        if what not in _FIGURES:
            raise ConfigurationError(f"the service has no figure {what!r}", key="figure")
        with self._current() as service:
            value = getattr(service.source, what)
            return value() if callable(value) else value

    def service_status(self) -> dict[str, dict[str, float]]:
        """Figures of the service (under "") and of each client; see the client's method."""
        with self._current() as service:
            leases = service.leases
            clients = leases.status(time.monotonic())
            total = {
                "clients": len(clients),
                "leased": len(leases),
                "lease_age/max": max((c["lease_age/max"] for c in clients.values()), default=0.0),
                "waits": sum(client["waits"] for client in clients.values()),
                "late": leases.late,
                "set_aside": 0 if self._database is None else self._database.set_aside,
                **{
                    how: leases.counts[how]
                    for how in ("settled", "returned", "given_up", "expired")
                },
            }
            return {"": total, **clients}
