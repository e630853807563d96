"""What a data source will do in an engine of given speeds and filters, found by running it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from curriculum_learning.commands.plan import WRITES_NOTHING
from curriculum_learning.commands.simulated_engine import EngineSettings, SimulatedEngine
from curriculum_learning.commands.terminal import progress
from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer

_NOTEWORTHY = 0.02
"""Difference of shares below which nothing is said."""


@dataclasses.dataclass
class SourceResult:
    """What became of one source."""

    name: str
    share: float
    """In force, mean over the rollouts; 0 to 1."""
    drawn: int
    """Groups of fresh rows."""
    drawn_share: float
    trained: int
    trained_share: float
    served: int
    """Groups handed out, those served again included."""
    dropped: int
    returned: int
    discarded: int
    mean_age: float
    """Of trained groups: rollouts since their first token."""
    max_age: int
    mean_buffer: float
    """Groups waiting at the end of a rollout."""
    max_buffer: int
    epoch: int
    """Completed."""
    trained_by_rollout: list[int]
    """Groups."""


@dataclasses.dataclass
class Result:
    """What became of all."""

    rollouts: int
    time: float
    """Virtual, in the unit of the latencies."""
    groups_per_time: float
    """Trained."""
    sources: list[SourceResult]
    notes: list[str]
    """Where the mixture that was drawn and the one that was trained part."""


def simulate(values: Mapping[str, Any], engine: EngineSettings, rollouts: int) -> Result:
    """Run the real data source against a simulated engine; nothing is written.

    Args:
        values: What the data source is made from.
        engine: How the engine generates.
        rollouts: How many.

    Raises:
        CurriculumLearningError: As the data source does.
    """
    refused: set[int] = set()
    args = {
        **values,
        **WRITES_NOTHING,
        # Its own filter would look for what only a model can give.
        "dynamic_sampling_filter_path": lambda args, samples: samples[0].group_index not in refused,
        "data_source_metrics_callback": lambda metrics, rollout_id: None,
    }
    source = MultipleWeightedRolloutDataSourceWithBuffer(args)
    runner = SimulatedEngine(source, args, engine, refused)
    shares: dict[str, list[float]] = {name: [] for name in engine.latency}
    buffers: dict[str, list[int]] = {name: [] for name in engine.latency}
    try:
        for rollout_id in progress(range(rollouts), "simulating"):
            for name, status in source.source_status().items():
                shares[name].append(status["weight"])
            runner.rollout(rollout_id)
            for name, status in source.source_status().items():
                buffers[name].append(int(status["buffer_length"]))
        mixture = source.dataset
        assert mixture is not None
        drawn = dict(zip(mixture.names, mixture.drawn, strict=True))
        epochs = {name: int(status["epoch"]) for name, status in source.source_status().items()}
    finally:
        source.close()
    trained = rollouts * engine.batch
    results = []
    for name, counts in runner.counts.items():
        ages = runner.ages[name]
        results.append(
            SourceResult(
                name=name,
                share=fmean(shares[name]),
                drawn=drawn[name],
                drawn_share=drawn[name] / sum(drawn.values()),
                trained=counts["trained"],
                trained_share=counts["trained"] / trained,
                served=counts["served"],
                dropped=counts["dropped"],
                returned=counts["returned"],
                discarded=counts["discarded"],
                mean_age=fmean(ages) if ages else 0.0,
                max_age=max(ages, default=0),
                mean_buffer=fmean(buffers[name]),
                max_buffer=max(buffers[name]),
                epoch=epochs[name],
                trained_by_rollout=runner.trained[name],
            )
        )
    notes = [note for result in results if (note := _note(result, trained)) is not None]
    if values.get("dynamic_sampling_filter_path") is not None:
        notes.append(
            "dynamic_sampling_filter_path is not asked, as it judges what only a model can give: "
            "--drop stands in for it"
        )
    time = runner.now
    return Result(rollouts, time, trained / time if time else math.inf, results, notes)


def _note(source: SourceResult, trained: int) -> str | None:
    noise = 3 * math.sqrt(source.share * (1 - source.share) / trained)
    if abs(source.trained_share - source.share) <= max(noise, _NOTEWORTHY):
        return None
    fates = [
        f"{count} {fate}"
        for fate, count in (("dropped", source.dropped), ("discarded", source.discarded))
        if count
    ]
    reason = f" ({', '.join(fates)})" if fates else ""
    return (
        f"source '{source.name}': its share is {source.share:.3f}, {source.drawn_share:.3f} of the "
        f"groups drawn and {source.trained_share:.3f} of those trained are its own{reason}"
    )


def headline(result: Result) -> str:
    """What holds for all sources."""
    return (
        f"{result.rollouts} rollouts in {result.time:.4g} units of time: "
        f"{result.groups_per_time:.3g} trained groups per unit"
    )


def table(result: Result) -> tuple[list[str], list[list[str]]]:
    """Columns, and a row for each source."""
    columns = [
        "source", "share", "drawn", "trained", "groups", "served", "dropped", "returned",
        "discarded", "age", "oldest", "buffer", "fullest", "epoch",
    ]  # fmt: skip
    return columns, [
        [
            source.name,
            f"{source.share:.3f}",
            f"{source.drawn_share:.3f}",
            f"{source.trained_share:.3f}",
            *map(str, (source.trained, source.served, source.dropped, source.returned)),
            str(source.discarded),
            f"{source.mean_age:.2f}",
            str(source.max_age),
            f"{source.mean_buffer:.1f}",
            str(source.max_buffer),
            str(source.epoch),
        ]
        for source in result.sources
    ]
