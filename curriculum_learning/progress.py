"""A run that talks: a line per rollout and a table at the end, for loops without a tracker.

A configuration asks for the line:
``data_source_metrics_callback: curriculum_learning.progress.line``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["line", "table"]

_PREFIX, _WEIGHT = "rollout/", "/configured_weight"
_SHOWN = {
    "weight": "configured_weight",
    "share": "weight",
    "trained": "trained_share",
    "reward": "raw_reward/mean",
}
"""The words of a line, and the metric of each: the metric ``weight`` is the share in force."""


class _DataSource(Protocol):
    def source_status(self) -> dict[str, dict[str, float]]: ...
    def source_counts(self) -> dict[str, dict[str, float]]: ...


def line(metrics: Mapping[str, Any], rollout_id: int) -> None:
    """Writes a line with weight, share, trained share and mean reward of each source.

    Args:
        metrics: As ``per_source_metrics`` returns them.
        rollout_id: The rollout that was logged.
    """
    names = [key[len(_PREFIX) : -len(_WEIGHT)] for key in metrics if key.endswith(_WEIGHT)]
    parts = [f"rollout {rollout_id:3}", *(_of_source(name, metrics) for name in names)]
    sys.stdout.write("  |  ".join(parts) + "\n")
    sys.stdout.flush()


def _of_source(name: str, metrics: Mapping[str, Any]) -> str:
    figures = {word: metrics.get(f"{_PREFIX}{name}/{key}") for word, key in _SHOWN.items()}
    shown = {word: "   -" if value is None else f"{value:.2f}" for word, value in figures.items()}
    return " ".join([name, *(f"{word} {value}" for word, value in shown.items())])


def table(source: _DataSource) -> str:
    """Returns a table of a data source: a line per source, with counts since the run began.

    Args:
        source: A data source, or a client of one.
    """
    status, counts = source.source_status(), source.source_counts()
    trained = sum(of_source["trained"] for of_source in counts.values()) or 1
    lines = [("source", "share", "drawn", "trained", "of all", "dropped", "waiting", "epoch")]
    for name, now in status.items():
        of_source = counts[name]
        lines.append(
            (
                name,
                f"{now['weight']:.2f}",
                f"{of_source['drawn']:.0f}",
                f"{of_source['trained']:.0f}",
                f"{of_source['trained'] / trained:.2f}",
                f"{of_source['dropped']:.0f}",
                f"{now['buffer_length']:.0f}",
                f"{now['epoch']:.0f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])])
        for first, *others in lines
    )
