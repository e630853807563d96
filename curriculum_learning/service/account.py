"""The account of a service: its whole state, row by row, as the database holds it.

Each request writes the rows that it has changed. So nothing is decided again after a kill: no
schedule, filter or prompt file has a say while a service comes back.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from curriculum_learning.groups.run import Run
from curriculum_learning.groups.served import Partial, packed
from curriculum_learning.samples.codec import decode, encode
from curriculum_learning.service.database import Changes, Database
from curriculum_learning.service.leases import Client, Leases
from curriculum_learning.state.states import States

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


class Account:
    """Notes what requests change, for the next transaction, and restores the service.

    Raises:
        CheckpointError: The database is damaged or cannot be written, or its state does not fit
            the configuration.
    """

    def __init__(self, run: Run, states: States, leases: Leases, database: Database | None) -> None:
        self._run, self._states, self._leases = run, states, leases
        self._database = database
        self._start()
        if database is not None and (database.read("parts") or database.set_aside):
            self.restore()
        else:
            self.note_all()
            changes = self.take()
            if database is not None:
                database.write(changes)

    def _start(self) -> None:
        self.changes: Changes
        """Those of the next transaction."""
        self._next_transaction()
        self._partials: dict[int, Partial] = {}
        """What follows is in the account already."""
        self._parts: dict[str, bytes] = {}
        self._versions: dict[str, int] = {}
        self._results: list[Any] = []
        self._told = 0
        """So many of the results."""
        self._rollouts: dict[int, Any] = {}

    # Changes

    def _next_transaction(self) -> None:
        self.changes = Changes()
        self._states.committed = self.changes.written

    def take(self) -> Changes:
        """Returns the changes so far, and begins the next transaction."""
        changes = self.changes
        self._next_transaction()
        return changes

    def note(self, client: str, group_indices: Iterable[int] = ()) -> None:
        """Adds what a request of a client has changed: these groups, and all that is no group."""
        if self._database is None:
            return
        for group_index in group_indices:
            self._note_group(group_index)
        row = None
        if (known := self._leases.clients.get(client)) is not None:
            answers = [*known.answers.items()]
            row = _encode((known.label, known.next, [*known.waiting], answers))
        self.changes.put("clients", client, row)
        self.note_parts()

    def note_all(self) -> None:
        """Adds all groups, and all parts of the state, anew."""
        groups = self._run.groups
        waiting = (waiting.group_index for waiting in groups.buffers)
        self.changes.clear("groups")
        for group_index in dict.fromkeys((*groups.ledger.known(), *waiting, *self._partials)):
            self._note_group(group_index)
        self._parts, self._versions = {}, {}
        self.note_constants()
        self.note_parts()

    def note_constants(self) -> None:
        """Adds what neither draws nor reports change."""
        self.changes.put("parts", "constants", encode(self._states.constants()))

    def _note_group(self, group_index: int) -> None:
        groups = self._run.groups
        row, partial = None, groups.ledger.partial(group_index)
        if (waiting := groups.buffers.get(group_index)) is not None:
            row = _encode((_WAITS, waiting.arrival, waiting.served, None, None))
            partial = waiting.partial
        elif (served := groups.ledger.served(group_index)) is not None:
            place = _OUT if group_index in groups.ledger else _PRESUMED
            holder, lease, order = self._leases.holder(group_index)
            row = _encode((place, order, served, holder, lease))
        self.changes.put("groups", group_index, row)
        if partial is None:
            if self._partials.pop(group_index, None) is not None:
                self.changes.put("partials", group_index, None)
        elif partial is not self._partials.get(group_index):
            self._partials[group_index] = partial
            self.changes.put("partials", group_index, _encode(partial))

    def note_parts(self) -> None:
        """Adds what has changed of all that is neither a group nor a client."""
        if self._database is None:
            return
        run = self._run
        parts = {
            **run.positions(),
            "logs": run.groups.logs,
            "totals": run.groups.ledger.totals(),
            "updates": None if run.feedback is None else run.feedback.updates,
            "latest": self._states.latest(),
            "leases": (self._leases.next, self._leases.counts),
        }
        for key, part in parts.items():
            if (row := _encode(part)) != self._parts.get(key):
                self._parts[key] = row
                self.changes.put("parts", key, row)
        for source in () if run.mixture is None else run.mixture.sources:
            if self._versions.get(source.name) != source.version:
                self._versions[source.name] = source.version
                self.changes.put("parts", f"source {source.name}", encode(source.state_dict()))
        self._note_results()
        self._note_rollouts()

    def _note_results(self) -> None:
        feedback = self._run.feedback
        if feedback is None:
            return
        if feedback.results is not self._results:  # a rollout begins
            self.changes.clear("results")
            self._results, self._told = feedback.results, 0
        for result in self._results[self._told :]:
            self.changes.put("results", self._told, _encode(result))
            self._told += 1

    def _note_rollouts(self) -> None:
        """Adds the states at the end of the latest rollouts, but not the groups that have begun."""
        now = self._states.ended()
        for rollout_id in {**self._rollouts, **now}:
            state = now.get(rollout_id)
            if state is not self._rollouts.get(rollout_id):
                self.changes.put("rollouts", rollout_id, None if state is None else _row_of(state))
        self._rollouts = dict(now)

    # Coming back

    def restore(self) -> None:
        """Returns to the state in the database.

        Raises:
            CheckpointError: It is damaged, or its state does not fit the configuration.
        """
        assert self._database is not None
        state = read_service(self._database, time.monotonic())
        latest, rollouts = state.pop("latest"), state.pop("rollouts")
        for rollout_id, row in self._database.read("rollouts").items():
            before = self._rollouts.get(rollout_id)
            if before is not None and _row_of(before) == row:
                rollouts[rollout_id] = before  # it has the groups that have begun
        self._start()
        self._leases.restore(state.pop("clients"), *state.pop("leases"))
        self._states.load_state_dict(state, held=True)
        self._states.go_on(rollouts, *latest)
        groups, ledger, leases = self._run.groups, self._run.groups.ledger, self._leases
        self._partials = {w.group_index: w.partial for w in groups.buffers if w.partial is not None}
        self._partials |= ledger.partials()
        self._rollouts = dict(self._states.ended())
        # Groups that are out and not leased are served again; leases on unknown groups end.
        if groups.give_up([index for index in ledger if leases.holder(index)[0] is None]):
            self._states.changed()
        held = [index for name in leases.clients for index in leases.held(name)]
        leases.release([index for index in held if ledger.served(index) is None], "expired")
        self.note_all()
        logger.info("the service continues from its database; %d groups are leased", len(leases))


def read_service(database: Database, now: float) -> dict[str, Any]:
    """Reads the state of a data source, and what belongs to the service beside it.

    These are ``clients``, who all count as heard ``now``; ``leases``, the next one and the counts;
    ``rollouts``, the states at the end of the latest rollouts; and ``latest``, see ``States``.

    Raises:
        CheckpointError: Something is missing that the service cannot do without.
    """
    rows = {table: database.read(table) for table in TABLES}
    try:
        return _state_of(rows, now)
    except Exception as error:  # whatever the damage is, it is one kind of error
        raise database.damaged(f"a part of the state is missing: {error!r}") from error


def _state_of(rows: Mapping[str, Mapping[Any, bytes]], now: float) -> dict[str, Any]:
    read = {table: {key: decode(row) for key, row in of.items()} for table, of in rows.items()}
    state: dict[str, Any] = read["parts"]
    state |= state.pop("constants")
    clients = {
        name: Client(label, now, number, frozenset(waiting), dict(answers))
        for name, (label, number, waiting, answers) in read["clients"].items()
    }
    places: dict[int, list[list[Any]]] = {_OUT: [], _PRESUMED: [], _WAITS: []}
    for index, row in sorted(read["groups"].items(), key=lambda item: _order_of(*item[1])):
        place, order, served, holder, lease = row
        places[place].append([index, *served])
        if holder in clients:
            clients[holder].groups[index] = (lease, order, now)
    partials = read["partials"]
    begun = {index: partials[index][1] for index in read["groups"] if index in partials}
    for name, place in state["mixture"].get("sources", {}).items():
        state["mixture"]["sources"][name] = {**state.pop(f"source {name}"), **place}
    for snapshot in read["rollouts"].values():
        begun_then = zip(snapshot["generated"], snapshot["generated_begun"], strict=True)
        snapshot |= _generated(dict(begun_then), partials)
    updates, results = state.pop("updates"), [*read["results"].values()]
    lease, counts = state.pop("leases")
    totals = state.pop("totals")
    return {
        **state,
        **_generated(begun, partials),
        "groups": {
            **totals,
            "in_flight": packed(places[_OUT]),
            "presumed": packed(places[_PRESUMED]),
        },
        "waiting": places[_WAITS],
        "feedback": None if updates is None else {"updates": updates, "results": results},
        "rollouts": read["rollouts"],
        "clients": clients,
        "leases": (lease, Counter(counts)),
    }


def _order_of(_: int, order: int, __: Any, ___: Any, lease: int | None) -> tuple[int, int]:
    """In which order groups went out, lease by lease, or came back."""
    return lease or 0, order


def _row_of(state: Mapping[str, Any]) -> bytes:
    return encode({**state, "generated_data": []})


def _generated(begun: Mapping[int, int | None], partials: Mapping[int, Any]) -> dict[str, Any]:
    """The groups of a state that have begun; those without content begin anew."""
    kept = [index for index in begun if index in partials]
    return {
        "generated": kept,
        "generated_begun": [begun[index] for index in kept],
        "generated_data": [partials[index][0] for index in kept],
    }
