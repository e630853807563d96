"""Pictures of curves over the steps of a run; with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from curriculum_learning.commands.outlook import Outlook
from curriculum_learning.commands.simulation import Result
from curriculum_learning.errors import ConfigurationError

Curves = Mapping[str, Sequence[float]]
"""Values at the steps, by the name of the curve."""
_PIXELS = 700
"""The width of a picture of one column: a curve has no more points."""


def draw_outlook(outlook: Outlook, path: Path) -> None:
    """Writes a picture of weights, shares and, with a curriculum, the open part of the rows."""
    count = len(outlook.curve_steps)
    at = np.unique(np.rint(np.linspace(0, count - 1, min(count, _PIXELS))).astype(np.int64))

    def seen(values: Sequence[float]) -> list[float]:
        points: list[float] = np.asarray(values)[at].tolist()
        return points

    panels: dict[str, Curves] = {
        "weight": {source.name: seen(source.weights) for source in outlook.sources},
        "share": {source.name: seen(source.shares) for source in outlook.sources},
    }
    if any(source.curriculum for source in outlook.sources):
        panels["open percentile"] = {
            source.name: [100 * part for part in seen(source.open_shares)]
            for source in outlook.sources
        }
    draw_curves(panels, path, "step", seen(outlook.curve_steps))


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


def draw_curves(
    panels: Mapping[str, Curves], path: Path, below: str, steps: Sequence[float] | None = None
) -> None:
    """Writes a picture with a panel for each entry of ``panels``, the label ``below`` the last.

    Args:
        panels: The curves of each panel.
        path: The file.
        below: The label of the steps.
        steps: Where the values of all curves are; None is 0, 1, ....

    Raises:
        ConfigurationError: matplotlib is not installed, or the file cannot be written.
    """
    _draw({"": panels}, path, below, steps=steps)


def _draw(
    columns: Mapping[str, Mapping[str, Curves]],
    path: Path,
    below: str,
    top: float | None = None,
    steps: Sequence[float] | None = None,
) -> None:
    """Writes a picture of panels in columns; ``top`` is the end of all scales, if it is given."""
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
        rows, len(columns), figsize=(width, 1 + 2.2 * rows), sharex=True, squeeze=False
    )
    for column, (title, panels) in enumerate(columns.items()):
        axes[0][column].set_title(title, fontsize="medium")
        axes[-1][column].set_xlabel(below)
        for axis, (label, curves) in zip(axes[:, column], panels.items(), strict=True):
            for name, values in curves.items():
                # A curve stays visible under another one.
                axis.plot(steps or range(len(values)), values, label=name, alpha=0.8)
            axis.set_ylabel(label if column == 0 else "")
            axis.grid(alpha=0.3)
            axis.set_ylim(0, top)
    axes[0][0].legend(fontsize="small")
    figure.tight_layout()
    try:
        figure.savefig(path, dpi=100)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"--picture: {path} cannot be written: {error}", key="--picture", value=str(path)
        ) from error
    finally:
        pyplot.close(figure)
