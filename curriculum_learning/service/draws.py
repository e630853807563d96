"""How a client gets groups: those that are ready, those that are coming, and others."""

from __future__ import annotations

import collections
import gc
import math
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from curriculum_learning.engines.slime import SlimeRollout, sample_class
from curriculum_learning.samples.codec import decode, decode_group
from curriculum_learning.samples.group import Prompt, make_group
from curriculum_learning.samples.sample import Group, flatten
from curriculum_learning.service.channel import Channel, Sent, Steps
from curriculum_learning.service.messages import LEASE_KEY, Draw, GiveUp, decode_drawn


class Leased(NamedTuple):
    """A group of this client."""

    claim: tuple[int, int]
    group: Group
    at: float
    """When it was asked for."""


class Draws:
    """Draws groups of ``size`` samples for one client, and holds ``prefetch`` groups ready."""

    def __init__(self, channel: Channel, size: int, prefetch: int) -> None:
        self._channel, self._size, self._prefetch = channel, size, prefetch
        self._sample_type = sample_class()
        self._slime = SlimeRollout()
        self._lock = threading.Lock()
        self._ready: collections.deque[Leased] = collections.deque()
        self._coming: Sent | None = None
        """A request for groups to hold ready."""

    def draw(self, count: int) -> Steps[list[Leased]]:
        """Returns ``count`` groups; if it is closed before, what it has got is held ready."""
        groups: list[Leased] = []
        try:
            while True:
                groups += self._take(count)
                if len(groups) < count and (coming := self._take_coming()) is not None:
                    with_rest = [*groups, *self._groups_of((yield coming), coming.at)]
                    groups = with_rest[:count]
                    self._put_back(with_rest[count:])
                while len(groups) < count:
                    sent = self._channel.send(Draw(count - len(groups), self._slime.current()))
                    groups += self._groups_of((yield sent), sent.at)
                at = min((leased.at for leased in groups), default=math.inf)
                if not self._channel.may_have_expired(at):
                    self._fetch_ahead()
                    return groups
                self._put_back(groups)  # others may have them: they are given up
                groups = []
                yield from self.give_back()
        except GeneratorExit:
            self._put_back(groups)
            raise
        except BaseException:  # the user interrupts: the latest answer is cancelled
            self._channel.doubt()
            self._put_back(groups)
            raise

    def _fetch_ahead(self) -> None:
        """Asks for as many groups as are to be held ready."""
        with self._lock:
            room = self._prefetch - len(self._ready)
            if room > 0 and self._coming is None:
                self._coming = self._channel.send(Draw(room, self._slime.current(), whole=False))

    def give_back(self) -> Steps[None]:
        """Gives up the groups that are ready or coming; if it is closed before, it may go again."""
        ready = self.clear()
        try:
            yield self._channel.send(GiveUp([leased.claim for leased in ready]))
        except BaseException:  # the service may have them or not
            self._channel.doubt()
            self._put_back(ready)
            raise

    def clear(self) -> list[Leased]:
        """Forgets the groups that are ready or coming; returns the former."""
        if (coming := self._take_coming()) is not None:
            self._channel.cancel(coming.number)
        return self._take(len(self._ready))

    def _take_coming(self) -> Sent | None:
        with self._lock:
            coming, self._coming = self._coming, None
            return coming

    def _take(self, count: int) -> list[Leased]:
        with self._lock:
            return [self._ready.popleft() for _ in range(min(count, len(self._ready)))]

    def _put_back(self, groups: Sequence[Leased]) -> None:
        with self._lock:
            self._ready.extendleft(reversed(groups))

    def _groups_of(self, answer: bytes, at: float) -> list[Leased]:
        drawn = decode_drawn(answer)
        collects = gc.isenabled()
        gc.disable()  # it would run again and again over samples that are being made
        try:
            groups = [decode_group(data, self._sample_type) for data in drawn.again]
            for sample in flatten(groups):
                sample.metadata = {**(sample.metadata or {}), LEASE_KEY: drawn.lease}
            groups += [self._made(drawn.lease, **first) for first in decode(drawn.fresh)]
        finally:
            if collects:
                gc.enable()
        return [
            Leased((next(flatten(group)).group_index, drawn.lease), group, at) for group in groups
        ]

    def _made(
        self, lease: int, group_index: int, index: int, prompt: Any = "", label: Any = None,
        metadata: dict[str, Any] | None = None, multimodal_inputs: dict[str, Any] | None = None,
    ) -> Group:  # fmt: skip
        """A fresh group; without prompts of ours its samples have ids and nothing else."""
        content = Prompt(prompt, label, metadata or {}, multimodal_inputs=multimodal_inputs)
        indices = range(index, index + self._size)
        return make_group(self._sample_type, content, {LEASE_KEY: lease}, group_index, indices)
