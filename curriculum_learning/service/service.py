"""The requests of many clients on one data source, each carried out once."""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from curriculum_learning.config.numbers import whole_number
from curriculum_learning.config.plan import ServicePlan
from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer
from curriculum_learning.engines.slime import sample_class
from curriculum_learning.errors import DataError, GroupError
from curriculum_learning.groups.fates import Outcome
from curriculum_learning.groups.maker import GroupMaker
from curriculum_learning.groups.run import Report
from curriculum_learning.samples.codec import (
    CannotStoreError,
    decode,
    decode_group,
    encode,
    encode_group,
)
from curriculum_learning.samples.sample import flatten
from curriculum_learning.samples.tags import SOURCE_KEY
from curriculum_learning.service import messages
from curriculum_learning.service.account import TABLES, Account
from curriculum_learning.service.database import Database
from curriculum_learning.service.leases import CANCELLED, Client, Leases, refuse_too_many


class Service(MultipleWeightedRolloutDataSourceWithBuffer):
    """A data source for many clients: carries out their requests, and keeps the account of them.

    Of a fresh group it makes the first sample, as a plain namespace. The others differ in
    ``index`` only, and clients make them. Its owner locks.

    Args:
        args: What the data source is made from.
        config: The keys of ``ray_service``.
        run: Identifies the run; the leases of runs differ.

    Raises:
        CurriculumLearningError: As the data source; or the database is damaged or in use, or its
            state does not fit the configuration.
    """

    def __init__(self, args: Any, config: ServicePlan, run: str) -> None:
        super().__init__(args)
        self._run.fresh.maker = GroupMaker(SimpleNamespace, 1, self._prompts, self._run.mixture)
        self.database: Database | None = None
        if self.config.save is None:
            run += uuid.uuid4().hex  # no other service continues this one
        else:
            path = self.config.save / "ray_service" / f"{config.name}.sqlite"
            self.database = Database(path, run, TABLES, config.resume)
        first = int.from_bytes(hashlib.blake2b(run.encode(), digest_size=4).digest(), "big")
        self.leases = Leases(config.lease_timeout, (first >> 1) << 32)
        self._limit = config.max_leased_groups
        self._sample_type = sample_class()
        self.observe([], fate="trained")  # the fate of every group will be reported
        self.account = Account(self._run, self._states, self.leases, self.database)
        if self.database is not None and self.database.is_taken_over:
            for name in list(self.leases.clients):
                self.end(name, "given_up")

    def raise_swallowed_error(self) -> None:
        """Raises nothing: errors go to the client that caused them."""

    @property
    def learns(self) -> bool:
        """Whether rewards are of use."""
        return self._run.feedback is not None

    # Clients

    def connect(self, name: str, label: str) -> None:
        """A client begins; its requests are carried out from now on."""
        self.leases.clients.setdefault(name, Client(label, time.monotonic()))
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
        self.account.note(name, held)
        return len(held)

    # Saving

    def saving(self) -> threading.Lock:
        """Held from ``at_end_of`` to the end of ``write``."""
        return self._states.writing

    def at_end_of(self, rollout_id: int) -> dict[str, Any]:
        """Returns the state to be saved for a rollout; ``write`` must wait for the database."""
        rollout_id = whole_number(rollout_id, "save", "rollout_id")
        state = self._states.at_end_of(rollout_id)
        self.account.note_parts()
        return state

    def write(self, rollout_id: int, state: dict[str, Any]) -> None:
        """Writes the state of a rollout; as ``save``."""
        self._states.write(rollout_id, state)

    # Requests

    def has_answered(self, message: messages.Numbered) -> bool:
        """Whether a request was carried out, and its answer can be given again."""
        client = self.leases.clients.get(message.client)
        return client is not None and message.number in client.answers

    def carry_out(self, message: messages.Numbered) -> bytes | Client:
        """Carries out a request, or finds the answer if it was carried out before.

        Returns:
            The answer, which may be given as soon as the account is in the database. If the client
            has no room for what it draws, the client: ``freed`` is set when it may have some.

        Raises:
            GroupError: The request is refused, and nothing has changed.
            DataError, CheckpointError, ConfigurationError: It is refused half-way.
        """
        name, number, request = message.client, message.number, message.request
        client = self.leases.hear(name, time.monotonic(), number, message.waiting)
        ids: Sequence[int] = ()
        answer, lease = encode(True), None
        if self.leases.was_answered(name, number):
            if (lease := client.answers[number]) is None:
                return answer
            held = self.leases.held(name, lease)
            return _drawn(lease, self._run.groups.out_again(held))
        match request:
            case messages.Draw(count, rollout, whole):
                room = max(0, self._limit - len(client.groups))
                if whole and count > room:
                    refuse_too_many(count, self._limit)
                    client.freed.clear()
                    return client
                lease = self.leases.next
                ids, answer = self._draw(name, min(count, room), rollout)
            case messages.Settle():
                ids = self._settle(name, request)
            case messages.Return(groups):
                ids = self._return(name, groups)
            case messages.GiveUp(claims):
                live = (claim[0] for claim in claims if not self.leases.is_late(name, claim))
                ids = list(dict.fromkeys(live))
                self._give_up(ids, "given_up")
            case messages.Held():
                return encode(self.leases.held(name))
            case messages.Cancel(cancelled):
                ids = self._cancel(name, cancelled)
            case messages.Load(rollout_id):
                if not self._load(name, rollout_id):
                    return encode(False)
            case messages.Step(step):
                self.set_rollout_step(step)
            case messages.Metadata(values):
                self._update_metadata(values)
        client.answers[number] = lease
        self.account.note(name, ids)
        return answer

    def _draw(self, name: str, count: int, rollout: int | None) -> tuple[list[int], bytes]:
        if rollout is not None:
            self.rollout_begun(rollout)
        news = self._run.groups.ledger.news
        try:
            groups = self.get_samples(count)
        except GroupError:  # of the buffer filter: others are stale
            self.account.note_all()
            raise
        ids = [next(flatten(group)).group_index for group in groups]
        try:
            answer = _drawn(self.leases.next, groups)
        except CannotStoreError as error:
            self.give_up(ids)
            raise DataError(
                f"get_samples: a row of {groups[0][0].metadata.get(SOURCE_KEY)!r} or of a source "
                f"served with it cannot be sent to a client: {error}; give it plain data"
            ) from error
        self.leases.grant(name, ids, time.monotonic())
        if self._run.groups.ledger.news != news:  # others are stale, filtered out, or presumed
            self.account.note_all()
        return ids, answer

    def _settle(self, name: str, request: messages.Settle) -> list[int]:
        ids = [group_index for group_index, *_ in request.told]
        self.leases.check(name, [(group_index, lease) for group_index, lease, _ in request.told])
        outcome = request.outcome and self._checked(name, request.outcome, ids)
        if outcome is not None and (request.fate != "trained" or request.rollout_id is None):
            raise GroupError("observe: an outcome needs the rollout that it ends", key="rollout_id")
        samples = [
            SimpleNamespace(group_index=group_index, reward=reward, metadata={})
            for group_index, _, rewards in request.told
            for reward in (rewards if self.learns else None) or (None,)
        ]
        report = Report(samples, request.fate, request.rollout_id, outcome=outcome)
        self._states.report(report)
        if request.fate != "finished":
            self.leases.release(ids, "settled")
        if outcome is None:
            return ids
        self.leases.release(outcome.dropped, "settled")
        self.leases.release(outcome.surplus, "returned")
        self.leases.release(outcome.discarded, "given_up")
        return [*ids, *outcome.dropped, *outcome.surplus, *outcome.discarded]

    def _checked(self, name: str, outcome: Outcome, ids: Sequence[int]) -> Outcome:
        """Returns the part of an outcome that the client holds still; raises GroupError."""
        held = set(self.leases.held(name))
        named = Counter(
            [*outcome.dropped, *outcome.surplus, *outcome.discarded, *dict.fromkeys(ids)]
        )
        if twice := [group_index for group_index, times in named.items() if times > 1]:
            raise GroupError(
                f"observe: the groups {twice} have two fates; report each group once",
                key="group_index",
                value=twice,
            )
        for group_index, data in outcome.surplus.items():
            if data is None or group_index not in held:
                continue
            (returned,) = self._run.groups.checked([self._decoded(data)], [data])
            if returned.group_index != group_index:
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

    def _return(self, name: str, encoded: Sequence[bytes]) -> list[int]:
        groups = [self._decoded(data) for data in encoded]
        claims = [claim[:2] for claim in messages.told(flatten(groups), rewards=False)]
        self.leases.check(name, claims)
        self._run.groups.give_back(groups, encoded)  # ``add_samples`` would encode them again
        self._states.changed()
        ids = [group_index for group_index, _ in claims]
        self.leases.release(ids, "returned")
        return ids

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
        self.give_up(group_indices)
        self.leases.release(group_indices, how)

    def _update_metadata(self, encoded: bytes) -> None:
        try:
            values = {**decode(encoded)}
        except Exception as error:  # there is no telling what the bytes hold
            raise GroupError(f"update_metadata: this is no mapping: {error!r}") from error
        self.update_metadata(values)
        self.account.note_constants()

    def _cancel(self, name: str, number: int) -> list[int]:
        """Gives up the groups of a draw whose answer nobody waits for; it is not carried out."""
        client, held = self.leases.clients[name], []
        if self.leases.was_answered(name, number) and client.answers[number] is not None:
            held = self.leases.held(name, client.answers[number])
            self._give_up(held, "given_up")
        client.answers[number] = CANCELLED
        client.freed.set()
        return held

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
        # Once it is in use, nothing to go to is no fresh start.
        if rollout_id in (None, -1) and self._run.groups.ledger.next_group:
            self._states.finish_writing()
            if self.config.load is None or self._find_state(rollout_id) is None:
                return False
        elif self.config.load is None and not self.config.sources:
            return False
        self.load(rollout_id)
        self.observe([], fate="trained")
        self.leases.release(held, "given_up")
        self.account.note_all()
        return True


def _drawn(lease: int, groups: Sequence[list[Any]]) -> bytes:
    fresh = [vars(group[0]) for group in groups if isinstance(group[0], SimpleNamespace)]
    again = [encode_group(group) for group in groups[: len(groups) - len(fresh)]]
    return messages.encode_message(messages.Drawn(lease, again, encode(fresh)))
