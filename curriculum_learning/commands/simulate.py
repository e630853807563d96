"""``simulate``: runs the real data source against an engine of given speeds and filters."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from curriculum_learning.commands.arguments import WARNED, WELL, WRONG, per_source, read_sizes
from curriculum_learning.commands.outlook import batch_of, request_of, steps_of
from curriculum_learning.commands.plan import WRITES_NOTHING, Plan, read_plan
from curriculum_learning.commands.simulated_engine import EngineSettings, SimulatedEngine
from curriculum_learning.commands.terminal import (
    progress,
    show,
    show_errors,
    show_json,
    show_table,
    show_warnings,
)
from curriculum_learning.commands.untrusted import disarm
from curriculum_learning.config.files import read_run_config
from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer
from curriculum_learning.errors import ConfigurationError

_NOTEWORTHY = 0.02
"""Differences of shares below this are not told."""


@dataclasses.dataclass
class SourceResult:
    """What one source did."""

    name: str
    share: float
    """Mean over the rollouts, 0 to 1."""
    drawn: int
    """Groups served for the first time."""
    drawn_share: float
    trained: int
    trained_share: float
    served: int
    """Groups served, those served again included."""
    dropped: int
    returned: int
    discarded: int
    mean_age: float
    """Rollouts from the first token of a trained group to its training."""
    max_age: int
    mean_buffer: float
    """Groups waiting at the end of a rollout."""
    max_buffer: int
    epoch: int
    """Completed epochs."""
    trained_by_rollout: list[int]
    """Groups."""


@dataclasses.dataclass
class Result:
    """What all sources did."""

    rollouts: int
    time: float
    """Virtual time, in the unit of the latencies."""
    groups_per_time: float
    """Trained groups."""
    sources: list[SourceResult]
    notes: list[str]
    """Where the trained mixture differs from the shares."""


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code.

    Raises:
        CurriculumLearningError: The command, the configuration or the data is wrong.
    """
    sizes, configured = read_sizes(options.rows), read_run_config(options.config)
    ignored = disarm(configured, opens_files=not sizes) if options.untrusted else []
    plan, errors, warnings = read_plan(configured, sizes, options.batch, options.folder)
    if plan is None:
        show_errors(errors, options.json)
        return WRONG
    if plan.config is None:
        raise ConfigurationError(
            "simulate runs the data source; a sampler of verl hands out rows and hears of rewards "
            "only: use preview",
            key="data.sampler",
        )
    result = simulate(plan.values, _engine(options, plan), steps_of(plan, options.steps))
    result.notes[:0] = [*ignored, *warnings]
    if options.json:
        show_json(dataclasses.asdict(result))
    else:
        _show(result)
    return WARNED if options.strict and result.notes else WELL


def _engine(options: argparse.Namespace, plan: Plan) -> EngineSettings:
    names = list(plan.rows)
    return EngineSettings(
        batch=batch_of(plan),
        request=options.over_sampling or request_of(plan),
        latency=per_source(options.latency, names, "--latency", 1.0),
        spread=options.spread,
        drop=per_source(options.drop, names, "--drop", 0.0),
        reward=per_source(options.reward, names, "--reward", 1.0),
        fully_async=options.fully_async,
        partial=bool(plan.values.get("partial_rollout", False)),
        seed=options.seed,
    )


def simulate(values: Mapping[str, Any], engine: EngineSettings, rollouts: int) -> Result:
    """Runs the real data source against a simulated engine; writes nothing.

    Args:
        values: The data source's arguments.
        engine: How the engine generates.
        rollouts: Number of rollouts.

    Raises:
        CurriculumLearningError: As the data source does.
    """
    refused: set[int] = set()
    args = {
        **values,
        **WRITES_NOTHING,
        # Its own filter would judge what only a model can give.
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
    results = [
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
            mean_age=fmean(runner.ages[name] or [0]),
            max_age=max(runner.ages[name], default=0),
            mean_buffer=fmean(buffers[name]),
            max_buffer=max(buffers[name]),
            epoch=epochs[name],
            trained_by_rollout=runner.trained[name],
        )
        for name, counts in runner.counts.items()
    ]
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
    lost = {"dropped": source.dropped, "discarded": source.discarded}
    reasons = ", ".join(f"{count} {fate}" for fate, count in lost.items() if count)
    return (
        f"source '{source.name}': its share is {source.share:.3f}, {source.drawn_share:.3f} of the "
        f"groups drawn and {source.trained_share:.3f} of those trained are its own"
        + (f" ({reasons})" if reasons else "")
    )


def _show(result: Result) -> None:
    show(
        f"{result.rollouts} rollouts in {result.time:.4g} units of time: "
        f"{result.groups_per_time:.3g} trained groups per unit"
    )
    columns = [
        "source", "share", "drawn", "trained", "groups", "served", "dropped", "returned",
        "discarded", "age", "oldest", "buffer", "fullest", "epoch",
    ]  # fmt: skip
    rows = [
        [
            s.name, f"{s.share:.3f}", f"{s.drawn_share:.3f}", f"{s.trained_share:.3f}",
            *map(str, (s.trained, s.served, s.dropped, s.returned, s.discarded)),
            f"{s.mean_age:.2f}", str(s.max_age), f"{s.mean_buffer:.1f}", str(s.max_buffer),
            str(s.epoch),
        ]
        for s in result.sources
    ]  # fmt: skip
    show_table(columns, rows)
    show_warnings(result.notes)
