"""Pictures of weights, shares and what is open, over the steps of a run; with matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from curriculum_learning.commands.preview import Outlook
from curriculum_learning.errors import ConfigurationError


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise ConfigurationError(
            "a picture needs matplotlib; pip install 'curriculum_learning[cli]', or leave it out "
            "with --no-picture",
            key="--picture",
        ) from None
    matplotlib.use("Agg")  # no screen is needed
    from matplotlib import pyplot

    return pyplot


def draw_outlook(outlook: Outlook, path: Path) -> None:
    """Write a picture with a panel each for weights, shares, and the open part of the rows."""
    panels: dict[str, dict[str, Sequence[float]]] = {
        "weight": {source.name: source.weights for source in outlook.sources},
        "share": {source.name: source.shares for source in outlook.sources},
        "open percentile": {
            source.name: [100 * part for part in source.open_shares] for source in outlook.sources
        },
    }
    _draw(panels, path, "step")


def draw_schedules(schedules: Mapping[str, Callable[[int], float]], steps: int, path: Path) -> None:
    """Write a picture of schedules over ``steps`` steps."""
    curves = {name: [schedule(s) for s in range(steps + 1)] for name, schedule in schedules.items()}
    _draw({"weight": curves}, path, "rollout step")


def _draw(panels: Mapping[str, Mapping[str, Sequence[float]]], path: Path, below: str) -> None:
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(7, 1 + 2.2 * len(panels)), sharex=True, squeeze=False
    )
    for axis, (label, curves) in zip(axes[:, 0], panels.items(), strict=True):
        for name, values in curves.items():
            # One that covers another stays visible below it.
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
