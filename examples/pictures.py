"""The pictures of the documentation: schedules, targets, and the metrics of a demo run.

python -m examples.pictures demo_output/curriculum docs/pictures
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import fmean

import matplotlib

from curriculum_learning.commands.picture import draw_curves
from curriculum_learning.commands.simulated_engine import EngineSettings
from curriculum_learning.commands.simulation import simulate
from curriculum_learning.config.plan import ALL_SAMPLES_FUNCTION, LOG_FUNCTION
from curriculum_learning.weights.schedules import NAMED
from examples.spelling.prompts import SOURCES
from examples.spelling.records import Metrics, MetricsReader
from examples.spelling.report import COLOURS

matplotlib.use("Agg")  # no screen is needed

from matplotlib import pyplot

WINDOW = 10
"""Rollouts over which curves are averaged."""

FAMILIES: Mapping[str, Mapping[str, str]] = {
    "weights": {"weight": "weight (share in force)", "configured_weight": "configured_weight"},
    "trained": {"trained_share": "trained_share", "sample_count": "sample_count"},
    "rewards": {"raw_reward/mean": "raw_reward/mean", "raw_reward/min": "raw_reward/min"},
    "lengths": {"response_len/mean": "response_len/mean", "response_len/max": "response_len/max"},
    "places": {"buffer_length": "buffer_length", "epoch": "epoch"},
}
"""Pictures, and the metrics in each."""


def draw_family(metrics: Sequence[Metrics], family: Mapping[str, str], path: Path) -> None:
    """A picture with a panel for each metric and a curve for each source."""
    figure, axes = pyplot.subplots(1, len(family), figsize=(9, 2.8), squeeze=False)
    for axis, (metric, label) in zip(axes[0], family.items(), strict=True):
        for source in SOURCES:
            name = f"rollout/{source}/{metric}"
            values = [line[name] for line in metrics if name in line]
            steps = [line["rollout_id"] for line in metrics if name in line]
            means = [fmean(values[max(0, i - WINDOW + 1) : i + 1]) for i in range(len(values))]
            axis.plot(steps, means, color=COLOURS[source], label=source)
        axis.set_title(label, fontsize="medium")
        axis.set_xlabel("rollout")
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
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
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), sharey=True)
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
            for source in result.sources:
                trained = accumulate(source.trained_by_rollout)
                part = [count / (engine.batch * at) for at, count in enumerate(trained, 1)]
                (curve,) = axis.plot(range(1, rollouts + 1), part, label=source.name)
                axis.axhline(shares[source.name], color=curve.get_color(), ls=":", lw=1)
            axis.set_title(f"mixture_target: {target}", fontsize="medium")
            axis.set_xlabel("rollouts")
    axes[0].set_ylabel("share of all trained groups")
    axes[0].set_ylim(0, 0.7)
    axes[1].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def main(run: Path, folder: Path) -> None:
    """Draw all of them.

    Args:
        run: The folder of a demo run.
        folder: Where the pictures go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    curves = {name: [schedule(step) for step in range(251)] for name, schedule in NAMED.items()}
    draw_curves({"weight": curves}, folder / "schedules.png", "rollout step")
    draw_targets(folder / "mixture_target.png")
    metrics = MetricsReader(run).new()
    for name, family in FAMILIES.items():
        draw_family(metrics, family, folder / f"monitoring_{name}.png")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
