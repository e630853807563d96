"""Who holds which groups of a service, until when, and what each client has been answered."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from curriculum_learning.errors import GroupError

Claim = tuple[int, int | None]
"""A group and the number of the lease under which it was handed out; None where it is not known."""


@dataclasses.dataclass
class _Client:
    heard: float
    label: str = ""
    groups: dict[int, tuple[int, float]] = dataclasses.field(default_factory=dict)
    """Of each group that it holds: the number of the lease, and since when."""
    answers: dict[int, bytes] = dataclasses.field(default_factory=dict)
    """By request; those of which it is not known that it has received them."""
    done: int = 0
    """It has received the answers to all requests below this one."""


class Leases:
    """An account of the groups that clients hold, and of their latest requests.

    A group has one holder at most. Every handing out has a number of its own, and an answer about
    a group names the number under which it was handed out: so an answer that comes after the
    lease has ended is known to be late, though the group may be out again, with the same client
    too.

    A client numbers its requests and says with each one below which number it has received all
    answers. Answers from there on are kept, so that a request which is sent again is answered
    again and not carried out again.

    Not thread-safe. Times are seconds of any clock that does not go back.

    Args:
        timeout: Seconds without a sign of life after which the leases of a client end, > 0.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.counts: Counter[str] = Counter()
        """Groups by how their leases ended (``settled``, ``returned``, ``given_up``, ``expired``),
        and those that late answers were about (``late``)."""
        self._clients: dict[str, _Client] = {}
        self._holders: dict[int, str] = {}
        self._next = 0

    def __len__(self) -> int:
        """Groups that are held."""
        return len(self._holders)

    # Clients

    def hear(self, client: str, now: float, label: str | None = None) -> None:
        """A client has given a sign of life; one that is not known is from now on.

        Args:
            client: Its id.
            now: The time.
            label: What it is called in metrics.
        """
        known = self._clients.setdefault(client, _Client(now))
        known.heard = now
        if label is not None:
            known.label = label

    def forget(self, client: str) -> None:
        """A client is gone for good; it holds nothing any more."""
        self._clients.pop(client, None)

    def clients(self) -> list[str]:
        """All clients that are known."""
        return list(self._clients)

    def holders(self) -> set[str]:
        """The clients that hold groups."""
        return {name for name, client in self._clients.items() if client.groups}

    def silent(self, now: float) -> list[str]:
        """The clients that hold groups and were not heard for too long."""
        return [
            name
            for name, client in self._clients.items()
            if client.groups and now - client.heard > self.timeout
        ]

    def next_silence(self, now: float) -> float:
        """Seconds until the next client could be ``silent``, at least 0; at most the timeout."""
        heard = [client.heard for client in self._clients.values() if client.groups]
        return max(0.0, min(heard, default=now) + self.timeout - now)

    # Groups

    def grant(self, client: str, group_indices: Sequence[int], now: float) -> int:
        """Lease groups that nobody holds to a client; gives the number of the lease."""
        number = self._next
        self._next += 1
        holder = self._clients[client]
        for group_index in group_indices:
            assert group_index not in self._holders, f"group {group_index} has a holder"
            self._holders[group_index] = client
            holder.groups[group_index] = (number, now)
        return number

    def held(self, client: str) -> list[int]:
        """The groups that a client holds, in the order in which it was given them."""
        known = self._clients.get(client)
        return [] if known is None else list(known.groups)

    def count(self, client: str) -> int:
        """How many groups a client holds."""
        known = self._clients.get(client)
        return 0 if known is None else len(known.groups)

    def holder(self, group_index: int) -> str | None:
        """Who holds a group; None if nobody does."""
        return self._holders.get(group_index)

    def check(self, client: str, claims: Iterable[Claim]) -> None:
        """Whether an answer about groups comes in time.

        Args:
            client: Whose answer it is. It need not be the holder if it names the leases: groups
                may be generated in one process and trained in another.
            claims: The groups.

        Raises:
            GroupError: The lease of one of them has ended; ``value`` has the ids of all of these.
        """
        late = [claim[0] for claim in claims if self.is_late(client, claim)]
        if not late:
            return
        self.counts["late"] += len(late)
        raise GroupError(
            f"the groups {late} are not leased (any more) as this answer says: they were settled "
            f"or given back already, or their lease ended when the client that held them died or "
            f"was not heard for {self.timeout:g} s, and they are served again. Nothing of this "
            f"answer was taken in: do not train on these groups, and answer for the others",
            key="group_index",
            value=late,
        )

    def is_late(self, client: str, claim: Claim) -> bool:
        """Whether a lease has ended; see ``check``."""
        group_index, number = claim
        holder = self._holders.get(group_index)
        if holder is None:
            return True
        if number is None:
            return holder != client
        return self._clients[holder].groups[group_index][0] != number

    def release(self, group_indices: Iterable[int], how: str) -> set[str]:
        """The leases of groups end, as ``counts`` says; those that nobody holds do not count.

        Returns:
            The clients that held one of them.
        """
        holders = set()
        for group_index in group_indices:
            holder = self._holders.pop(group_index, None)
            if holder is not None:
                del self._clients[holder].groups[group_index]
                self.counts[how] += 1
                holders.add(holder)
        return holders

    # Requests

    def answer(self, client: str, number: int) -> bytes | None:
        """What a request was answered; None if it has not been.

        Raises:
            GroupError: The client has said that it has received the answer.
        """
        known = self._clients.get(client)
        if known is None:
            return None
        if number < known.done:
            raise GroupError(
                f"request {number} of client {client} was answered, and it has received the answer",
                key="request",
                value=number,
            )
        return known.answers.get(number)

    def answered(self, client: str, number: int, answer: bytes) -> None:
        """A request has been answered."""
        self._clients[client].answers[number] = answer

    def received(self, client: str, done: int) -> None:
        """A client has received the answers to all requests below ``done``."""
        known = self._clients.get(client)
        if known is not None and done > known.done:
            known.done = done
            for number in [number for number in known.answers if number < done]:
                del known.answers[number]

    # State

    def status(self, now: float) -> dict[str, dict[str, float]]:
        """Of each client: ``leased`` groups, ``lease_age/max`` and ``silent``.

        The age of its oldest lease and the time since its last sign of life are in seconds.
        Clients go by their ids, after their labels where they have one.
        """
        return {
            f"{client.label}/{name}" if client.label else name: {
                "leased": len(client.groups),
                "lease_age/max": max(
                    (now - since for _, since in client.groups.values()), default=0.0
                ),
                "silent": now - client.heard,
            }
            for name, client in self._clients.items()
        }

    def state_dict(self, now: float) -> dict[str, Any]:
        """Plain data."""
        return {
            "next": self._next,
            "counts": dict(self.counts),
            "clients": [
                {
                    "name": name,
                    "label": client.label,
                    "done": client.done,
                    "answers": dict(client.answers),
                    "groups": [
                        [group_index, number, now - since]
                        for group_index, (number, since) in client.groups.items()
                    ],
                }
                for name, client in self._clients.items()
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any], now: float) -> None:
        """Go to the state that ``state_dict`` gave; all clients count as heard just now."""
        self._next, self.counts = state["next"], Counter(state["counts"])
        self._clients, self._holders = {}, {}
        for saved in state["clients"]:
            groups = {index: (number, now - age) for index, number, age in saved["groups"]}
            self._clients[saved["name"]] = _Client(
                now, saved["label"], groups, dict(saved["answers"]), saved["done"]
            )
            self._holders |= dict.fromkeys(groups, saved["name"])
