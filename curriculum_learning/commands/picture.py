"""Pictures of curves over the steps of a run; with matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from curriculum_learning.commands.outlook import Outlook
from curriculum_learning.errors import ConfigurationError

Curves = Mapping[str, Sequence[float]]
"""Values at steps 0, 1, ... by the name of the curve."""


def draw_outlook(outlook: Outlook, path: Path) -> None:
    """Writes a picture of weights, shares and, with a curriculum, the open part of the rows."""
    panels: dict[str, Curves] = {
        "weight": {source.name: source.weights for source in outlook.sources},
        "share": {source.name: source.shares for source in outlook.sources},
    }
    if any(source.has_curriculum for source in outlook.sources):
        panels["open percentile"] = {
            source.name: [100 * part for part in source.open_shares] for source in outlook.sources
        }
    draw_curves(panels, path, "step")


def draw_curves(panels: Mapping[str, Curves], path: Path, below: str) -> None:
    """Writes a picture with a panel for each entry of ``panels``, the label ``below`` the last.

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

    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(7, 1 + 2.2 * len(panels)), sharex=True, squeeze=False
    )
    for axis, (label, curves) in zip(axes[:, 0], panels.items(), strict=True):
        for name, values in curves.items():
            # A curve stays visible under another one.
            axis.plot(range(len(values)), values, label=name, alpha=0.8)
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        axis.set_ylim(bottom=0)
    axes[0][0].legend(fontsize="small")
    axes[-1][0].set_xlabel(below)
    figure.tight_layout()
    try:
        figure.savefig(path, dpi=100)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"--picture: {path} cannot be written: {error}", key="--picture", value=str(path)
        ) from error
    finally:
        pyplot.close(figure)
