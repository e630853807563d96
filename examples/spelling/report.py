"""The end of the demo: a table and a picture of two runs, from what they have written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import matplotlib

from curriculum_learning.commands.picture import add_legend, style
from examples.spelling.prompts import SOURCES
from examples.spelling.records import Metrics, MetricsReader, read_held_out

matplotlib.use("Agg")  # no screen is needed

from matplotlib import pyplot

WINDOW = 20
"""Rollouts over which curves are averaged."""
_WIDTH = 12


class Run(NamedTuple):
    """What a run has written down."""

    name: str
    metrics: list[Metrics]
    """One per rollout."""
    held_out: dict[int, dict[str, float]]
    """Accuracy per source, by the rollouts before it was measured."""

    def total(self, source: str, metric: str) -> float:
        """The sum of a metric of a source over the rollouts."""
        return float(sum(line.get(f"rollout/{source}/{metric}", 0) for line in self.metrics))

    def tokens(self) -> float:
        """Answer tokens that were trained on."""
        return float(
            sum(
                line.get(f"rollout/{source}/response_len/mean", 0)
                * line[f"rollout/{source}/sample_count"]
                for line in self.metrics
                for source in SOURCES
            )
        )


def read_run(name: str, folder: Path) -> Run:
    """The run in ``folder``."""
    return Run(name, MetricsReader(folder).new(), read_held_out(folder))


def table(runs: Sequence[Run]) -> str:
    """Held-out accuracy and trained samples per source and run, as text."""
    accuracies = [runs[0].held_out[0], *(run.held_out[max(run.held_out)] for run in runs)]
    samples = [{source: run.total(source, "sample_count") for source in SOURCES} for run in runs]
    names = [run.name for run in runs]
    lines = [
        _line("", "", ["held-out accuracy"], _WIDTH * len(accuracies))
        + "trained samples".rjust(_WIDTH * len(runs)),
        _line("source", "letters", ["warm start", *names, *names]),
    ]
    for source, (shortest, longest, _) in SOURCES.items():
        cells = [f"{accuracy[source]:.3f}" for accuracy in accuracies]
        cells += [f"{count[source]:,.0f}" for count in samples]
        lines.append(_line(source, f"{shortest}-{longest}", cells))
    cells = [f"{fmean(accuracy.values()):.3f}" for accuracy in accuracies]
    cells += [f"{sum(count.values()):,.0f}" for count in samples]
    lines.append(_line("all", "", cells))
    cells = [""] * len(accuracies) + [f"{run.tokens():,.0f}" for run in runs]
    lines.append(_line("answer tokens", "", cells))
    return "\n".join(lines)


def _line(first: str, second: str, cells: Sequence[str], width: int = _WIDTH) -> str:
    return f"{first:<14}{second:>7}" + "".join(cell.rjust(width) for cell in cells)


def draw(runs: Sequence[Run], path: Path) -> None:
    """Write a picture: a column per run; weight, share and reward over the rollouts."""
    figure, axes = pyplot.subplots(
        3,
        len(runs),
        figsize=(5.5 * len(runs), 8),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    panels: Mapping[str, str] = {
        "weight": "weight in force (share)",
        "trained_share": f"share of trained groups\n(mean of {WINDOW} rollouts)",
        "raw_reward/mean": f"reward\n(mean of {WINDOW} rollouts)",
    }
    for column, run in enumerate(runs):
        axes[0][column].set_title(run.name)
        axes[-1][column].set_xlabel("rollout")
        for row, (metric, label) in enumerate(panels.items()):
            window = 1 if metric == "weight" else WINDOW
            axes[row][0].set_ylabel(label)
            axes[row][column].grid(alpha=0.3)
            for place, source in enumerate(SOURCES):
                steps, values = _curve(run.metrics, f"rollout/{source}/{metric}", window)
                axes[row][column].plot(steps, values, label=source, **style(place))
    add_legend(figure, axes[0][0])
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _curve(metrics: Sequence[Metrics], name: str, window: int) -> tuple[list[int], list[float]]:
    """Rollouts, and the mean of a metric over the last ``window`` of them that have it."""
    steps: list[int] = []
    values: list[float] = []
    means: list[float] = []
    for line in metrics:
        if name in line:  # a source without samples has no reward in that rollout
            steps.append(line["rollout_id"])
            values.append(line[name])
            means.append(fmean(values[-window:]))
    return steps, means
