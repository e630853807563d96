"""Who holds which groups, until when, and what each client was answered."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Iterable

from curriculum_learning.errors import GroupError
from curriculum_learning.service.messages import Claim

CANCELLED = -1
"""Kept in place of the answer to a request that must not be carried out."""


@dataclasses.dataclass
class Client:
    """A client, its leases and its answers."""

    label: str
    """Names it in metrics."""
    heard: float
    next: int = 0
    """It has the answers to all requests below this one, but for ``waiting``."""
    waiting: frozenset[int] = frozenset()
    answers: dict[int, int | None] = dataclasses.field(default_factory=dict)
    """By request, as long as it may be sent again: the lease of a draw, else None."""
    groups: dict[int, tuple[int, int, float]] = dataclasses.field(default_factory=dict)
    """The groups that it holds: the lease of each, its place in it, and since when."""
    freed: threading.Event = dataclasses.field(default_factory=threading.Event)
    """Set when a draw that waits for room may have some, or need not wait any more."""
    waits: int = 0
    waited: float = 0.0


def refuse_too_many(count: int, limit: int) -> None:
    """Raises GroupError if a client may never hold ``count`` groups at once."""
    if count > limit:
        raise GroupError(
            f"get_samples: num_samples is {count}; a client may hold at most "
            f"ray_service.max_leased_groups ({limit}) at once",
            key="max_leased_groups",
            value=count,
        )


class Leases:
    """Tracks the groups that clients hold, and their latest requests.

    A group has at most one holder. Every draw has a lease number of its own, and a report on a
    group names it: a report that comes after the lease has ended is late, even if the same client
    holds the group again. Not thread-safe.

    Args:
        timeout: Seconds without a sign of life after which a client loses its groups, > 0.
        first: The number of the first lease. Runs count from different numbers, so that no
            report of one run is taken for a report of another.
    """

    def __init__(self, timeout: float, first: int = 0) -> None:
        self._timeout = timeout
        self.next = first
        """The number of the next lease."""
        self.counts: Counter[str] = Counter()
        """Groups by how their leases ended: settled, returned, given_up, expired."""
        self._late = 0
        """Groups that late reports named, since this process began."""
        self.clients: dict[str, Client] = {}
        self._holders: dict[int, str] = {}

    def __len__(self) -> int:
        """Groups that are held."""
        return len(self._holders)

    def restore(self, clients: dict[str, Client], first: int, counts: Counter[str]) -> None:
        """Goes to other clients, with all that they hold; when they were heard is known still."""
        for name, client in self.clients.items():
            client.freed.set()
            if name in clients:
                clients[name].heard = client.heard
                clients[name].waits, clients[name].waited = client.waits, client.waited
        self.clients, self.next, self.counts = clients, first, counts
        self._holders = {group: name for name, one in clients.items() for group in one.groups}

    def hear(self, name: str, now: float, next: int, waiting: Iterable[int] = ()) -> Client:
        """A client lives, and has the answers to all requests below ``next`` but ``waiting``.

        Raises:
            GroupError: The client is not known.
        """
        client = self.clients.get(name)
        if client is None:
            raise GroupError(
                f"the service does not know client {name}: it was closed, was seen to die, was "
                f"silent for too long, or is of another run; make another client",
                key="client",
                value=name,
            )
        client.heard = now
        if next > client.next:  # else this was sent before what was heard last
            client.next, client.waiting = next, frozenset(waiting)
            for number in client.answers.keys() - client.waiting:
                if number < next:
                    del client.answers[number]
        return client

    def forget(self, name: str) -> None:
        """A client that holds nothing is gone."""
        self.clients.pop(name).freed.set()

    def silent(self, now: float, timeout: float) -> list[str]:
        """The clients that were not heard for ``timeout`` seconds."""
        return [name for name, client in self.clients.items() if now - client.heard > timeout]

    def was_answered(self, name: str, number: int) -> bool:
        """Whether a request was carried out.

        Raises:
            GroupError: The client has the answer, or has cancelled the request.
        """
        client = self.clients[name]
        is_over = number < client.next and number not in client.waiting
        if is_over or client.answers.get(number) == CANCELLED:
            raise GroupError(
                f"request {number} of client {name} was answered or cancelled before",
                key="request",
                value=number,
            )
        return number in client.answers

    # Groups

    def grant(self, name: str, group_indices: Iterable[int], now: float) -> int:
        """Leases groups that nobody holds to a client; returns the number of the lease."""
        lease, groups = self.next, self.clients[name].groups
        self.next += 1
        for place, group_index in enumerate(group_indices):
            assert group_index not in self._holders, f"group {group_index} has a holder"
            self._holders[group_index] = name
            groups[group_index] = (lease, place, now)
        return lease

    def held(self, name: str, lease: int | None = None) -> list[int]:
        """The groups that a client holds, oldest first; those of one lease if it is given."""
        groups = self.clients[name].groups.items()
        return [group_index for group_index, (number, *_) in groups if lease in (None, number)]

    def holder(self, group_index: int) -> tuple[str | None, int | None, int]:
        """Who holds a group, under which lease, and its place in it; None if nobody does."""
        holder = self._holders.get(group_index)
        if holder is None:
            return None, None, 0
        lease, place, _ = self.clients[holder].groups[group_index]
        return holder, lease, place

    def check(self, name: str, claims: Iterable[Claim]) -> None:
        """Refuses a report that comes too late.

        Args:
            name: The client that reports. It need not be the holder if it names the leases:
                groups may be generated in one process and trained in another.
            claims: The groups.

        Raises:
            GroupError: The lease of a group has ended; ``value`` has the ids of all such groups.
        """
        late = [claim[0] for claim in claims if self.is_late(name, claim)]
        if late:
            self._late += len(late)
            raise GroupError(
                f"the groups {late} are not leased (any more) as this answer says: they were "
                f"settled or given back already, or are of another run, or their lease ended when "
                f"the client that held them died or was not heard for {self._timeout:g} s, and "
                f"they are served again. Nothing of this answer was taken in: do not train on "
                f"these groups, and answer for the others",
                key="group_index",
                value=late,
            )

    def is_late(self, name: str, claim: Claim) -> bool:
        """Whether a lease has ended; see ``check``."""
        group_index, lease = claim
        holder, current, _ = self.holder(group_index)
        return holder != name if holder is None or lease is None else current != lease

    def release(self, group_indices: Iterable[int], how: str) -> None:
        """Ends the leases of groups, as ``counts`` says; groups without a holder do not count."""
        freed = set()
        for group_index in group_indices:
            holder = self._holders.pop(group_index, None)
            if holder is not None:
                del self.clients[holder].groups[group_index]
                self.counts[how] += 1
                freed.add(holder)
        for holder in freed:
            self.clients[holder].freed.set()

    def status(self, now: float) -> dict[str, dict[str, float]]:
        """Figures of all clients together (under ""), and of each; times are in seconds."""
        clients: dict[str, dict[str, float]] = {
            f"{client.label}/{name}": {
                "leased": len(client.groups),
                "lease_age/max": max(
                    (now - since for *_, since in client.groups.values()), default=0.0
                ),
                "silent": now - client.heard,
                "waits": client.waits,
                "waited": client.waited,
            }
            for name, client in self.clients.items()
        }
        total: dict[str, float] = {
            "clients": len(clients),
            "leased": len(self),
            "client_leased/max": max((c["leased"] for c in clients.values()), default=0),
            "lease_age/max": max((c["lease_age/max"] for c in clients.values()), default=0.0),
            "waits": sum(client["waits"] for client in clients.values()),
            "late": self._late,
            **{how: self.counts[how] for how in ("settled", "returned", "given_up", "expired")},
        }
        return {"": total, **clients}
