"""The requests of many clients on one data source, each carried out once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from curriculum_learning.config.plan import ServicePlan
from curriculum_learning.engines.slime import sample_class
from curriculum_learning.errors import GroupError
from curriculum_learning.groups.fates import Outcome
from curriculum_learning.groups.run import Report
from curriculum_learning.samples.codec import decode, decode_group, encode, encode_group
from curriculum_learning.samples.sample import flatten
from curriculum_learning.service import messages
from curriculum_learning.service.account import Account
from curriculum_learning.service.database import Database
from curriculum_learning.service.leases import Client, Leases
from curriculum_learning.service.served import ServedDataSource


class Service:
    """Carries out requests, and keeps the account of them.

    Not thread-safe: its owner locks.

    Args:
        source: The data source; nobody else may use it.
        config: The keys of ``ray_service``.
        run: Identifies the run; the leases of runs differ.
        database: Where the account is kept; None loses everything in a kill.

    Raises:
        CheckpointError: The database is damaged, or its state does not fit the configuration.
    """

    def __init__(
        self, source: ServedDataSource, config: ServicePlan, run: str, database: Database | None
    ) -> None:
        self.source = source
        first = int.from_bytes(hashlib.blake2b(run.encode(), digest_size=4).digest(), "big")
        self.leases = Leases(config.lease_timeout, (first >> 1) << 32)
        self._limit = config.max_leased_groups
        self._sample_type = sample_class()
        source.observe([], fate="trained")  # the fate of every group will be reported
        self.account = Account(source, self.leases, database)
        if database is not None and database.is_taken_over:
            for name in list(self.leases.clients):
                self.end(name, "given_up")

    # Clients

    def connect(self, name: str, label: str) -> None:
        """A client begins; its requests are carried out from now on."""
        if name not in self.leases.clients:
            self.leases.clients[name] = Client(label, time.monotonic())
            self.account.note(name)

    def end(self, name: str, how: str) -> int:
        """Serves the groups of a client again first, before all others.

        Args:
            name: The client.
            how: ``expired``: it was not heard for too long, and may come back. ``given_up``: it
                has ended, and its requests are refused from now on.

        Returns:
            How many groups it held.
        """
        if name not in self.leases.clients:
            return 0
        held = self.leases.held(name)
        self._give_up(held, how)
        if how == "given_up":
            self.leases.forget(name)
        self.account.note(name)
        return len(held)

    def must_wait(self, message: messages.Numbered) -> bool:
        """Whether a draw is to be carried out, and its client has no room for it."""
        client, draw = self.leases.clients.get(message.client), message.request
        is_open = client is not None and message.number not in client.answers
        if client is None or not is_open or not isinstance(draw, messages.Draw):
            return False
        return draw.whole and len(client.groups) + draw.count > self._limit

    # Requests

    def carry_out(self, message: messages.Numbered) -> bytes | None:
        """Carries out a request, or finds the answer if it was carried out before.

        Returns:
            The answer, which may be given as soon as the account is in the database. None if it
            is a draw for which the client has no room.

        Raises:
            GroupError, DataError, CheckpointError, ConfigurationError: The request is refused.
        """
        name, number, request = message.client, message.number, message.request
        self.leases.hear(name, time.monotonic(), message.done)
        client = self.leases.clients[name]
        if self.leases.was_answered(name, number):
            lease = client.answers[number]
            return encode(None) if lease is None else self._drawn_again(name, lease)
        if not isinstance(request, messages.Draw):
            answer = self._decide(name, request)
            client.answers[number] = None
        elif self.must_wait(message):
            self._refuse_too_many(request.count)
            return None
        else:
            answer = self._draw(name, request)
            client.answers[number] = self.leases.next - 1
        self.account.note(name)
        return answer

    def _decide(self, name: str, request: messages.Request) -> bytes:
        """Carries out a request other than a draw; returns its answer."""
        answer: Any = None
        if isinstance(request, messages.Settle):
            self._settle(name, request)
        elif isinstance(request, messages.Return):
            self._return(name, request)
        elif isinstance(request, messages.GiveUp):
            claims = [claim for claim in request.claims if not self.leases.is_late(name, claim)]
            self._give_up([group_index for group_index, _ in claims], "given_up")
        elif isinstance(request, messages.Cancel):
            self._cancel(name, request.number)
        elif isinstance(request, messages.Load):
            answer = self._load(name, request.rollout_id)
        elif isinstance(request, messages.Step):
            self.source.set_rollout_step(request.step)
        elif isinstance(request, messages.Metadata):
            self._update_metadata(request.values)
        return encode(answer)

    def _refuse_too_many(self, count: int) -> None:
        if count > self._limit:
            raise GroupError(
                f"get_samples: num_samples is {count}; a client may hold at most "
                f"ray_service.max_leased_groups ({self._limit}) at once",
                key="max_leased_groups",
                value=count,
            )

    def _draw(self, name: str, request: messages.Draw) -> bytes:
        if request.rollout is not None:
            self.source.rollout_begun(request.rollout)
        ledger = self.source.run.groups.ledger
        news = ledger.news
        room = max(0, self._limit - len(self.leases.clients[name].groups))
        groups = self.source.get_samples(min(request.count, room))
        ids = [next(flatten(group)).group_index for group in groups]
        lease = self.leases.grant(name, ids, time.monotonic())
        if ledger.news == news:
            self.account.out(ids)
        else:  # other groups have ended: stale, filtered out, or presumed dropped
            self.account.rewrite()
        return _drawn(lease, groups)

    def _drawn_again(self, name: str, lease: int) -> bytes:
        """The groups of an earlier draw that are leased still, as they were handed out."""
        return _drawn(lease, self.source.run.groups.out_again(self.leases.held(name, lease)))

    def _settle(self, name: str, request: messages.Settle) -> None:
        ids = [group_index for group_index, *_ in request.told]
        self.leases.check(name, [(group_index, lease) for group_index, lease, _ in request.told])
        outcome = request.outcome and self._checked(name, request.outcome)
        learns = self.source.run.feedback is not None
        samples = [
            SimpleNamespace(group_index=group_index, reward=reward, metadata={})
            for group_index, _, rewards in request.told
            for reward in (rewards if learns else None) or (None,)
        ]
        self.source.report(Report(samples, request.fate, request.rollout_id, outcome=outcome))
        if outcome is not None:
            self._end_rollout(outcome)
        if request.fate != "finished":
            self.leases.release(ids, "settled")
            self.account.gone(ids)
        elif learns:  # the rewards are counted
            self.account.out(ids)

    def _checked(self, name: str, outcome: Outcome) -> Outcome:
        """Returns the part of an outcome that the client holds still; raises GroupError."""
        held = set(self.leases.held(name))
        for group_index, data in outcome.surplus.items():
            group = [] if data is None else self._decoded(data)
            if any(sample.group_index != group_index for sample in flatten(group)):
                raise GroupError(
                    f"observe: what was sent as group {group_index} has samples of another group",
                    key="group_index",
                    value=group_index,
                )
        return Outcome(
            [group_index for group_index in outcome.dropped if group_index in held],
            {index: data for index, data in outcome.surplus.items() if index in held},
            [group_index for group_index in outcome.discarded if group_index in held],
        )

    def _end_rollout(self, outcome: Outcome) -> None:
        """Ends the leases of groups that were not trained, and adds the groups to the account."""
        self.leases.release(outcome.dropped, "settled")
        self.leases.release(outcome.surplus, "returned")
        self.leases.release(outcome.discarded, "given_up")
        self.account.gone(outcome.dropped)
        self.account.back(self.source.waiting({*outcome.surplus, *outcome.discarded}))

    def _return(self, name: str, request: messages.Return) -> None:
        groups = [self._decoded(data) for data in request.groups]
        claims = {(sample.group_index, messages.lease_of(sample)) for sample in flatten(groups)}
        self.leases.check(name, claims)
        back = self.source.give_back(groups, request.groups)
        self.leases.release([group_index for group_index, *_ in back], "returned")
        self.account.back(back)

    def _decoded(self, data: bytes) -> list[Any]:
        """Decodes a group whose samples have an id; raises GroupError."""
        try:
            group = decode_group(data, self._sample_type)
            for sample in flatten(group):
                sample.group_index, messages.lease_of(sample)  # they may be missing
        except Exception as error:  # there is no telling what the bytes hold
            raise GroupError(f"add_samples: a group cannot be read: {error!r}") from error
        return group

    def _give_up(self, group_indices: Sequence[int], how: str) -> None:
        ledger = self.source.run.groups.ledger
        known = ((index, ledger.served(index), ledger.partial(index)) for index in group_indices)
        groups = [(index, served, partial) for index, served, partial in known if served]
        self.source.give_up(group_indices)
        self.leases.release(group_indices, how)
        self.account.in_front(groups)

    def _update_metadata(self, encoded: bytes) -> None:
        try:
            values = {**decode(encoded)}
        except Exception as error:  # there is no telling what the bytes hold
            raise GroupError(f"update_metadata: this is no mapping: {error!r}") from error
        self.source.update_metadata(values)
        self.account.constants()

    def _cancel(self, name: str, number: int) -> None:
        """Gives up the groups of a draw whose answer nobody waits for."""
        if self.leases.was_answered(name, number):
            lease = self.leases.clients[name].answers[number]
            if lease is not None:
                self._give_up(self.leases.held(name, lease), "given_up")
        self.leases.cancel(name, number)

    def _load(self, name: str, rollout_id: int | None) -> bool:
        """Goes to a saved state, where there is one; all leases end."""
        held = self.leases.held(name)
        if len(held) < len(self.leases):
            raise GroupError(
                f"load: {len(self.leases)} groups are leased to clients; a state can be loaded "
                f"before any client draws, or when all have been closed",
                key="load",
                value=rollout_id,
            )
        if not self.source.finds(rollout_id):
            return False
        self.source.load(rollout_id)
        self.source.observe([], fate="trained")
        self.leases.release(held, "given_up")
        self.account.rewrite(loaded=True)
        return True


def _drawn(lease: int, groups: Sequence[list[Any]]) -> bytes:
    fresh = [vars(group[0]) for group in groups if isinstance(group[0], SimpleNamespace)]
    again = [encode_group(group) for group in groups[: len(groups) - len(fresh)]]
    return messages.encode_message(messages.Drawn(lease, again, encode(fresh)))
