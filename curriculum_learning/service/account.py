"""The account of a service: its whole state, row by row, as the database holds it.

Each request writes the rows that it has changed. So nothing is decided again after a kill: no
schedule, filter or prompt file has a say while a service comes back.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from curriculum_learning.groups.served import Partial, listed
from curriculum_learning.samples.codec import encode
from curriculum_learning.service.database import Changes, Database
from curriculum_learning.service.leases import Leases
from curriculum_learning.service.restored import OUT, PRESUMED, WAITS, read_state
from curriculum_learning.service.served import ServedDataSource

logger = logging.getLogger(__name__)

_encode = msgspec.msgpack.encode

Known = tuple[int, Sequence[Any], Partial | None]
"""The id of a group, how it was served, and what is kept of it if it has come back."""


class Account:
    """Notes what requests change, for the next transaction, and restores the service.

    Args:
        source: The data source.
        leases: Who holds what.
        database: Where the rows are; None keeps none.

    Raises:
        CheckpointError: The database is damaged or cannot be written, or its state does not fit
            the configuration.
    """

    def __init__(self, source: ServedDataSource, leases: Leases, database: Database | None) -> None:
        self.number = 0
        """Counts the changes."""
        self._source, self._leases, self._database = source, leases, database
        self._ahead, self._behind = itertools.count(-1, -1), itertools.count()
        """The order of groups; those before all others count down."""
        self._start()
        if database is not None and database.read("parts"):
            self.restore()
        else:
            self.rewrite()
            if database is not None:
                database.write(self.take())

    def _start(self) -> None:
        self._changes = Changes()
        self._begun: set[int] = set()
        """Groups of which something is kept."""
        self._parts: dict[str, bytes] = {}
        self._versions: dict[str, int] = {}
        """Of the sources, as they are in the account."""
        self._rollouts: dict[int, Any] = {}
        self._results: Sequence[Any] = ()
        self._told = 0
        """Of the results, those that are in the account."""

    # Changes

    def out(self, group_indices: Iterable[int]) -> None:
        """Groups have gone out."""
        ledger = self._source.run.groups.ledger
        for index in group_indices:
            self._put(index, OUT, ledger.served(index) or (), ledger.partial(index))

    def back(self, groups: Iterable[Known]) -> None:
        """Groups that came back wait behind all others."""
        for index, served, partial in groups:
            self._put(index, WAITS, served, partial)
            if partial is not None:
                self._begun.add(index)
                self._changes.put("partials", index, partial.data)

    def in_front(self, groups: Sequence[Known]) -> None:
        """Groups wait before all others, the first one first."""
        for index, served, partial in reversed(groups):
            self._put(index, WAITS, served, partial, ahead=True)

    def gone(self, group_indices: Iterable[int]) -> None:
        """Groups have ended."""
        for index in group_indices:
            self._changes.put("groups", index, None)
            if index in self._begun:
                self._begun.remove(index)
                self._changes.put("partials", index, None)

    def note(self, name: str) -> None:
        """Ends a change that client ``name`` has made: adds all that lists no groups."""
        client = self._leases.clients.get(name)
        known = client and (client.label, client.done, [*client.answers.items()])
        self._changes.put("clients", name, None if known is None else _encode(known))
        self._note_parts()
        self._note_results()
        self._note_rollouts()
        self.number += 1
        if self._database is None:
            self._changes = Changes()

    def rewrite(self, *, loaded: bool = False) -> None:
        """Adds all groups anew; with ``loaded`` also what is kept of those that have begun."""
        state = self._source.state_dict()
        begun = map(Partial, state["generated_data"], state["generated_begun"])
        partials = dict(zip(state["generated"], begun, strict=True))
        self._begun = set(partials)
        self._changes.clear("groups")
        self._changes.parts_of["partials"] = "groups"
        groups = state["groups"]
        places = {OUT: listed(groups["in_flight"]), PRESUMED: listed(groups["presumed"])}
        for place, entries in {**places, WAITS: state["waiting"]}.items():
            for index, *served in entries:
                self._put(index, place, served, partials.get(index))
        for index in partials if loaded else ():
            self._changes.put("partials", index, partials[index].data)
        self.constants()
        self._parts, self._versions = {}, {}
        self._note_parts()

    def constants(self) -> None:
        """Adds what neither draws nor reports change."""
        self._changes.put("parts", "constants", encode(self._source.constants()))

    def take(self) -> Changes:
        """Returns what is to be written, and begins the next transaction."""
        changes, self._changes = self._changes, Changes()
        return changes

    def is_current(self) -> bool:
        """Whether nothing has changed since ``note``, in as far as a refused request might."""
        return self._parts_now() == self._parts

    def _put(
        self,
        index: int,
        place: int,
        served: Sequence[Any],
        partial: Partial | None,
        *,
        ahead: bool = False,
    ) -> None:
        order = next(self._ahead if ahead else self._behind)
        begun = None if partial is None else partial.begun
        row = (place, order, served, partial is not None, begun, *self._leases.claim(index))
        self._changes.put("groups", index, _encode(row))

    def _parts_now(self) -> dict[str, bytes]:
        parts = {**self._source.parts(), "leases": (self._leases.next, self._leases.counts)}
        return {key: _encode(part) for key, part in parts.items()}

    def _note_parts(self) -> None:
        parts = self._parts_now()
        for key, part in parts.items():
            if self._parts.get(key) != part:
                self._changes.put("parts", key, part)
        self._parts = parts
        for source in self._source.sources():
            if self._versions.get(source.name) != source.version:
                self._versions[source.name] = source.version
                self._changes.put("parts", f"source {source.name}", encode(source.state_dict()))

    def _note_results(self) -> None:
        results = self._source.results()
        if results is not self._results:  # a rollout begins
            self._changes.clear("results")
            self._results, self._told = results, 0
        for number in range(self._told, len(results)):
            self._changes.put("results", number, _encode(results[number]))
        self._told = len(results)

    def _note_rollouts(self) -> None:
        """Adds the states at the end of the latest rollouts, but not the groups that have begun."""
        now, before = self._source.rollouts(), self._rollouts
        for rollout_id in {**before, **now}:
            state = now.get(rollout_id)
            if state is not before.get(rollout_id):
                row = None if state is None else encode({**state, "generated_data": []})
                self._changes.put("rollouts", rollout_id, row)
        self._rollouts = dict(now)

    def restore(self) -> None:
        """Goes back to what is in the database.

        Raises:
            CheckpointError: It is damaged, or its state does not fit the configuration.
        """
        assert self._database is not None
        self._start()
        found = read_state(self._database, time.monotonic())
        self._leases.restore(found.clients, found.next_lease, found.lease_counts)
        self._source.restore(found.state, found.rollouts, found.ended)
        self._rollouts = dict(self._source.rollouts())
        # What is out and not leased is served again; what is leased and not known is not.
        ledger, leases = self._source.run.groups.ledger, self._leases
        self._source.give_up([index for index in ledger if leases.holder(index) is None])
        held = [index for name in leases.clients for index in leases.held(name)]
        leases.release([index for index in held if ledger.served(index) is None], "expired")
        self.rewrite()
        logger.info("the service goes on from its database; %d groups are leased", len(leases))
