"""Pictures of curves over the steps of a run; with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curriculum_learning.commands.outlook import Outlook
from curriculum_learning.commands.simulation import Result
from curriculum_learning.errors import ConfigurationError

Curves = Mapping[str, Sequence[float]]
"""Values at the steps, by the name of the curve."""
_PIXELS = 700
"""The width of a picture of one column: a curve has no more points."""

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F7F7F")
"""Colours by the place of a source in the configuration, the same in every picture."""
_STILL = 1e-9
"""A curve that moves by no more stands still."""
_DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (8, 2, 2, 2)))
"""A curve that lies over another one lets it be seen."""


def style(place: int) -> dict[str, Any]:
    """Returns how the curve of a source is drawn, by its place in the configuration."""
    return {"color": PALETTE[place % len(PALETTE)], "linestyle": _DASHES[place % len(_DASHES)]}


def draw_outlook(outlook: Outlook, path: Path, title: str) -> None:
    """Writes a picture of weights, shares and the open part of the rows, as far as they vary."""
    count = len(outlook.curve_steps)
    at = np.unique(np.rint(np.linspace(0, count - 1, min(count, _PIXELS))).astype(np.int64))

    def seen(values: Sequence[float]) -> list[float]:
        points: list[float] = np.asarray(values)[at].tolist()
        return points

    panels: dict[str, Curves] = {
        "weight": {source.name: seen(source.weights) for source in outlook.sources},
        "share": {source.name: seen(source.shares) for source in outlook.sources},
        "open percentile": {
            source.name: [100 * part for part in seen(source.open_shares)]
            for source in outlook.sources
        },
    }
    _draw({title: _varying(panels)}, path, "rollout", steps=seen(outlook.curve_steps))


def _varying(panels: Mapping[str, Curves]) -> dict[str, Curves]:
    """Returns the panels in which something moves, each once; the shares if nothing does."""
    kept: dict[str, Curves] = {}
    for label, curves in panels.items():
        moves = any(max(values) - min(values) > _STILL for values in curves.values())
        if moves and not any(_alike(curves, others) for others in kept.values()):
            kept[label] = curves
    return kept or {"share": panels["share"]}


def _alike(curves: Curves, others: Curves) -> bool:
    pairs = (
        (value, other)
        for name in curves
        for value, other in zip(curves[name], others[name], strict=True)
    )
    return all(abs(value - other) <= _STILL for value, other in pairs)


def draw_simulations(results: Mapping[str, Result], path: Path) -> None:
    """Writes a picture of shares, open rows, and what a learner did; a column for each run."""
    columns: dict[str, dict[str, Curves]] = {}
    for name, result in results.items():
        sources = result.sources
        columns[name] = {
            "share": {s.name: s.share_by_rollout for s in sources},
            "open rows": {s.name: s.open_by_rollout for s in sources},
        }
        learned = {s.name: s.learned for s in sources if s.learned is not None}
        if learned:
            rates = {of: found.pass_rates for of, found in learned.items()}
            dull = {of: smooth(found.no_signal) for of, found in learned.items()}
            columns[name] |= {"pass rate": rates, "no signal": dull}
    _draw(columns, path, "rollout", top=1.03)


def smooth(values: Sequence[float | None]) -> list[float]:
    """Returns means over a tenth of the run; a rollout without a value repeats the last one."""
    known: list[float] = []
    for value in values:
        known.append((known[-1] if known else math.nan) if value is None else value)
    width = max(len(known) // 10, 1)
    parts = [known[max(0, at - width + 1) : at + 1] for at in range(len(known))]
    return [math.fsum(part) / len(part) for part in parts]


def _draw(
    columns: Mapping[str, Mapping[str, Curves]],
    path: Path,
    below: str,
    top: float | None = None,
    steps: Sequence[float] | None = None,
) -> None:
    """Writes a picture of panels in columns.

    Args:
        columns: The panels of each column, by its title.
        path: The file.
        below: The label of the steps.
        top: The end of all scales, if it is given.
        steps: Where the values of all curves are; None is 0, 1, ....

    Raises:
        ConfigurationError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        import matplotlib
    except ImportError:
        raise ConfigurationError(
            "a picture needs matplotlib; pip install 'curriculum_learning[cli]', or leave it out "
            "with --no-picture",
            key="--picture",
        ) from None
    matplotlib.use("Agg")  # needs no screen
    from matplotlib import pyplot

    rows = len(next(iter(columns.values())))
    width = 7 if len(columns) == 1 else 3.4 * len(columns)
    figure, axes = pyplot.subplots(
        rows,
        len(columns),
        figsize=(width, 1.3 + 2.1 * rows),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for column, (title, panels) in enumerate(columns.items()):
        axes[0][column].set_title(title, fontsize="medium")
        axes[-1][column].set_xlabel(below)
        for axis, (label, curves) in zip(axes[:, column], panels.items(), strict=True):
            for place, (name, values) in enumerate(curves.items()):
                at = steps or range(len(values))
                axis.plot(at, values, label=name, drawstyle="steps-post", **style(place))
            axis.set_ylabel(label if column == 0 else "")
            axis.grid(alpha=0.3)
            axis.set_ylim(0, top)
    add_legend(figure, axes[0][0])
    try:
        figure.savefig(path, dpi=100)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"--picture: {path} cannot be written: {error}", key="--picture", value=str(path)
        ) from error
    finally:
        pyplot.close(figure)


def add_legend(figure: Any, axis: Any, columns: int = 4) -> None:
    """Puts the legend of a panel below all panels, where it hides no curve."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(len(labels), columns),
        fontsize="small",
        handlelength=3.5,
    )
