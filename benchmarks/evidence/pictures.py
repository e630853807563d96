"""The pictures of the page, from lines of results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np

from benchmarks.evidence.comparison import bootstrap
from benchmarks.evidence.measures import area, curve
from benchmarks.evidence.methods import UNIFORM
from benchmarks.evidence.runs import Line
from benchmarks.evidence.tables import Cells, compared

matplotlib.use("Agg")  # no screen is needed

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

_ACROSS = 4
_COLOUR = "tab:blue"


def draw_forest(found: Cells, path: Path) -> None:
    """Draws the differences to uniform mixing: a panel per task, every seed a point."""
    most = max(len(methods) for methods in found.values())
    across = min(3, len(found))
    down = -(-len(found) // across)
    figure, axes = pyplot.subplots(
        down, across, figsize=(4.2 * across, down * (0.8 + 0.26 * most)), squeeze=False
    )
    for axis, (task, methods) in zip(axes.flat, found.items(), strict=False):
        _forest(axis, methods)
        axis.set_title(task, fontsize="medium")
    for axis in list(axes.flat)[len(found) :]:
        axis.set_axis_off()
    figure.supxlabel("difference to uniform mixing, mean accuracy over the run", fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def _forest(axis: Axes, methods: Mapping[str, Sequence[Line]]) -> None:
    uniform = {line["seed"]: area(line) for line in methods.get(UNIFORM, ())}
    differences = compared(methods)
    order = sorted(differences, key=lambda name: differences[name].mean)
    for place, name in enumerate(order):
        shown = differences[name]
        runs = [
            area(line) - uniform[line["seed"]] for line in methods[name] if line["seed"] in uniform
        ]
        axis.plot(runs, [place] * len(runs), ".", color="0.7", ms=4)
        if shown.interval is not None:
            axis.plot(shown.interval, [place, place], color=_COLOUR, lw=1.5)
        axis.plot(shown.mean, place, "o", color=_COLOUR, ms=4)
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(range(len(order)), order, fontsize="small")
    axis.tick_params(axis="x", labelsize="small")
    axis.grid(alpha=0.3, axis="x")


def draw_curves(methods: Mapping[str, Sequence[Line]], path: Path) -> None:
    """Draws the hardest learnable set of a task: a panel per method, uniform mixing in grey."""
    down = -(-len(methods) // _ACROSS)
    figure, axes = pyplot.subplots(
        down, _ACROSS, figsize=(10, 0.4 + 1.8 * down), sharex=True, sharey=True, squeeze=False
    )
    for axis, (name, lines) in zip(axes.flat, methods.items(), strict=False):
        if UNIFORM in methods and name != UNIFORM:
            _curve(axis, methods[UNIFORM], "0.5")
        _curve(axis, lines, _COLOUR)
        for line in lines:
            axis.plot(line["samples"], curve(line), color=_COLOUR, lw=0.4, alpha=0.5)
        axis.set_title(f"{name} ({len(lines)})", fontsize="small")
        axis.tick_params(labelsize="x-small")
        axis.set_ylim(0, 1)
        axis.xaxis.set_major_locator(MaxNLocator(3))
        axis.grid(alpha=0.3)
    for axis in list(axes.flat)[len(methods) :]:
        axis.set_axis_off()
    figure.supxlabel("trained samples", fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def _curve(axis: Axes, lines: Sequence[Line], colour: str) -> None:
    """Draws the mean of some runs, and a band of its bootstrap intervals."""
    points = np.array([curve(line) for line in lines]).T
    samples = lines[0]["samples"]
    axis.plot(samples, points.mean(1), color=colour, lw=1.5)
    bands = [bootstrap(values) for values in points.tolist()]
    known = [band for band in bands if band is not None]
    if known:
        lows, highs = zip(*known, strict=True)
        axis.fill_between(samples, lows, highs, color=colour, alpha=0.2, lw=0)
