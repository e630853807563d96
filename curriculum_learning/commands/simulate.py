"""``simulate``: runs the real data source against an engine of given speeds and filters."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from curriculum_learning.commands.arguments import (
    WARNED,
    WELL,
    WRONG,
    per_source,
    picture_path,
    read_sizes,
)
from curriculum_learning.commands.learner import LearnerSettings, preset
from curriculum_learning.commands.outlook import batch_of, request_of, steps_of
from curriculum_learning.commands.picture import draw_simulations
from curriculum_learning.commands.plan import Plan, read_plan
from curriculum_learning.commands.simulated_engine import EngineSettings
from curriculum_learning.commands.simulation import Result, SourceResult, simulate
from curriculum_learning.commands.terminal import (
    show,
    show_errors,
    show_json,
    show_table,
    show_warnings,
)
from curriculum_learning.commands.untrusted import disarm
from curriculum_learning.config.files import read_run_config
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.prompts.assumed import assuming


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code.

    Raises:
        CurriculumLearningError: The command, a configuration or the data is wrong.
    """
    results: dict[str, Result] = {}
    for name, files in _alternatives(options).items():
        sizes, configured = read_sizes(options.rows), read_run_config(files)
        ignored = disarm(configured, opens_files=not sizes) if options.untrusted else []
        with assuming(sizes):
            plan, errors, warnings = read_plan(configured, sizes, options.batch)
            if plan is None:
                show_errors(errors, options.json)
                return WRONG
            if plan.config is None:
                raise ConfigurationError(
                    "simulate runs the data source; a sampler of verl hands out rows and hears of "
                    "rewards only: use preview",
                    key="data.sampler",
                )
            engine, learner = _engine(options, plan), _learner(options, plan)
            result = simulate(plan.values, engine, steps_of(plan, options.steps), learner)
        result.notes[:0] = [*ignored, *warnings]
        results[name] = result
    _show(results, options)
    noted = any(result.notes for result in results.values())
    return WARNED if options.strict and noted else WELL


def _alternatives(options: argparse.Namespace) -> dict[str, list[str]]:
    """Returns what each run is configured with, by its name; a single run has none."""
    if not options.config and not options.compare:
        raise ConfigurationError("simulate needs a CONFIG, or --compare CONFIG CONFIG ...")
    if not options.compare:
        return {"": options.config}
    stems = [Path(file).stem for file in options.compare]
    names = stems if len(set(stems)) == len(stems) else options.compare
    named = zip(names, options.compare, strict=True)
    return {name: [*options.config, file] for name, file in named}


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


def _learner(options: argparse.Namespace, plan: Plan) -> LearnerSettings | None:
    if options.learner is None and not options.difficulty:
        return None
    names = list(plan.rows)
    settings = preset(
        options.learner or "ladder", names, gain=options.gain, forgetting=options.forgetting
    )
    difficulty = per_source(options.difficulty, names, "--difficulty", settings.difficulty)
    return dataclasses.replace(settings, difficulty=difficulty)


def _show(results: Mapping[str, Result], options: argparse.Namespace) -> None:
    picture = picture_path(options, "compare.png" if options.compare else None)
    if picture is not None:
        draw_simulations(results, picture)
    if options.json:
        data = {name: dataclasses.asdict(result) for name, result in results.items()}
        show_json(data if options.compare else data[""])
        return
    if options.compare:
        _show_compared(results)
    else:
        _show_engine(results[""])
    for name, result in results.items():
        show_warnings([f"{name}: {note}" if name else note for note in result.notes])
    if picture is not None:
        show(f"picture: {picture}")


def _show_engine(result: Result) -> None:
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
    if result.no_signal_share is not None:
        show_table(["source", *_LEARNED], [[s.name, *_learned(s)] for s in result.sources])
        show(_mastery(result))


_LEARNED = ("share", "open", "pass rate", "mastered after", "no signal")


def _learned(source: SourceResult) -> list[str]:
    learned = source.learned
    share, is_open = (_course(v) for v in (source.share_by_rollout, source.open_by_rollout))
    if learned is None:
        return [share, is_open, "-", "-", "-"]
    after = "-" if learned.mastered_after is None else f"{learned.mastered_after} rollouts"
    return [share, is_open, _course(learned.pass_rates), after, f"{learned.no_signal_share:.0%}"]


def _course(values: list[float]) -> str:
    """Returns the first value, the one in the middle, and the last one."""
    return " > ".join(f"{values[at]:.2f}" for at in (0, len(values) // 2, -1))


def _mastery(result: Result) -> str:
    if result.groups_to_mastery is None:
        return f"not all sources are mastered after {result.rollouts} rollouts"
    return (
        f"all sources that can be learned are mastered after {result.groups_to_mastery} trained "
        f"groups; {result.no_signal_share:.0%} of the finished groups had no signal"
    )


def _show_compared(results: Mapping[str, Result]) -> None:
    rows = [
        [name, source.name, str(source.trained), *_learned(source)]
        for name, result in results.items()
        for source in result.sources
    ]
    show_table(["run", "source", "groups", *_LEARNED], rows)
    for name, result in results.items():
        if result.no_signal_share is not None:
            show(f"{name}: {_mastery(result)}")
