"""What is in the database of a service, as a state of a data source and the leases of clients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from curriculum_learning.errors import CheckpointError
from curriculum_learning.groups.served import packed
from curriculum_learning.samples.codec import decode
from curriculum_learning.service.database import Database
from curriculum_learning.service.leases import Client

TABLES = {
    "parts": str,
    "clients": str,
    "groups": int,
    "partials": int,
    "results": int,
    "rollouts": int,
}
"""The tables, and the types of their keys."""

OUT, PRESUMED, WAITS = range(3)
"""Where a group is."""


class Restored(NamedTuple):
    """What is in a database."""

    state: dict[str, Any]
    """Of the data source."""
    rollouts: dict[int, dict[str, Any]]
    """States at the end of the latest rollouts."""
    ended: tuple[int | None, bool]
    """See ``Snapshots.mark``."""
    clients: dict[str, Client]
    next_lease: int
    lease_counts: Counter[str]


def read_state(database: Database, now: float) -> Restored:
    """Reads all tables; all clients count as heard ``now``.

    Raises:
        CheckpointError: Something is missing that the service cannot go on without.
    """
    try:
        return _read({table: database.read(table) for table in TABLES}, now)
    except CheckpointError:
        raise
    except Exception as error:  # whatever the damage is, it is one kind of error
        raise CheckpointError(f"this is not the database of a service: {error!r}") from error


def _read(rows: Mapping[str, Mapping[Any, bytes]], now: float) -> Restored:
    parts = {key: decode(row) for key, row in rows["parts"].items()}
    clients = {}
    for name, row in rows["clients"].items():
        label, done, answers = decode(row)
        clients[name] = Client(label, now, done, dict(answers))
    next_lease, counts = parts.pop("leases")
    ended, updates, totals = (parts.pop(key) for key in ("ended", "updates", "totals"))
    state = {
        **parts.pop("constants"),
        **parts,
        **_groups(rows["groups"], rows["partials"], clients, now),
    }
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
    return Restored(state, rollouts, ended, clients, next_lease, Counter(counts))


def _groups(
    rows: Mapping[int, bytes],
    partials: Mapping[int, bytes],
    clients: Mapping[str, Client],
    now: float,
) -> dict[str, Any]:
    """The part of a state that lists groups; clients get those that they hold."""
    places: dict[int, list[list[Any]]] = {OUT: [], PRESUMED: [], WAITS: []}
    begun: dict[int, int | None] = {}
    decoded = [(index, *decode(row)) for index, row in rows.items()]
    decoded.sort(key=lambda row: row[2])
    for index, place, _, served, has_begun, step, holder, lease in decoded:
        places[place].append([index, *served])
        if has_begun:
            begun[index] = step
        if holder in clients:
            clients[holder].groups[index] = (lease, now)
    out, presumed = packed(places[OUT]), packed(places[PRESUMED])
    return {
        "groups": {"in_flight": out, "presumed": presumed},
        "waiting": places[WAITS],
        **_generated(begun, partials),
    }


def _generated(
    begun: Mapping[int, int | None], partials: Mapping[int, bytes]
) -> dict[str, list[Any]]:
    """The groups of a state that have begun; those of which nothing is kept begin anew."""
    kept = [index for index in begun if index in partials]
    return {
        "generated": kept,
        "generated_begun": [begun[index] for index in kept],
        "generated_data": [partials[index] for index in kept],
    }
