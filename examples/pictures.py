"""The pictures of the documentation: schedules, and the metrics of a demo run.

python -m examples.pictures demo_output/curriculum docs/pictures
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import matplotlib

from curriculum_learning.picture import draw_schedules
from curriculum_learning.weight_scheduler import NAMED
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


def main(run: Path, folder: Path) -> None:
    """Draw all of them.

    Args:
        run: The folder of a demo run.
        folder: Where the pictures go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draw_schedules(NAMED, 250, folder / "schedules.png")
    metrics = MetricsReader(run).new()
    for name, family in FAMILIES.items():
        draw_family(metrics, family, folder / f"monitoring_{name}.png")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
