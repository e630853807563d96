"""Changes a state into one that another mix goes on with, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curriculum_learning.groups.served import NO_SOURCE, listed, packed
from curriculum_learning.state.compare import SIZE_KEY, Fit


def apply(state: Mapping[str, Any], fit: Fit, now: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the state that the configuration of now goes on with.

    Kept sources stay where they were, restarted ones begin their next epoch, added ones their
    first. Groups of sources that are not kept are dropped. Where groups have another size, groups
    that have not ended are generated anew: with the same ``group_index`` and new sample ids.

    Args:
        state: A saved state; it does not change.
        fit: What ``compare`` returned.
        now: The identity of the configuration.
    """
    names = {old: new for new, old in fit.kept.items()}
    if not now["sources"] and not state["identity"]["sources"]:
        names[NO_SOURCE] = NO_SOURCE
    everywhere = {**names, **{old: new for new, old in fit.restarted.items()}}
    groups = dict(state["groups"])
    before = listed(groups["in_flight"])
    waiting, in_flight, presumed = (
        [[entry[0], names[entry[1]], *entry[2:]] for entry in entries if entry[1] in names]
        for entries in (state["waiting"], before, listed(groups["presumed"]))
    )
    # Counts of removed sources stay, but must not go to another source of that name.
    groups["counts"] = {
        what: {
            everywhere.get(old, old): count
            for old, count in counts.items()
            if old in everywhere or old not in now["sources"]
        }
        for what, counts in groups["counts"].items()
    }
    dropped = groups["counts"]["dropped"]
    for _, source, *_ in (*state["waiting"], *before):
        if source not in names:
            name = everywhere.get(source, source)
            if name in everywhere.values() or name not in now["sources"]:
                dropped[name] = dropped.get(name, 0) + 1
    partials = zip(state["generated_begun"], state["generated_data"], strict=True)
    generated = dict(zip(state["generated"], partials, strict=True))
    if fit.resized:
        generated, presumed = {}, []
        groups["size"] = now[SIZE_KEY]
        for entry in (*in_flight, *waiting):
            entry[2] = groups["next_index"]
            groups["next_index"] += groups["size"]
    out = {entry[0] for entry in (*in_flight, *waiting)}
    generated = {group: partial for group, partial in generated.items() if group in out}
    return {
        **state,
        "identity": now,
        "mixture": {
            "rule": _by_source(state["mixture"].get("rule"), "sources", everywhere),
            "sources": _positions(state, fit, now),
        },
        "replacements": _by_source(state["replacements"], "sources", everywhere),
        "feedback": _feedback(state["feedback"], fit, everywhere),
        "groups": {**groups, "in_flight": packed(in_flight), "presumed": packed(presumed)},
        "waiting": waiting,
        "generated": list(generated),
        "generated_begun": [begun for begun, _ in generated.values()],
        "generated_data": [data for _, data in generated.values()],
    }


def _by_source(
    state: Mapping[str, Any] | None, key: str, names: Mapping[str, str]
) -> dict[str, Any] | None:
    """Renames the sources in ``state[key]``, and leaves out those that are gone."""
    if state is None:
        return None
    there = {names[old]: value for old, value in state[key].items() if old in names}
    return {**state, key: there}


def _feedback(
    state: Mapping[str, Any] | None, fit: Fit, names: Mapping[str, str]
) -> dict[str, Any] | None:
    """Renames the sources of results, and forgets the rows of sources with other rows."""
    if state is None:
        return None
    results = [
        [names[source], None if names[source] in fit.other_rows else row, *rest]
        for source, row, *rest in state["results"]
        if source in names
    ]
    return {**state, "results": results}


def _positions(state: Mapping[str, Any], fit: Fit, now: Mapping[str, Any]) -> dict[str, Any]:
    saved = state["mixture"].get("sources", {})
    positions: dict[str, dict[str, Any]] = {}
    for name, fingerprint in now["sources"].items():
        start = {"offset": 0, "rows": fingerprint["served_rows"], "order_name": name}
        if name in fit.kept:
            positions[name] = dict(saved[fit.kept[name]])
        elif name in fit.restarted:
            old = saved[fit.restarted[name]]
            positions[name] = {
                "credit": old["credit"],
                "drawn": old["drawn"],
                **_learned(state, fit, name, fingerprint["curriculum"]),
                **start,
                # with intervals, each has an epoch of its own
                "epoch": max(place["epoch"] for place in old.get("intervals", [old])) + 1,
            }
        else:
            positions[name] = {"credit": 0, "drawn": 0, "epoch": 0, **start}
    if not positions:
        return positions
    # The credits sum to 0; what removed sources were owed, or owed, is shared by those there are.
    missing = -sum(position["credit"] for position in positions.values())
    share, rest = divmod(missing, len(positions))
    for number, position in enumerate(positions.values()):
        position["credit"] += share + (number < rest)
    return positions


def _learned(
    state: Mapping[str, Any], fit: Fit, name: str, now: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Returns what a restarted source still knows: nothing by row if its rows are others."""
    old = state["mixture"]["sources"][fit.restarted[name]]
    identity = state["identity"]["sources"][fit.restarted[name]].get("curriculum")
    # A shape says what the state of the curriculum means, whatever the rows are.
    means_the_same = now is not None and now == identity
    same_rows = name not in fit.other_rows
    keep = means_the_same and (same_rows or (now is not None and now["shape"] is not None))
    return {
        "curriculum": old.get("curriculum") if keep else None,
        "statistics": old.get("statistics") if same_rows else None,
    }


def table(before: Mapping[str, Any], after: Mapping[str, Any], fit: Fit) -> str:
    """Returns a table of what is kept, dropped and restarted, a line for each source.

    Args:
        before: The state as it was saved.
        after: What ``apply`` returned.
        fit: What ``compare`` returned.
    """
    positions = after["mixture"]["sources"]
    lines = [("source", "has changed", "goes on at", "waiting", "in flight")]
    for name in [*positions, *(name for name in fit.notes if name not in positions)]:
        old_name = fit.kept.get(name) or fit.restarted.get(name) or name
        place = positions.get(name)
        kept = "generated anew" if fit.resized else "kept"
        again = kept if before["groups"]["accounting"] else "not served again"
        outs = ((before["waiting"], kept), (listed(before["groups"]["in_flight"]), again))
        counts = [(sum(entry[1] == old_name for entry in out), fate) for out, fate in outs]
        lines.append(
            (
                name,
                fit.notes.get(name, "-"),
                "-"
                if place is None
                else f"{len(place['intervals'])} intervals"
                if "intervals" in place
                else f"walk {place['epoch']} over its levels"
                if after["identity"]["sources"][name]["rows"] is None
                else f"epoch {place['epoch']}, {place['offset']} of {place['rows']} rows",
                *(
                    f"{n} {fate if name in fit.kept else 'dropped'}" if n else "0"
                    for n, fate in counts
                ),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
