"""The face for many workers: one data source in a Ray actor, and its client in each process."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from curriculum_learning.config.data_source import read_config
from curriculum_learning.config.numbers import whole_number
from curriculum_learning.data_source import registry
from curriculum_learning.engines.swallowed import SwallowedErrors
from curriculum_learning.errors import GroupError
from curriculum_learning.groups.fates import Settlement
from curriculum_learning.groups.returns import encode_groups
from curriculum_learning.groups.reward_caps import RewardCaps
from curriculum_learning.groups.run import Report
from curriculum_learning.mixing.mixture import finite
from curriculum_learning.samples.codec import decode
from curriculum_learning.samples.ids import group_id, in_lists
from curriculum_learning.samples.rewards import group_rewards
from curriculum_learning.samples.sample import Group, flatten
from curriculum_learning.service import messages
from curriculum_learning.service.channel import Channel, Steps
from curriculum_learning.service.description import description
from curriculum_learning.service.draws import Draws
from curriculum_learning.service.leases import refuse_too_many
from curriculum_learning.state.states import encoded_metadata

T = TypeVar("T")


class RemoteDataSource:
    """A client of the data source that all processes share; it has the same methods.

    It connects to the named actor, and makes it from ``args`` where there is none. What it draws
    is leased to it until it is reported as trained or dropped, or given back. If this process
    dies, is closed, or is not heard for ``lease_timeout``, its groups are served again first.
    All methods may be called from any thread; those with ``_async`` at the end from a coroutine.
    Sent to another process, it becomes a client of its own there.

    Args:
        args: As for ``MultipleWeightedRolloutDataSourceWithBuffer``, with the mapping
            ``ray_service``. ``docs/ray.md`` lists its keys.

    Raises:
        ConfigurationError: A value cannot be used, or the service was made from another
            configuration.
        CurriculumLearningError: The service cannot start, or is dead.
    """

    def __init__(self, args: Any) -> None:
        self.args = args
        config = self.config = read_config(args)
        self._lock = threading.Lock()
        self._held: dict[int, int] = {}
        """Groups that were handed out and have not ended, and the lease of each."""
        self._settlement = Settlement(
            config.dynamic_filter and functools.partial(config.dynamic_filter, args), config.surplus
        )
        self._caps = RewardCaps({source.name: source.reward_cap for source in config.sources})
        self._swallowed = SwallowedErrors()
        saves = config.save is not None
        self._channel = Channel(args, description(args, config), config.service, saves)
        self._draws = Draws(self._channel, config.n_samples_per_prompt, config.service.prefetch)
        registry.register(args, self)  # type: ignore[arg-type]  # it has the same methods

    def __reduce__(self) -> tuple[type[RemoteDataSource], tuple[Any]]:
        return RemoteDataSource, (self.args,)

    # Serving

    def get_samples(self, num_samples: int) -> list[Group]:
        """Returns the next ``num_samples`` groups, as the data source; leased to this client.

        It waits while this client would hold more than ``max_leased_groups``.

        Raises:
            GroupError: It has waited for ``draw_timeout``.
            DataError: A row cannot be read.
        """
        return self._take(self._drawing(num_samples))

    async def get_samples_async(self, num_samples: int) -> list[Group]:
        """As ``get_samples``."""
        return await self._channel.take_async(self._drawing(num_samples))

    def _drawing(self, num_samples: int) -> Steps[list[Group]]:
        count = whole_number(num_samples, "get_samples", "num_samples")
        refuse_too_many(count, self.config.service.max_leased_groups)  # also if some are ready
        if len(self._held) > 2 * self.config.service.max_leased_groups:
            known = dict(self._held)
            held = {*decode((yield self._channel.send(messages.Held())))}
            # Others have reported them.
            self._let_go(claim for claim in known.items() if claim[0] not in held)
        drawn = yield from self._draws.draw(count)
        self._held.update([leased.claim for leased in drawn])
        return [leased.group for leased in drawn]

    def add_samples(self, samples: Sequence[Group]) -> None:
        """Gives back groups that are not finished; they are served again first, to any client.

        Raises:
            GroupError: As from the data source; or the lease of a group has ended, and ``value``
                has the ids of all such groups. Nothing of the call has been taken in.
        """
        self._take(self._returning(samples))

    async def add_samples_async(self, samples: Sequence[Group]) -> None:
        """As ``add_samples``."""
        await self._channel.take_async(self._returning(samples))

    def _returning(self, samples: Sequence[Group]) -> Steps[None]:
        encoded = _encoded(samples)
        claims = _claims(messages.told(flatten(samples or ()), rewards=False))
        yield self._channel.send(messages.Return(encoded))
        self._let_go(claims)

    def give_up(self, groups: Sequence[Group]) -> None:
        """Lets go of groups: they are served again first, as they were before they were drawn."""
        claims = _claims(self._told(groups))
        self._ask(messages.GiveUp(claims))
        self._let_go(claims)

    # Feedback

    def observe(self, samples: Any, *, rollout_id: int | None = None, fate: messages.Fate) -> None:
        """As for the data source; report samples before anything is made of them.

        Any client may do so, as long as the samples have the metadata they were served with.

        Raises:
            GroupError: The lease of a group has ended, and it is served again: do not train on
                it. ``value`` has the ids of all such groups. Nothing of the call has been taken in.
        """
        self._take(self._reporting(samples, rollout_id, fate))

    async def observe_async(
        self, samples: Any, *, rollout_id: int | None = None, fate: messages.Fate
    ) -> None:
        """As ``observe``."""
        await self._channel.take_async(self._reporting(samples, rollout_id, fate))

    def _reporting(self, samples: Any, rollout_id: int | None, fate: messages.Fate) -> Steps[None]:
        report = Report.checked(samples, fate, rollout_id)
        told = self._told(report.samples)
        claims, held, outcome = _claims(told), {}, None
        if report.ends_rollout:
            with self._lock:
                held = dict(self._held)
                outcome = self._settlement.settle(held.keys() - dict(claims))
        yield self._channel.send(messages.Settle(fate, report.rollout_id, told, outcome))
        if fate != "finished":
            self._let_go(claims)
        if outcome is not None:
            ended = (*outcome.dropped, *outcome.surplus, *outcome.discarded)
            self._let_go((group_index, held[group_index]) for group_index in ended)
            self._settlement.forget()
            self._caps.forget()

    def rollout_finished(self, groups: Sequence[Group]) -> None:
        """As for the data source, for the groups that this client holds.

        For engines that generate and train behind one client, and log their rollouts.
        """
        groups = in_lists(groups)
        self._ask(messages.Settle("finished", None, self._told(groups)))
        with self._lock:
            self._settlement.finished(groups, self._held)

    def reward_cap_verdict(self, samples: Sequence[Any], source: str) -> str | None:
        """As of the data source, for the groups that this client judges."""
        rewards = group_rewards(samples, self.config.reward_key)
        return self._caps.verdict(group_id(samples[0]), source, rewards, self.rollout_step)

    def set_rollout_step(self, step: int) -> None:
        """As for the data source; it holds for all clients."""
        self._ask(messages.Step(whole_number(step, "set_rollout_step", "step")))

    @property
    def rollout_step(self) -> int:
        """As of the data source."""
        return int(self._channel.call("figure", "rollout_step"))

    def source_status(self) -> dict[str, dict[str, float]]:
        """As of the data source."""
        status, step = self._channel.call("figure", "source_status"), self.rollout_step
        return {name: {**of, **self._caps.metrics(name, step)} for name, of in status.items()}

    def source_counts(self) -> dict[str, dict[str, float]]:
        """As of the data source; and under ``ray_service`` the figures of the service itself."""
        counts = self._channel.call("figure", "source_counts")
        return {**counts, "ray_service": self.service_status()[""]}

    def service_status(self) -> dict[str, dict[str, float]]:
        """Figures of the service, under "", and of each client; ``docs/ray.md`` lists them."""
        return dict(self._channel.call("service_status"))

    def recognises(self, sample: Any) -> int:
        """Whether this client holds the group of a sample."""
        return int(group_id(sample) in self._held)

    def tell_apart(self) -> None:
        """Nothing to do: two clients never hold the same group."""

    def raise_swallowed_error(self) -> None:
        """Raises again what an engine's worker thread was told and has not got over."""
        self._swallowed.raise_first()

    # State

    def save(self, rollout_id: int) -> None:
        """As for the data source."""
        self.raise_swallowed_error()
        self._channel.call("save", rollout_id)

    def load(self, rollout_id: int | None = None) -> None:
        """As for the data source, before any other client draws. All leases end.

        If there is no state, nothing changes: the service may be in use already.

        Raises:
            GroupError: Other clients hold groups.
            CheckpointError: As for the data source.
        """
        self._channel.take(self._draws.give_back())
        before = dict(self._held)
        if decode(self._ask(messages.Load(rollout_id))):
            self._channel.doubt()  # another thread may be drawing
            self._let_go(before.items())
            with self._lock:
                self._settlement.forget()
            self._swallowed.forget()

    # The rest of slime's protocol

    def __len__(self) -> int:
        """As for the data source."""
        return finite(self._channel.rows)

    def __bool__(self) -> bool:
        return True  # also where there is no number of rows

    @property
    def dataset(self) -> RemoteDataSource | None:
        """Something whose length is the number of rows; None without prompts of our own."""
        return self if self.config.sources else None

    def get_buffer_length(self) -> int:
        """Groups waiting in all buffers."""
        return int(self._channel.call("figure", "get_buffer_length"))

    def get_metadata(self) -> dict[str, Any]:
        """A copy of what ``update_metadata`` has stored."""
        return dict(self._channel.call("figure", "get_metadata"))

    def update_metadata(self, metadata: Mapping[str, Any]) -> None:
        """As for the data source."""
        self._ask(messages.Metadata(encoded_metadata(metadata)))

    def close(self) -> None:
        """Ends this client: what it holds is served again first. The service stays."""
        self._channel.close()
        self._draws.clear()
        registry.forget(self)  # type: ignore[arg-type]  # it has the same methods

    def shut_down(self) -> None:
        """Ends the service, for all clients."""
        self._channel.shut_down()

    # Requests

    def _take(self, steps: Steps[T]) -> T:
        """Takes all steps, and remembers an error that the engine's thread may swallow."""
        with self._swallowed:
            result = self._channel.take(steps)
        self._swallowed.forgive()
        return result

    def _ask(self, request: messages.Request) -> bytes:
        return self._channel.take(_asking(self._channel, request))

    def _let_go(self, claims: Iterable[messages.Claim]) -> None:
        """Forgets groups, unless another thread has drawn them again meanwhile."""
        with self._lock:
            for group_index, lease in claims:
                if lease in (None, self._held.get(group_index)):
                    self._held.pop(group_index, None)

    def _told(self, samples: Any) -> list[messages.Told]:
        rewards = self._channel.learns
        return messages.told(flatten(samples), self.config.reward_key, rewards=rewards)


def _asking(channel: Channel, request: messages.Request) -> Steps[bytes]:
    return (yield channel.send(request))


def _claims(told: Iterable[messages.Told]) -> list[messages.Claim]:
    return [(group_index, lease) for group_index, lease, _ in told]


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
