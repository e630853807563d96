"""The service as an actor: calls on many threads, group commit, the ends of clients."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import ray

from curriculum_learning.config.plan import ServicePlan
from curriculum_learning.errors import ConfigurationError, CurriculumLearningError, GroupError
from curriculum_learning.service.account import TABLES
from curriculum_learning.service.database import Database, NotWrittenError
from curriculum_learning.service.description import refuse_other
from curriculum_learning.service.messages import Numbered, decode_request
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
        self._texts, self._config = texts, config
        source = ServedDataSource(args)
        self._database: Database | None = None
        if source.config.save is None:
            run += uuid.uuid4().hex  # no other service continues this one
        else:
            path = source.config.save / "ray_service" / f"{config.name}.sqlite"
            self._database = Database(path, run, TABLES, config.resume)
        self._service = Service(source, config, run, self._database)
        self._lock = threading.RLock()
        """Held while a request is carried out; where both are held, ``_committing`` comes first."""
        self._committing = threading.Lock()
        self._is_stale = False
        """The service is not as the database says; it goes back before the next change."""
        self._ends: dict[str, threading.Event] = {}
        self._stays: dict[Any, str] = {}
        """Clients by the reference that tells of their end."""
        threading.Thread(target=self._watch, name="curriculum_learning leases", daemon=True).start()

    # Clients

    def connect(self, client: str, label: str, texts: dict[str, str]) -> int | None:
        """A client begins; returns the number of rows, None if they have no end.

        Raises:
            ConfigurationError: It has another configuration.
        """
        refuse_other(self._texts, texts, self._config.name)
        with self._changing() as service:
            service.connect(client, label)
        mixture = service.source.dataset
        return 0 if mixture is None else mixture.size

    def stay(self, client: str) -> None:
        """Returns when a client has ended."""
        with self._lock:
            if client not in self._service.leases.clients:
                return
            ended = self._ends.setdefault(client, threading.Event())
        ended.wait()

    def heartbeat(self, client: str, done: int, stay: list[Any]) -> None:
        """A client lives.

        Args:
            client: The client.
            done: It has the answers to all requests below this one.
            stay: The reference to what ``stay`` will return. The client owns it: if its process or
                node dies, Ray tells whoever waits for it.
        """
        with self._lock, contextlib.suppress(GroupError):
            self._service.leases.hear(client, time.monotonic(), done)
            self._stays.update(dict.fromkeys(stay, client))

    def disconnect(self, client: str) -> None:
        """A client has ended: what it held is served again first."""
        with self._changing() as service:
            service.end(client, "given_up")
        if (ended := self._ends.pop(client, None)) is not None:
            ended.set()

    def _watch(self) -> None:
        """Ends clients that are dead, and the leases of those that are silent, again and again."""
        timeout = self._config.lease_timeout
        pause = min(timeout / 20, 1.0)
        while True:
            begun = time.monotonic()
            try:
                if stays := list(self._stays):
                    for stay in ray.wait(stays, timeout=pause)[0]:
                        self.disconnect(self._stays[stay])
                        del self._stays[stay]
                else:
                    time.sleep(pause)
                # Else this process was held up: heartbeats that wait are heard first.
                if time.monotonic() - begun < pause + timeout / 4:
                    self._end_silent(timeout)
            except Exception:
                logger.exception("the leases of clients that are gone were not ended")
                time.sleep(pause)

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
        until = time.monotonic() + self._config.draw_timeout
        while (answer := self._carried_out(message)) is None:
            self._wait_for_room(message, until)
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

    def _wait_for_room(self, message: Numbered, until: float) -> None:
        """Waits until the client of a draw may have room, or the draw is of no use any more."""
        with self._current() as service:
            if not service.must_wait(message):
                return
            client, limit = service.leases.clients[message.client], self._config.max_leased_groups
            now, held = time.monotonic(), len(client.groups)
            if now >= until:
                raise GroupError(
                    f"get_samples waited {self._config.draw_timeout:g} s for room: this client "
                    f"holds {held} groups of at most {limit}; report them, give them back, or "
                    f"raise ray_service.max_leased_groups",
                    key="max_leased_groups",
                    value=held,
                )
            client.freed.clear()
            client.waits += 1
        client.freed.wait(until - now)
        client.waited += time.monotonic() - now

    @contextlib.contextmanager
    def _current(self) -> Iterator[Service]:
        """Gives the service, as the database has it, to one thread at a time."""
        while True:
            with self._lock:
                if not self._is_stale:
                    yield self._service
                    return
            self._go_back()

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
            changes = service.account.changes
        with self._committing:  # one thread writes for all that wait here
            if not changes.is_over:
                self._write()
        if (failure := changes.error) is not None:
            raise NotWrittenError(str(failure), key=failure.key, value=failure.value) from failure

    def _write(self) -> None:
        """Writes all changes so far in one transaction; ``_committing`` is held."""
        with self._lock:
            changes = self._service.account.take()
        try:
            if self._database is not None and changes.rows:
                self._database.write(changes)
        except NotWrittenError as error:
            with self._lock:
                self._is_stale = True
                lost = self._service.account.take()  # changes on top of the lost ones
            for one in (changes, lost):
                one.is_over, one.error = True, error
        changes.is_over = True

    def _go_back(self) -> None:
        """Returns to the state in the database, as after a kill; raises CheckpointError."""
        with self._committing, self._lock:
            if self._is_stale:
                assert self._database is not None
                self._write()  # what others have changed before a request was refused
                self._database.reopen()
                self._service.account.restore()
                self._is_stale = False

    # Figures

    def save(self, rollout_id: int) -> None:
        """Writes the state of a rollout, as the data source does."""
        with self._current() as service:
            source = service.source
        source.save(rollout_id)

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
            status = service.leases.status(time.monotonic())
            status[""]["set_aside"] = 0 if self._database is None else self._database.set_aside
            return status
