"""The figures of each source at one moment, for metrics."""

from __future__ import annotations

from curriculum_learning.groups.circulation import Circulation
from curriculum_learning.groups.run import Run

Status = dict[str, dict[str, float]]
"""Figures by source."""


def source_status(run: Run, step: int) -> Status:
    """Returns what is in force at ``step``, what waits, and how far curricula are."""
    mixture = run.mixture
    if mixture is None:
        return {}
    shares, weights = mixture.shares(step), mixture.weights(step)
    of_rule = {} if mixture.rule is None else mixture.rule.metrics()
    return {
        source.name: {
            "weight": shares[source.name],
            "configured_weight": weights[source.name],
            **_waiting(run.groups, source.name, step),
            "epoch": source.epoch,
            **source.metrics(step),
            **of_rule.get(source.name, {}),
            **run.caps.metrics(source.name, step),
        }
        for source in mixture.sources
    }


def _waiting(groups: Circulation, name: str, step: int) -> dict[str, float]:
    waiting = groups.buffers.of(name)
    ages = [step - group.begun for group in waiting if group.begun is not None]
    if not ages:
        return {"buffer_length": len(waiting)}
    mean, largest = sum(ages) / len(ages), max(ages)
    return {"buffer_length": len(waiting), "buffer_age/mean": mean, "buffer_age/max": largest}


def source_counts(run: Run) -> Status:
    """Counts groups since the run began, by source and by what happened to them."""
    if run.mixture is None:
        return {}
    ledger, replacements = run.groups.ledger, run.fresh.replacements
    if replacements is not None:
        replacements.hear(ledger, run.mixture.drawn)
    counts: Status = {}
    for name, drawn in zip(run.mixture.names, run.mixture.drawn, strict=True):
        waiting = len(run.groups.buffers.of(name))
        counts[name] = {"drawn": drawn, "in_flight": ledger.out[name] - waiting}
        for what in ("served", "returned", "trained", "dropped", "surplus", "presumed"):
            counts[name][what] = ledger.counts[what][name]
        if run.config.max_staleness is not None:
            counts[name]["stale_reset"] = ledger.counts["reset"][name]
            counts[name]["stale_dropped"] = ledger.counts["stale"][name]
        if replacements is not None:
            counts[name] |= replacements.counts(name)
    return counts
