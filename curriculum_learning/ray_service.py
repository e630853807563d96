"""The face for many workers: one data source in a Ray actor, and its client in each process."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import threading
import uuid
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import ray
from ray.exceptions import RayActorError, RayTaskError

from curriculum_learning.config.data_source import read_config
from curriculum_learning.data_source import registry
from curriculum_learning.engines.slime import SlimeRollout, sample_class
from curriculum_learning.engines.swallowed import SwallowedErrors
from curriculum_learning.errors import CurriculumLearningError, GroupError
from curriculum_learning.groups.fates import Settlement
from curriculum_learning.groups.returns import encode_groups
from curriculum_learning.groups.reward_caps import RewardCaps
from curriculum_learning.samples.codec import CannotStoreError, decode, encode
from curriculum_learning.samples.ids import group_id
from curriculum_learning.samples.rewards import reward_of
from curriculum_learning.samples.sample import Group, flatten
from curriculum_learning.service.actor import ServiceActor
from curriculum_learning.service.description import description
from curriculum_learning.service.service import LEASE_KEY, claims_of, unpack_group

Fate = Literal["trained", "finished", "dropped"]

_HEARTBEATS = 5
"""So many are sent in a ``lease_timeout``."""

_MAX_CONCURRENCY = 100_000
"""Requests that may wait in the actor; each client has two that wait for its end."""


class RemoteDataSource:
    """A client of the data source that all processes share; it has the same methods.

    It connects to the named actor, and makes it from ``args`` where there is none. What it draws
    is leased to it until it is reported as trained or dropped, or given back. If this process
    dies, is closed, or is not heard for ``lease_timeout``, its groups are served again first.
    All methods may be called from any thread; those with ``_async`` at the end from a coroutine.
    Sent to another process, it becomes a client of its own there.

    Args:
        args: As for ``MultipleWeightedRolloutDataSourceWithBuffer``, with the mapping
            ``ray_service``, of which ``docs/ray.md`` lists the keys.

    Raises:
        ConfigurationError: A value cannot be used, or the service was made from another
            configuration.
        CurriculumLearningError: The service cannot start, or is dead.
    """

    def __init__(self, args: Any) -> None:
        self.args = args
        config = self.config = read_config(args)
        service = self._service = config.service
        texts = description(config)
        self._id = uuid.uuid4().hex[:12]
        self._label = f"{ray.util.get_node_ip_address()}:{os.getpid()}"
        self._sample_type = sample_class()
        self._lock = threading.RLock()
        self._next = 0
        self._unanswered: set[int] = set()
        self._held: set[int] = set()
        self._ready: collections.deque[Group] = collections.deque()
        self._coming: tuple[int, Any] | None = None
        """A request for groups to hold ready: its number, and its answer to come."""
        self._settlement = Settlement(
            config.dynamic_filter and functools.partial(config.dynamic_filter, args)
        )
        self._caps = RewardCaps({source.name: source.reward_cap for source in config.sources})
        self._swallowed = SwallowedErrors()
        self._slime = SlimeRollout()
        self._closed = threading.Event()
        restarts = service.max_restarts if config.save is not None else 0
        self._actor: Any = (
            ray.remote(ServiceActor)
            .options(
                name=service.name,
                namespace=service.namespace,
                get_if_exists=True,
                lifetime="detached" if service.detached else None,
                max_restarts=restarts,
                max_task_retries=-1 if restarts else 0,
                max_concurrency=_MAX_CONCURRENCY,
                num_cpus=0,
            )
            .remote(args, texts, uuid.uuid4().hex, service)
        )
        self._length: int = self._get(self._actor.connect.remote(self._id, self._label, texts))
        # Ray tells whoever waits for an object that its owner, which is this process, has died.
        self._stay = self._actor.stay.remote(self._id)
        self._actor.watch.remote(self._id, [self._stay])
        threading.Thread(
            target=_beat,
            args=(weakref.ref(self), self._closed, service.lease_timeout / _HEARTBEATS),
            name="curriculum_learning heartbeat",
            daemon=True,
        ).start()
        registry.register(args, self)  # type: ignore[arg-type]  # it has the same methods

    def __reduce__(self) -> tuple[type[RemoteDataSource], tuple[Any]]:
        return RemoteDataSource, (self.args,)

    # Serving

    def get_samples(self, num_samples: int) -> list[Group]:
        """The next ``num_samples`` groups, as from the data source; leased to this client.

        It waits while this client would hold more than ``max_leased_groups``.

        Raises:
            GroupError: It has waited for ``draw_timeout``.
            DataError: A row cannot be read.
        """
        with self._noting_errors():
            groups, coming = self._take(num_samples)
            try:
                if coming is not None:
                    self._put(self._groups_of(self._answer(coming)))
                    groups += self._take(num_samples - len(groups))[0]
                if len(groups) < num_samples:
                    answer = self._ask(
                        "draw", [num_samples - len(groups), self._slime.current(), True]
                    )
                    groups += self._groups_of(answer)
            except BaseException:
                self._put(groups, front=True)
                raise
            return self._handed_out(groups)

    async def get_samples_async(self, num_samples: int) -> list[Group]:
        """As ``get_samples``."""
        groups, coming = self._take(num_samples)
        try:
            if coming is not None:
                self._put(self._groups_of(await self._answer_async(coming)))
                groups += self._take(num_samples - len(groups))[0]
            if len(groups) < num_samples:
                body = [num_samples - len(groups), self._slime.current(), True]
                groups += self._groups_of(await self._ask_async("draw", body))
        except BaseException:
            self._put(groups, front=True)
            raise
        return self._handed_out(groups)

    def add_samples(self, samples: Sequence[Group]) -> None:
        """Give back groups that are not finished; they are served again first, to any client.

        Raises:
            GroupError: As from the data source; or the lease of a group has ended, and ``value``
                has the ids of all such groups. Nothing of the call has been taken in.
        """
        with self._noting_errors():
            self._ask("return", _encoded(samples))
            self._let_go(flatten(samples or ()))

    async def add_samples_async(self, samples: Sequence[Group]) -> None:
        """As ``add_samples``."""
        await self._ask_async("return", _encoded(samples))
        self._let_go(flatten(samples or ()))

    def give_up(self, groups: Sequence[Group]) -> None:
        """Let go of groups: they are served again first, as they were before they were drawn."""
        samples = list(flatten(groups))
        self._ask("give_up", [claims_of(samples), "given_up"])
        self._let_go(samples)

    # Feedback

    def observe(self, samples: Any, *, rollout_id: int | None = None, fate: Fate) -> None:
        """Tell what has become of samples, before anything is made of them.

        Any client may tell it, as long as the samples carry the metadata they were served with.

        Args:
            samples: Samples, flat or in groups.
            rollout_id: The rollout that ended with this, where it did.
            fate: As for the data source.

        Raises:
            GroupError: The lease of a group has ended, and it is served again: do not train on
                it. ``value`` has the ids of all such groups. Nothing of the call has been taken in.
        """
        samples = list(flatten(samples))
        if fate == "trained" and rollout_id is not None:
            self._end_rollout({claim[0] for claim in claims_of(samples)})
        self._ask("settle", [fate, rollout_id, _told(samples)])
        if fate != "finished":
            self._let_go(samples)
        if fate == "trained" and rollout_id is not None:
            self._caps.forget()

    async def observe_async(
        self, samples: Any, *, rollout_id: int | None = None, fate: Fate
    ) -> None:
        """As ``observe``, for loops that do not call ``rollout_finished``."""
        samples = list(flatten(samples))
        await self._ask_async("settle", [fate, rollout_id, _told(samples)])
        if fate != "finished":
            self._let_go(samples)

    def rollout_finished(self, groups: Sequence[Group]) -> None:
        """Show all groups that were finished in a rollout, before it is logged.

        As for the data source, for the groups that this client holds: for engines that generate
        and train behind one client, and log their rollouts.
        """
        groups = list(groups)
        self._ask("settle", ["finished", None, _told(flatten(groups))])
        with self._lock:
            self._settlement.finished(groups, self._held)

    def _end_rollout(self, trained: set[int]) -> None:
        """Settle what was finished and not trained, and give back what was discarded."""
        with self._lock:
            outcome = self._settlement.settle(self._held - trained)
        dropped, again, kept = outcome.dropped, outcome.discarded, list(outcome.surplus.values())
        if self.config.surplus == "drop":
            dropped, kept = [*dropped, *outcome.surplus], []
        elif self.config.surplus == "again":
            again, kept = [*again, *outcome.surplus], []
        if dropped:
            self._ask("settle", ["dropped", None, [{"group_index": i} for i in dropped]])
        if kept:
            self._ask("return", _encoded(kept))
        if again:
            self._ask("give_up", [[[i, None] for i in again], "given_up"])
        with self._lock:
            self._settlement.forget()
            self._held.difference_update(dropped, again, outcome.surplus)

    def reward_cap_verdict(self, samples: Sequence[Any], source: str) -> str | None:
        """As of the data source, for the groups that this client judges."""
        rewards = [reward_of(sample, self.config.reward_key) for sample in samples]
        known = [reward for reward in rewards if reward is not None]
        group_index = getattr(samples[0], "group_index", None)
        return self._caps.verdict(group_index, source, known, self.rollout_step)

    def set_rollout_step(self, step: int) -> None:
        """As for the data source; it holds for all clients."""
        self._ask("step", step)

    @property
    def rollout_step(self) -> int:
        """As of the data source."""
        return int(self._figure("rollout_step"))

    def source_status(self) -> dict[str, dict[str, float]]:
        """As of the data source."""
        status: dict[str, dict[str, float]] = self._figure("source_status")
        step = self.rollout_step
        return {name: {**of, **self._caps.metrics(name, step)} for name, of in status.items()}

    def source_counts(self) -> dict[str, dict[str, float]]:
        """As of the data source; and under ``ray_service`` the figures of the service itself."""
        counts: dict[str, dict[str, float]] = self._figure("source_counts")
        status = self.service_status()
        total = status.pop("")
        largest = max((client["leased"] for client in status.values()), default=0)
        return {**counts, "ray_service": {**total, "client_leased/max": largest}}

    def service_status(self) -> dict[str, dict[str, float]]:
        """Figures of the service, under "", and of each client.

        Groups ``leased``, the age of the oldest lease, how often and for how long clients
        ``waited`` for room, and since when each has been ``silent``, in seconds; of the service
        also how leases have ended, and how many groups ``late`` answers were about.
        """
        status: dict[str, dict[str, float]] = self._get(self._actor.service_status.remote())
        return status

    def recognises(self, sample: Any) -> int:
        """Whether this client holds the group of a sample."""
        return int(group_id(sample) in self._held)

    def tell_apart(self) -> None:
        """Nothing to do: two clients never hold the same group."""

    def raise_swallowed_error(self) -> None:
        """Raise again what an engine's worker thread was told and may have ignored."""
        self._swallowed.raise_first()

    # State

    def save(self, rollout_id: int) -> None:
        """As for the data source; the service also writes the state that a restart goes on from."""
        self.raise_swallowed_error()
        self._get(self._actor.save.remote(rollout_id))

    def load(self, rollout_id: int | None = None) -> None:
        """As for the data source, before any other client draws.

        Raises:
            GroupError: Other clients hold groups.
            CheckpointError: As for the data source.
        """
        with self._lock:
            self._ready.clear()
            self._held.clear()
            self._settlement.forget()
        self._ask("load", rollout_id)
        self._swallowed.forget()

    # The rest of slime's protocol

    def __len__(self) -> int:
        """Rows of all sources, those over the length limit left out."""
        return self._length

    @property
    def dataset(self) -> RemoteDataSource | None:
        """Something whose length is the number of rows; None without prompts of our own."""
        return self if self.config.sources else None

    def get_buffer_length(self) -> int:
        """Groups waiting in all buffers."""
        return int(self._figure("get_buffer_length"))

    def get_metadata(self) -> dict[str, Any]:
        """A copy of what ``update_metadata`` has stored."""
        metadata: dict[str, Any] = self._figure("get_metadata")
        return metadata

    def update_metadata(self, metadata: Mapping[str, Any]) -> None:
        """As for the data source."""
        self._ask("metadata", dict(metadata))

    def close(self) -> None:
        """End this client: what it holds is served again first. The service goes on."""
        if not self._closed.is_set():
            self._closed.set()
            self._get(self._actor.disconnect.remote(self._id))

    def shut_down(self) -> None:
        """End the service, for all clients."""
        self._closed.set()
        ray.kill(self._actor)

    # Requests

    def _take(self, count: int) -> tuple[list[Group], tuple[int, Any] | None]:
        """Groups that are ready; and if they are too few, the answer to come."""
        with self._lock:
            groups = [self._ready.popleft() for _ in range(min(count, len(self._ready)))]
            coming = None
            if len(groups) < count:
                coming, self._coming = self._coming, None
            return groups, coming

    def _put(self, groups: Sequence[Group], front: bool = False) -> None:
        with self._lock:
            if front:
                self._ready.extendleft(reversed(groups))
            else:
                self._ready.extend(groups)

    def _handed_out(self, groups: list[Group]) -> list[Group]:
        with self._lock:
            self._held.update(sample.group_index for group in groups for sample in flatten(group))
            room = self._service.prefetch - len(self._ready)
            if room > 0 and self._coming is None:
                self._coming = self._send("draw", [room, self._slime.current(), False])
        return groups

    def _let_go(self, samples: Any) -> None:
        with self._lock:
            self._held.difference_update(sample.group_index for sample in samples)

    def _groups_of(self, answer: bytes) -> list[Group]:
        number, encoded = decode(answer)
        groups = [unpack_group(packed, self._sample_type) for packed in encoded]
        for sample in flatten(groups):
            sample.metadata[LEASE_KEY] = number
        return groups

    def _send(self, kind: str, body: Any) -> tuple[int, Any]:
        try:
            data = encode(body)
        except CannotStoreError as error:
            raise GroupError(f"{kind}: {error}") from None
        with self._lock:
            number = self._next
            self._next += 1
            self._unanswered.add(number)
            done = min(self._unanswered)
        return number, self._actor.request.remote(self._id, number, done, kind, data)

    def _ask(self, kind: str, body: Any) -> bytes:
        return self._answer(self._send(kind, body))

    def _answer(self, sent: tuple[int, Any]) -> bytes:
        number, reference = sent
        try:
            answer: bytes = self._get(reference)
            return answer
        finally:
            self._received(number)

    async def _ask_async(self, kind: str, body: Any) -> bytes:
        return await self._answer_async(self._send(kind, body))

    async def _answer_async(self, sent: tuple[int, Any]) -> bytes:
        number, reference = sent
        try:
            with _plain_errors(self._service.name):
                answer: bytes = await reference
            return answer
        finally:
            self._received(number)

    def _received(self, number: int) -> None:
        with self._lock:
            self._unanswered.discard(number)

    def _done(self) -> int:
        with self._lock:
            return min(self._unanswered, default=self._next)

    def _figure(self, what: str) -> Any:
        return self._get(self._actor.figure.remote(what))

    def _get(self, reference: Any) -> Any:
        with _plain_errors(self._service.name):
            return ray.get(reference)

    @contextlib.contextmanager
    def _noting_errors(self) -> Iterator[None]:
        """Remember an error that the engine's thread may swallow."""
        try:
            yield
        except Exception as error:
            self._swallowed.note(error)
            raise


def _encoded(samples: Any) -> list[bytes]:
    """Groups as bytes; raises GroupError."""
    if samples is not None and not isinstance(samples, (list, tuple)):
        raise GroupError(f"add_samples takes a list of groups, not a {type(samples).__name__}")
    encoded = []
    for number, data in enumerate(encode_groups(samples)):
        if isinstance(data, Exception):
            raise GroupError(f"add_samples: group {number}: {data}") from data
        encoded.append(data)
    return encoded


def _told(samples: Any) -> list[dict[str, Any]]:
    """Of samples that were served what feedback needs."""
    told = []
    for sample in flatten(samples):
        if not isinstance(getattr(sample, "group_index", None), int):
            continue
        metadata = sample.metadata if isinstance(sample.metadata, dict) else {}
        told.append(
            {
                "group_index": sample.group_index,
                "reward": sample.reward,
                "metadata": {key: metadata[key] for key in _TOLD if key in metadata},
            }
        )
    return told


_TOLD = (LEASE_KEY, "raw_reward")


@contextlib.contextmanager
def _plain_errors(name: str) -> Iterator[None]:
    """Raise the errors of the service as they were raised there."""
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, CurriculumLearningError):
            raise error.cause from None
        raise
    except RayActorError as error:
        raise CurriculumLearningError(
            f"the service '{name}' could not start, or is dead for good: {error}; where save is "
            f"set, it comes back ray_service.max_restarts times",
            key="ray_service",
            value=name,
        ) from error


def _beat(
    reference: weakref.ref[RemoteDataSource], closed: threading.Event, interval: float
) -> None:
    """Send signs of life until the client is closed or forgotten."""
    sent: list[Any] = []
    while not closed.wait(interval):
        client = reference()
        if client is None:
            return
        # While the actor starts again they would pile up.
        if not sent or ray.wait(sent, timeout=0)[0]:
            beat = client._actor.heartbeat
            sent = [beat.remote(client._id, client._label, client._done())]
        del client
