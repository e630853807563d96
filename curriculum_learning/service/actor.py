"""The service as an actor: calls on many threads, group commit, the ends of clients."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import ray

from curriculum_learning.config.plan import ServicePlan
from curriculum_learning.errors import ConfigurationError, CurriculumLearningError, GroupError
from curriculum_learning.service.database import NotWrittenError
from curriculum_learning.service.description import refuse_other
from curriculum_learning.service.leases import Client
from curriculum_learning.service.messages import Numbered, decode_request
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
        CurriculumLearningError: As ``Service``.
    """

    def __init__(self, args: Any, texts: dict[str, str], run: str, config: ServicePlan) -> None:
        self._texts, self._config = texts, config
        self._service = Service(args, config, run)
        self._lock = self._service._lock  # so that no save sees half a request
        """Held while a request is carried out; where both are held, ``_committing`` comes first."""
        self._committing = threading.Lock()
        self._is_stale = False
        """The service is not as the database says; it goes back before the next change."""
        self._stays: dict[Any, str] = {}
        """Clients by the reference that tells of their end."""
        threading.Thread(target=self._watch, name="curriculum_learning leases", daemon=True).start()

    # Clients

    def connect(self, client: str, label: str, texts: dict[str, str]) -> tuple[int | None, bool]:
        """A client begins; returns ``Channel.rows`` and ``Channel.learns``.

        Raises:
            ConfigurationError: It has another configuration.
        """
        refuse_other(self._texts, texts, self._config.name)
        with self._changing() as service:
            service.connect(client, label)
        return 0 if service.dataset is None else service.dataset.size, service.learns

    def stay(self, client: str) -> None:
        """Returns when a client has ended."""
        while client in self._service.leases.clients:
            time.sleep(1.0)

    def heartbeat(self, client: str, next: int, waiting: list[int], stay: list[Any]) -> None:
        """A client lives.

        Args:
            client: The client.
            next: The number of its next request.
            waiting: The requests to which it has no answer yet.
            stay: The reference to what ``stay`` will return. The client owns it: if its process or
                node dies, Ray tells whoever waits for it.
        """
        with self._lock, contextlib.suppress(GroupError):
            self._service.leases.hear(client, time.monotonic(), next, waiting)
            self._stays.update(dict.fromkeys(stay, client))

    def disconnect(self, client: str) -> None:
        """A client has ended: what it held is served again first."""
        with self._changing() as service:
            service.end(client, "given_up")

    def _watch(self) -> None:
        """Ends clients that are dead, and the leases of those that are silent, again and again."""
        timeout = self._config.lease_timeout
        pause = min(timeout / 20, 1.0)
        while True:
            begun = time.monotonic()
            try:
                if stays := list(self._stays):
                    for stay in ray.wait(stays, num_returns=len(stays), timeout=pause)[0]:
                        if self._end(self._stays[stay], "given_up") is None:
                            time.sleep(pause)  # the disk is full, say: it is tried again
                        else:
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
            if count := self._end(client, "expired", timeout):
                logger.warning(
                    "client %s was not heard for %g s: its %d groups are served again",
                    client, timeout, count,
                )  # fmt: skip
        for client in forgotten:
            self._end(client, "given_up", _FORGOTTEN * timeout)

    def _end(self, client: str, how: str, silence: float | None = None) -> int | None:
        """As ``Service.end``, unless the client was heard again; None if it could not be done."""
        try:
            with self._changing() as service:
                # To end the clients before this one may have taken a while.
                if silence and client not in service.leases.silent(time.monotonic(), silence):
                    return 0
                return service.end(client, how)
        except CurriculumLearningError:  # a row cannot be read, say: it holds up no other client
            logger.exception("the groups of client %s cannot be served again", client)
            return None

    # Requests

    def request(self, data: bytes) -> bytes:
        """Carries out an encoded ``Numbered``, or answers it again; see ``Service.carry_out``.

        Raises:
            GroupError: It has waited for room for ``draw_timeout``.
            CheckpointError: The database cannot be written; nothing has changed then.
        """
        message = decode_request(data)
        until = time.monotonic() + self._config.draw_timeout
        answer = self._carried_out(message)
        if isinstance(answer, Client):
            answer.waits += 1
        while isinstance(answer, Client):
            self._wait_for_room(answer, until)
            answer = self._carried_out(message)
        return answer

    def _carried_out(self, message: Numbered) -> bytes | Client:
        while True:
            try:
                with self._changing() as service:
                    return service.carry_out(message)
            except NotWrittenError:  # noqa: PERF203  # rare
                with self._current() as service:  # it went back: what counts is in the database
                    if not service.has_answered(message):
                        raise

    def _wait_for_room(self, client: Client, until: float) -> None:
        now, held = time.monotonic(), len(client.groups)
        if now >= until:
            raise GroupError(
                f"get_samples waited {self._config.draw_timeout:g} s for room: this client "
                f"holds {held} groups of at most {self._config.max_leased_groups}; report them, "
                f"give them back, or raise ray_service.max_leased_groups",
                key="max_leased_groups",
                value=held,
            )
        client.freed.wait(min(until - now, 1.0))  # another thread of the client may have cleared it
        client.waited += time.monotonic() - now

    @contextlib.contextmanager
    def _current(self) -> Iterator[Service]:
        """Gives the service to one thread at a time, after it has gone back if it must."""
        while True:
            with self._lock:
                if not self._is_stale:
                    yield self._service
                    return
            self._go_back()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Service]:
        """Gives the service for a change; returns when the change is in the database.

        A refusal waits too: the reason for it must be in the database.
        """
        refusal = None
        with self._current() as service:
            try:
                yield service
            except GroupError as error:  # whoever raises it has noted its changes
                refusal = error
            except BaseException:
                self._is_stale = service.database is not None
                raise
            written = service.account.changes.written
        with self._committing:  # one thread writes for all that wait here
            if not written.done():
                self._write()
        written.result()
        if refusal is not None:
            raise refusal

    def _write(self) -> None:
        """Writes all changes so far in one transaction; ``_committing`` is held."""
        database = self._service.database
        with self._lock:
            changes = self._service.account.take()
        try:
            if database is not None and changes.rows:
                database.write(changes)
        except BaseException as error:
            with self._lock:
                self._is_stale = True
                lost = self._service.account.take()  # changes on top of the lost ones
            for one in (changes, lost):
                one.written.set_exception(error)
        else:
            changes.written.set_result(None)

    def _go_back(self) -> None:
        """Returns to the state in the database, as after a kill; raises CheckpointError."""
        with self._committing, self._lock:
            if self._is_stale and (database := self._service.database) is not None:
                self._write()  # what others have changed before a request was refused
                database.reopen()
                self._service.account.restore()
                self._is_stale = False

    # Figures

    def save(self, rollout_id: int) -> None:
        """Writes the state of a rollout, as the data source does."""
        with self._service.saving():
            with self._changing() as service:
                state = service.at_end_of(rollout_id)
            service.write(rollout_id, state)
            with self._changing() as service:
                service.account.note_parts()  # the folder is of this run now

    def figure(self, what: str) -> Any:
        """A property of the data source, or the result of a method without arguments."""
        if what not in _FIGURES:
            raise ConfigurationError(f"the service has no figure {what!r}", key="figure")
        with self._current() as service:
            value = getattr(service, what)
            return value() if callable(value) else value

    def service_status(self) -> dict[str, dict[str, float]]:
        """Figures of the service (under "") and of each client; see the client's method."""
        with self._current() as service:
            status = service.leases.status(time.monotonic())
            status[""]["set_aside"] = service.database.set_aside if service.database else 0
            return status
