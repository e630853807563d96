"""The pictures of the documentation: schedules, targets, curricula, and the metrics of a demo run.

python -m examples.pictures docs/pictures [demo_output/curriculum]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from random import Random
from statistics import fmean

import matplotlib

from curriculum_learning.commands.picture import Curves, add_legend, smooth, style
from curriculum_learning.commands.simulated_engine import EngineSettings
from curriculum_learning.commands.simulation import Result, simulate
from curriculum_learning.config.plan import ALL_SAMPLES_FUNCTION, LOG_FUNCTION
from curriculum_learning.custom_log import custom_rollout_log_function
from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer
from curriculum_learning.weights.schedules import NAMED
from examples.curricula import RULES, RUNS, prompts, run
from examples.spelling.records import Metrics, MetricsReader

matplotlib.use("Agg")  # no screen is needed

from matplotlib import pyplot
from matplotlib.ticker import MaxNLocator

WINDOW = 10
"""Rollouts over which curves are averaged."""

FAMILIES: Mapping[str, Mapping[str, str]] = {
    "weights": {
        "configured_weight": "configured_weight",
        "trained_share": "trained_share, weight (dotted)",
    },
    "lengths": {"response_len/mean": "response_len/mean (tokens)"},
}
"""Pictures of a demo run, and the metrics in each."""


def draw_family(
    metrics: Sequence[Metrics], family: Mapping[str, str], path: Path, title: str, window: int
) -> None:
    """A picture with a panel for each metric and a curve for each source.

    Shares that are asked for are dotted, in the panel of those that were trained.
    """
    figure, axes = pyplot.subplots(
        1, len(family), figsize=(4.5 * len(family), 3.2), squeeze=False, layout="constrained"
    )
    names = [name.split("/")[1] for name in metrics[0] if name.endswith("/configured_weight")]
    for axis, (metric, label) in zip(axes[0], family.items(), strict=True):
        for place, source in enumerate(names):
            width = 1 if metric == "epoch" else window
            steps, means = _means(metrics, f"rollout/{source}/{metric}", width)
            axis.plot(steps, means, label=source, drawstyle="steps-post", **style(place))
            if metric == "trained_share":
                steps, shares = _means(metrics, f"rollout/{source}/weight", 1)
                dots = {**style(place), "linestyle": ":"}
                axis.plot(steps, shares, label=f"weight of {source}", **dots)
        axis.set_title(label, fontsize="medium")
        axis.set_xlabel("rollout")
        axis.grid(alpha=0.3)
        axis.set_ylim(bottom=0)
        if metric == "epoch":
            axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(title, fontsize="medium")
    add_legend(figure, axes[0][-1], columns=len(names))
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _means(metrics: Sequence[Metrics], name: str, window: int) -> tuple[list[int], list[float]]:
    """The rollouts that have a metric, and its mean over the last of them."""
    values = [line[name] for line in metrics if name in line]
    steps = [line["rollout_id"] for line in metrics if name in line]
    return steps, [fmean(values[max(0, i - window + 1) : i + 1]) for i in range(len(values))]


def passes(rollouts: int = 150) -> list[Metrics]:
    """The metrics of a loop over the shipped rows, long enough for several epochs.

    Of 16 groups in generation the first 12 are trained; hard ones take longer and come back.
    """
    metrics: list[Metrics] = []
    config = {
        "prompt_data": [f"examples/data/{name}.jsonl" for name in ("easy", "medium", "hard")],
        "data_source_weights": {"easy": 0.5, "medium": 0.3, "hard": 0.2},
        "rollout_shuffle": True,
        "data_source_cache": False,
        "custom_rollout_log_function_path": LOG_FUNCTION,
        "data_source_metrics_callback": lambda found, rollout_id: metrics.append(
            {**found, "rollout_id": rollout_id}
        ),
    }
    source = MultipleWeightedRolloutDataSourceWithBuffer(config)
    length = {"easy": 1.0, "medium": 1.5, "hard": 3.0}
    random = Random(0)
    for rollout_id in range(rollouts):
        groups = source.get_samples(16)
        groups.sort(key=lambda g: random.expovariate(1) * length[g[0].metadata["data_source"]])
        source.add_samples(groups[12:])
        custom_rollout_log_function(rollout_id, config, groups[:12], {}, 1.0)
    source.close()
    return metrics


def draw_rewards(path: Path, rollouts: int = 150) -> None:
    """A picture of the mean reward, and of the groups that teach something, with a learner."""
    with tempfile.TemporaryDirectory() as folder:
        result = run(prompts(Path(folder)), "ladder", seed=0, rollouts=rollouts)
    learned = {s.name: s.learned for s in result.sources if s.learned is not None}
    panels = {
        "raw_reward/mean": {of: smooth(found.rewards) for of, found in learned.items()},
        "share of groups with signal": {
            of: [1 - part for part in smooth(found.no_signal)] for of, found in learned.items()
        },
    }
    _draw_row(panels, path, "a simulated run: three sources, equal weights", (9, 3.2), dpi=90)


def _draw_row(
    panels: Mapping[str, Curves], path: Path, title: str, size: tuple[float, float], dpi: int
) -> None:
    """A picture of panels side by side, of parts from 0 to 1."""
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for axis, (label, curves) in zip(axes[0], panels.items(), strict=True):
        for place, (source, values) in enumerate(curves.items()):
            axis.plot(range(len(values)), values, label=source, lw=1.2, **style(place))
        axis.set_title(label, fontsize="small")
        axis.set_xlabel("rollout", fontsize="small")
        axis.tick_params(labelsize="x-small")
        axis.grid(alpha=0.3)
        axis.set_ylim(0, 1.03)
    figure.suptitle(title, fontsize="small")
    add_legend(figure, axes[0][0])
    figure.savefig(path, dpi=dpi)
    pyplot.close(figure)


def draw_targets(path: Path, rollouts: int = 200) -> None:
    """A picture of the shares that are trained with either ``mixture_target``.

    Of two sources most groups are dropped by a filter, and the engine interrupts and over-samples.
    """
    shares, dropped = {"math": 0.5, "code": 0.3, "chat": 0.2}, {"math": 0.6, "chat": 0.8}
    engine = EngineSettings(
        batch=32,
        request=48,
        latency=dict.fromkeys(shares, 1.0),
        spread=0.5,
        drop={name: dropped.get(name, 0.0) for name in shares},
        reward=dict.fromkeys(shares, 0.5),
        partial=True,
    )
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    with tempfile.TemporaryDirectory() as folder:
        for name in shares:
            lines = "".join(f'{{"input": "{name} {row}"}}\n' for row in range(5000))
            Path(folder, f"{name}.jsonl").write_text(lines)
        values = {
            "prompt_data": [f"{folder}/{name}.jsonl" for name in shares],
            "data_source_weights": shares,
            "rollout_batch_size": engine.batch,
            "rollout_shuffle": True,
            "custom_rollout_log_function_path": LOG_FUNCTION,
            "rollout_all_samples_process_path": ALL_SAMPLES_FUNCTION,
        }
        for axis, target in zip(axes, ("served", "trained"), strict=True):
            result = simulate({**values, "mixture_target": target}, engine, rollouts)
            for place, source in enumerate(result.sources):
                trained = accumulate(source.trained_by_rollout)
                part = [count / (engine.batch * at) for at, count in enumerate(trained, 1)]
                lost, drawn = dropped.get(source.name, 0), style(place)
                label = f"{source.name} ({lost:.0%} dropped)"
                axis.plot(range(1, rollouts + 1), part, label=label, **drawn)
                target_style = {**drawn, "linestyle": ":", "lw": 1.2}
                axis.axhline(shares[source.name], label=f"share of {source.name}", **target_style)
            axis.set_title(f"mixture_target: {target}", fontsize="medium")
            axis.set_xlabel("rollouts")
            axis.grid(alpha=0.3)
    axes[0].set_ylabel("cumulative share of trained groups")
    axes[0].set_ylim(0, 0.7)
    add_legend(figure, axes[1], columns=len(shares))
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def draw_curriculum(name: str, result: Result, path: Path) -> None:
    """A picture of what a curriculum or a rule does for a learner; a curve for each source."""
    learned = {s.name: s.learned for s in result.sources if s.learned is not None}
    if name in RULES:
        first = {"share": {s.name: s.share_by_rollout for s in result.sources}}
    elif name in ("time", "reward"):
        first = {"open rows": {s.name: s.open_by_rollout for s in result.sources}}
    else:
        first = {"reward": {of: smooth(found.rewards) for of, found in learned.items()}}
    panels = {
        **first,
        "groups without signal": {of: smooth(found.no_signal) for of, found in learned.items()},
        "pass rate": {of: found.pass_rates for of, found in learned.items()},
    }
    _draw_row(panels, path, name, (7.5, 2.4), dpi=72)


def draw_curricula(folder: Path) -> None:
    """A picture of each; rows with the learner that has mastered most, rules with a ladder."""
    with tempfile.TemporaryDirectory() as prompt_folder:
        values = {**prompts(Path(prompt_folder)), "num_rollout": 150}
        for name, changes in RUNS.items():
            learner = "impossible" if name in RULES else "mastered"
            result = run({**values, **changes}, learner, seed=0, rollouts=150)
            draw_curriculum(name, result, folder / f"curricula_{name}.png")


def main(folder: Path, demo: Path | None = None) -> None:
    """Draw all of them.

    Args:
        folder: Where the pictures go.
        demo: The folder of a demo run; without one its metrics are not drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    curves = {name: [schedule(step) for step in range(251)] for name, schedule in NAMED.items()}
    pairs = (("easy_to_hard", "hard_to_easy"), ("exponential_decay", "exponential_warmup"),
             ("level_decreasing", "level_increasing"))  # fmt: skip
    draw_schedules({pair: [curves[name] for name in pair] for pair in pairs}, folder)
    draw_targets(folder / "mixture_target.png")
    draw_curricula(folder)
    draw_rewards(folder / "monitoring_rewards.png")
    places = {
        "buffer_length": f"buffer_length (groups, mean of {WINDOW} rollouts)",
        "epoch": "epoch",
    }
    title = "a loop over examples/data, weights 0.5, 0.3 and 0.2; 4 of 16 groups come back"
    draw_family(passes(), places, folder / "monitoring_places.png", title, WINDOW)
    if demo is None:
        return
    metrics = MetricsReader(demo).new()
    for name, family in FAMILIES.items():
        title = f"configs/demo.yaml, means of {WINDOW} rollouts"
        draw_family(metrics, family, folder / f"monitoring_{name}.png", title, WINDOW)


def draw_schedules(
    pairs: Mapping[tuple[str, str], Sequence[Sequence[float]]], folder: Path
) -> None:
    """A picture of the named schedules, two that mirror each other in each panel."""
    figure, axes = pyplot.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
    for axis, (names, curves) in zip(axes, pairs.items(), strict=True):
        for place, (name, values) in enumerate(zip(names, curves, strict=True)):
            axis.plot(range(251), values, label=name, drawstyle="steps-post", **style(place))
        axis.set_xlabel("rollout step")
        axis.grid(alpha=0.3)
        axis.set_ylim(0, 1)
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize="small", frameon=False)
    axes[0].set_ylabel("weight")
    figure.savefig(folder / "schedules.png", dpi=90)
    pyplot.close(figure)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
