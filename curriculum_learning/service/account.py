"""The account of a service: its whole state, row by row, as the database holds it.

Each request writes the rows that it has changed. So nothing is decided again after a kill: no
schedule, filter or prompt file has a say while a service comes back.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from curriculum_learning.errors import CheckpointError
from curriculum_learning.groups.served import Partial, listed, packed
from curriculum_learning.samples.codec import decode, encode
from curriculum_learning.service.database import Changes, Database
from curriculum_learning.service.leases import Client, Leases
from curriculum_learning.service.served import ServedDataSource

logger = logging.getLogger(__name__)

_encode = msgspec.msgpack.encode

TABLES = {
    "parts": str,
    "clients": str,
    "groups": int,
    "partials": int,
    "results": int,
    "rollouts": int,
}
"""The tables, and the types of their keys."""

_OUT, _PRESUMED, _WAITS = range(3)
"""Where a group is."""

Known = tuple[int, Sequence[Any], Partial | None]
"""The id of a group, how it was served, and its content if it has come back."""


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
        self.changes = Changes()
        """Since the latest ``take``."""
        self._source, self._leases, self._database = source, leases, database
        self._ahead, self._behind = itertools.count(-1, -1), itertools.count()
        """The order of groups; those before all others count down."""
        self._start()
        if database is not None and (database.read("parts") or database.set_aside):
            self.restore()
        else:
            self.rewrite()
            if database is not None:
                database.write(self.take())

    def _start(self) -> None:
        self.take()
        self._begun: set[int] = set()
        """Groups whose content is in the database."""
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
            self._put(index, _OUT, ledger.served(index) or (), ledger.partial(index))

    def back(self, groups: Iterable[Known]) -> None:
        """Groups that came back wait behind all others."""
        for index, served, partial in groups:
            self._put(index, _WAITS, served, partial)
            self._keep(index, partial)

    def in_front(self, groups: Sequence[Known]) -> None:
        """Groups wait before all others, the first one first."""
        for index, served, partial in reversed(groups):
            self._put(index, _WAITS, served, partial, ahead=True)

    def gone(self, group_indices: Iterable[int]) -> None:
        """Groups have ended."""
        for index in group_indices:
            self.changes.put("groups", index, None)
            self._keep(index, None)

    def note(self, name: str) -> None:
        """Ends a change that client ``name`` has made: adds all that lists no groups."""
        client = self._leases.clients.get(name)
        known = client and (client.label, client.done, [*client.answers.items()])
        self.changes.put("clients", name, None if known is None else _encode(known))
        self._note_parts()
        self._note_results()
        self._note_rollouts()

    def rewrite(self, *, loaded: bool = False) -> None:
        """Adds all groups anew; with ``loaded`` also the content of those that have begun."""
        state = self._source.state_dict()
        begun = map(Partial, state["generated_data"], state["generated_begun"])
        partials = dict(zip(state["generated"], begun, strict=True))
        self.changes.clear("groups")
        groups = state["groups"]
        places = {_OUT: listed(groups["in_flight"]), _PRESUMED: listed(groups["presumed"])}
        for place, entries in {**places, _WAITS: state["waiting"]}.items():
            for index, *served in entries:
                self._put(index, place, served, partials.get(index))
        for index in self._begun - partials.keys():
            self._keep(index, None)
        for index in partials if loaded else ():
            self._keep(index, partials[index])
        self.constants()
        self._parts, self._versions = {}, {}
        self._note_parts()

    def constants(self) -> None:
        """Adds what neither draws nor reports change."""
        self.changes.put("parts", "constants", encode(self._source.states.constants()))

    def take(self) -> Changes:
        """Returns the changes so far, and begins the next transaction."""
        changes, self.changes = self.changes, Changes()
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
        row = (place, order, served, partial is not None, begun, *self._leases.holder(index))
        self.changes.put("groups", index, _encode(row))

    def _keep(self, index: int, partial: Partial | None) -> None:
        if partial is not None:
            self._begun.add(index)
            self.changes.put("partials", index, partial.data)
        elif index in self._begun:
            self._begun.remove(index)
            self.changes.put("partials", index, None)

    def _parts_now(self) -> dict[str, bytes]:
        """The parts of the state that change often and list no groups, results or rows."""
        run, ended = self._source.run, self._source.states.ended()
        parts = {
            **run.positions(),
            "logs": run.groups.logs,
            "totals": run.groups.ledger.totals(),
            "updates": None if run.feedback is None else run.feedback.updates,
            "ended": ended[1:],
            "leases": (self._leases.next, self._leases.counts),
        }
        return {key: _encode(part) for key, part in parts.items()}

    def _note_parts(self) -> None:
        parts = self._parts_now()
        for key, part in parts.items():
            if self._parts.get(key) != part:
                self.changes.put("parts", key, part)
        self._parts = parts
        mixture = self._source.run.mixture
        for source in () if mixture is None else mixture.sources:
            if self._versions.get(source.name) != source.version:
                self._versions[source.name] = source.version
                self.changes.put("parts", f"source {source.name}", encode(source.state_dict()))

    def _note_results(self) -> None:
        feedback = self._source.run.feedback
        if feedback is None:
            return
        results = feedback.results
        if results is not self._results:  # a rollout begins
            self.changes.clear("results")
            self._results, self._told = results, 0
        for number in range(self._told, len(results)):
            self.changes.put("results", number, _encode(results[number]))
        self._told = len(results)

    def _note_rollouts(self) -> None:
        """Adds the states at the end of the latest rollouts, but not the groups that have begun."""
        now, before = self._source.states.ended()[0], self._rollouts
        for rollout_id in {**before, **now}:
            state = now.get(rollout_id)
            if state is not before.get(rollout_id):
                row = None if state is None else encode({**state, "generated_data": []})
                self.changes.put("rollouts", rollout_id, row)
        self._rollouts = dict(now)

    def restore(self) -> None:
        """Returns to the state in the database.

        Raises:
            CheckpointError: It is damaged, or its state does not fit the configuration.
        """
        assert self._database is not None
        self._start()
        state = read_service(self._database, time.monotonic())
        self._leases.restore(state.pop("clients"), *state.pop("leases"))
        self._begun = set(state["generated"])
        self._source.restore(state, state.pop("rollouts"), state.pop("ended"))
        self._rollouts = dict(self._source.states.ended()[0])
        # Groups that are out and not leased are served again; leases on unknown groups end.
        ledger, leases = self._source.run.groups.ledger, self._leases
        self._source.give_up([index for index in ledger if leases.holder(index)[0] is None])
        held = [index for name in leases.clients for index in leases.held(name)]
        leases.release([index for index in held if ledger.served(index) is None], "expired")
        self.rewrite()
        logger.info("the service continues from its database; %d groups are leased", len(leases))


def read_service(database: Database, now: float) -> dict[str, Any]:
    """Reads the state of a data source, and what belongs to the service beside it.

    These are ``clients``, who all count as heard ``now``; ``leases``, the next one and the counts;
    ``rollouts``, the states at the end of the latest rollouts; and ``ended``, see ``States.ended``.

    Raises:
        CheckpointError: Something is missing that the service cannot do without.
    """
    try:
        return _state_of({table: database.read(table) for table in TABLES}, now)
    except CheckpointError:
        raise
    except Exception as error:  # whatever the damage is, it is one kind of error
        raise database.damaged(f"a part of the state is missing: {error!r}") from error


def _state_of(rows: Mapping[str, Mapping[Any, bytes]], now: float) -> dict[str, Any]:
    state = {key: decode(row) for key, row in rows["parts"].items()}
    state |= state.pop("constants")
    clients = {}
    for name, row in rows["clients"].items():
        label, done, answers = decode(row)
        clients[name] = Client(label, now, done, dict(answers))
    lease, counts = state.pop("leases")
    updates, totals = state.pop("updates"), state.pop("totals")
    state |= _groups(rows["groups"], rows["partials"], clients, now)
    state["groups"] |= totals
    sources = state["mixture"].get("sources", {})
    for name, place in sources.items():
        sources[name] = {**state.pop(f"source {name}"), **place}
    results = [*map(decode, rows["results"].values())]
    state["feedback"] = None if updates is None else {"updates": updates, "results": results}
    rollouts = {}
    for rollout_id, row in rows["rollouts"].items():
        snapshot = decode(row)
        begun = zip(snapshot["generated"], snapshot["generated_begun"], strict=True)
        rollouts[rollout_id] = {**snapshot, **_generated(dict(begun), rows["partials"])}
    return {**state, "clients": clients, "leases": (lease, Counter(counts)), "rollouts": rollouts}


def _groups(
    rows: Mapping[int, bytes],
    partials: Mapping[int, bytes],
    clients: Mapping[str, Client],
    now: float,
) -> dict[str, Any]:
    """The part of a state that lists groups; clients get those that they hold."""
    places: dict[int, list[list[Any]]] = {_OUT: [], _PRESUMED: [], _WAITS: []}
    begun: dict[int, int | None] = {}
    decoded = [(index, *decode(row)) for index, row in rows.items()]
    decoded.sort(key=lambda row: row[2])
    for index, place, _, served, has_begun, step, holder, lease in decoded:
        places[place].append([index, *served])
        if has_begun:
            begun[index] = step
        if holder in clients:
            clients[holder].groups[index] = (lease, now)
    out, presumed = packed(places[_OUT]), packed(places[_PRESUMED])
    return {
        "groups": {"in_flight": out, "presumed": presumed},
        "waiting": places[_WAITS],
        **_generated(begun, partials),
    }


def _generated(
    begun: Mapping[int, int | None], partials: Mapping[int, bytes]
) -> dict[str, list[Any]]:
    """The groups of a state that have begun; those without content begin anew."""
    kept = [index for index in begun if index in partials]
    return {
        "generated": kept,
        "generated_begun": [begun[index] for index in kept],
        "generated_data": [partials[index] for index in kept],
    }
