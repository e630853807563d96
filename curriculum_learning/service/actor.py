"""The service as an actor: requests that wait, clients that die, states in the background.

It is a plain class of coroutines; ``ray_service`` makes a Ray actor of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from typing import Any

from curriculum_learning.config.plan import ServicePlan
from curriculum_learning.errors import CurriculumLearningError, GroupError
from curriculum_learning.samples.codec import decode, encode
from curriculum_learning.service.description import refuse_other
from curriculum_learning.service.leases import Leases
from curriculum_learning.service.service import ServedDataSource, Service

logger = logging.getLogger(__name__)

_FIGURES = ("rollout_step", "source_status", "source_counts", "get_buffer_length", "get_metadata")


class ServiceActor:
    """One data source for many clients.

    Args:
        args: What the data source is made from.
        texts: ``description`` of its configuration.
        run: Identifies the run, over restarts of the actor.
        config: Of the service.

    Raises:
        CurriculumLearningError: As the data source, or its files are damaged.
    """

    def __init__(self, args: Any, texts: dict[str, str], run: str, config: ServicePlan) -> None:
        self._texts = texts
        self._config = config
        source = ServedDataSource(args)
        self._service = Service(
            source,
            Leases(config.lease_timeout),
            folder=source.config.save,
            name=config.name,
            run=run,
            resume=config.resume,
            checkpoint_interval=config.checkpoint_interval,
            now=time.monotonic,
        )
        self._running: dict[tuple[str, int], asyncio.Future[bytes]] = {}
        self._queues: dict[str, asyncio.Lock] = {}
        """Of each client: its requests for groups are served one after the other."""
        self._room: dict[str, asyncio.Event] = {}
        self._stays: dict[str, asyncio.Event] = {}
        self._gone: set[str] = set()
        self._waits: Counter[str] = Counter()
        self._waited: Counter[str] = Counter()
        self._syncing: asyncio.Future[None] | None = None
        self._saving: asyncio.Future[None] | None = None
        self._expiring: asyncio.Future[None] | None = None

    # Clients

    async def connect(self, client: str, label: str, texts: dict[str, str]) -> int:
        """A client begins; gives the number of rows.

        Raises:
            ConfigurationError: It has another configuration.
        """
        refuse_other(self._texts, texts, self._config.name)
        self._begin()
        self._service.leases.hear(client, time.monotonic(), label)
        return len(self._service.source)

    async def heartbeat(self, client: str, label: str, done: int) -> None:
        """A client lives, and has received the answers to all requests below ``done``."""
        self._begin()
        if client not in self._gone:
            self._service.leases.hear(client, time.monotonic(), label)
            self._service.leases.received(client, done)

    async def stay(self, client: str) -> None:
        """Return when the client disconnects; see ``watch``."""
        await self._stays.setdefault(client, asyncio.Event()).wait()

    async def watch(self, client: str, stay: list[Any]) -> None:
        """Wait for the end of a client.

        Args:
            client: Which.
            stay: The reference to what ``stay`` will give. The client owns it: where the process
                or the node of the client dies, Ray tells whoever waits for it.
        """
        try:
            await stay[0]
        except Exception as error:
            if type(error).__name__ != "OwnerDiedError":
                logger.warning("client %s is watched by its heartbeats only: %s", client, error)
                return
            logger.info("client %s is dead", client)
            await self.disconnect(client)

    async def disconnect(self, client: str) -> None:
        """A client has ended: what it held is served again first."""
        self._gone.add(client)
        self._service.give_up(client, "given_up")
        self._wake(client)
        self._queues.pop(client, None)
        if client in self._stays:
            self._stays.pop(client).set()
        await self._synced()

    def _begin(self) -> None:
        if self._expiring is None:
            self._expiring = asyncio.ensure_future(self._expire())

    async def _expire(self) -> None:
        timeout = self._config.lease_timeout
        while True:
            until = time.monotonic() + self._service.leases.next_silence(time.monotonic()) + 0.01
            await asyncio.sleep(until - time.monotonic())
            if time.monotonic() - until > timeout / 4:
                # The actor itself was held up: heartbeats that wait are to be heard first.
                await asyncio.sleep(timeout / 4)
            try:
                for client in self._service.leases.silent(time.monotonic()):
                    ids = self._service.give_up(client, "expired")
                    logger.warning(
                        "client %s was not heard for %g s: its %d groups are served again",
                        client, timeout, len(ids),
                    )  # fmt: skip
                    self._wake()
                await self._synced()
            except CurriculumLearningError:
                logger.exception("the leases of silent clients could not be ended")
                await asyncio.sleep(timeout)

    # Requests

    async def request(self, client: str, number: int, done: int, kind: str, body: bytes) -> bytes:
        """Carry out a request, or answer it again; see ``Service.request``.

        Args:
            client: Who asks.
            number: Of the request.
            done: The client has received the answers to all requests below it.
            kind: As for the service; also ``load``. ``draw`` has a third value: whether to wait
                for room, or else to take fewer groups.
            body: Encoded.
        """
        key = client, number
        running = self._running.get(key)
        if running is None:
            running = asyncio.ensure_future(self._request(client, number, done, kind, body))
            self._running[key] = running
            running.add_done_callback(lambda _: self._running.pop(key))
        return await asyncio.shield(running)

    async def _request(self, client: str, number: int, done: int, kind: str, body: bytes) -> bytes:
        self._begin()
        self._refuse_gone(client)
        service = self._service
        service.leases.hear(client, time.monotonic())
        service.leases.received(client, done)
        answer = service.answered(client, number)
        if answer is None:
            if kind == "load":
                answer = service.load(client, number, decode(body))
            elif kind == "draw":
                answer = await self._draw(client, number, body)
            else:
                answer = service.request(client, number, kind, body)
            self._wake()
            if service.checkpoint_due:
                self._checkpoint()
        await self._synced()
        return answer

    async def _draw(self, client: str, number: int, body: bytes) -> bytes:
        count, rollout, wait = decode(body)
        limit = self._config.max_leased_groups
        if count > limit:
            raise GroupError(
                f"get_samples: num_samples is {count}; a client may hold at most "
                f"ray_service.max_leased_groups ({limit}) at once",
                key="max_leased_groups",
                value=count,
            )
        if not wait:
            count = max(0, min(count, limit - self._service.leases.count(client)))
            return self._service.request(client, number, "draw", encode([count, rollout]))
        async with self._queues.setdefault(client, asyncio.Lock()):
            if self._service.leases.count(client) + count > limit:
                await self._wait_for_room(client, limit - count)
            return self._service.request(client, number, "draw", encode([count, rollout]))

    async def _wait_for_room(self, client: str, most: int) -> None:
        """Wait until a client holds at most ``most`` groups."""
        begun = time.monotonic()
        room = self._room.setdefault(client, asyncio.Event())
        try:
            while (held := self._service.leases.count(client)) > most:
                room.clear()
                left = begun + self._config.draw_timeout - time.monotonic()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(room.wait(), max(left, 0))
                self._refuse_gone(client)
                if left <= 0:
                    raise GroupError(
                        f"get_samples waited {self._config.draw_timeout:g} s for room: this client "
                        f"holds {held} groups of at most {self._config.max_leased_groups}; report "
                        f"what has become of them, or raise ray_service.max_leased_groups",
                        key="max_leased_groups",
                        value=held,
                    )
        finally:
            self._waits[client] += 1
            self._waited[client] += time.monotonic() - begun  # type: ignore[assignment]

    def _refuse_gone(self, client: str) -> None:
        if client in self._gone:
            raise GroupError(
                "this client was closed, or was seen to die; make another one",
                key="client",
                value=client,
            )

    def _wake(self, *clients: str) -> None:
        """Let requests go on that wait for room."""
        for client in {*clients, *self._service.freed}:
            if client in self._room:
                self._room[client].set()
        self._service.freed.clear()

    # States

    async def _synced(self) -> None:
        """Wait until all that has been carried out is on the disk: one wait for many requests."""
        operations = self._service.operations
        if operations is None:
            return
        target = operations.written
        while operations.synced < target:
            if self._syncing is None or self._syncing.done():
                loop = asyncio.get_running_loop()
                self._syncing = asyncio.ensure_future(loop.run_in_executor(None, operations.sync))
            await asyncio.shield(self._syncing)

    def _checkpoint(self) -> None:
        """Write a state in the background; one at a time."""
        if self._saving is None or self._saving.done():
            write = self._service.checkpoint()
            loop = asyncio.get_running_loop()
            self._saving = asyncio.ensure_future(loop.run_in_executor(None, write))
            self._saving.add_done_callback(_tell_unwritten)

    async def save(self, rollout_id: int) -> None:
        """Write the state of a rollout, as the data source does, and that of the service."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._service.source.save, rollout_id)
        if self._service.operations is not None:
            await loop.run_in_executor(None, self._service.checkpoint())

    # Figures

    async def figure(self, what: str) -> Any:
        """A property of the data source, or what one of its methods without arguments gives."""
        assert what in _FIGURES
        value = getattr(self._service.source, what)
        return value() if callable(value) else value

    async def service_status(self) -> dict[str, dict[str, float]]:
        """Figures of the service (under "") and of each client; see the client's method."""
        now = time.monotonic()
        leases = self._service.leases
        clients = leases.status(now)
        names = leases.clients()
        for name, figures in zip(names, clients.values(), strict=True):
            figures |= {"waits": self._waits[name], "waited": float(self._waited[name])}
        ages = [figures["lease_age/max"] for figures in clients.values()]
        total = {
            "clients": len(names),
            "leased": len(leases),
            "lease_age/max": max(ages, default=0.0),
            "waits": self._waits.total(),
            **{
                how: leases.counts[how]
                for how in ("settled", "returned", "given_up", "expired", "late")
            },
        }
        return {"": total, **clients}


def _tell_unwritten(saving: asyncio.Future[None]) -> None:
    if not saving.cancelled() and (error := saving.exception()) is not None:
        logger.error("the state of the service was not written: %s", error)
