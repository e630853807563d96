"""What a run writes down: metrics, one JSON line per rollout, and held-out accuracies."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from examples.spelling.state import sync

METRICS_FILE = "metrics.jsonl"
HELD_OUT_FILE = "held_out.json"
CURVES_FOLDER = "tensorboard"

Metrics = dict[str, Any]


class MetricsFile:
    """Appends to ``metrics.jsonl``.

    Args:
        folder: Where the file is.
    """

    def __init__(self, folder: Path) -> None:
        self._file = open(folder / METRICS_FILE, "ab+")  # noqa: SIM115 - open during the whole run

    def keep(self, rollouts: int) -> None:
        """Keep the lines of so many rollouts; the later ones will be written again."""
        self._file.seek(0)
        kept = self._file.readlines()[:rollouts]
        self._file.truncate(sum(map(len, kept)))

    def append(self, metrics: Metrics, rollout_id: int) -> None:
        """Write the line of a rollout; has the form of a ``data_source_metrics_callback``."""
        line = json.dumps({"rollout_id": rollout_id, **metrics})
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def sync(self) -> None:
        """Make sure that all lines are on the disk."""
        sync(self._file)


class MetricsReader:
    """Reads ``metrics.jsonl`` while it grows."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / METRICS_FILE
        self._position = 0

    def new(self) -> list[Metrics]:
        """The lines that have come since the last call."""
        if not self._path.exists():
            return []
        with open(self._path, "rb") as file:
            file.seek(self._position)
            lines = [line for line in file if line.endswith(b"\n")]
        self._position += sum(map(len, lines))
        return [json.loads(line) for line in lines]


def write_held_out(folder: Path, rollouts: int, accuracies: Mapping[str, float]) -> None:
    """Add the accuracy of each held-out set (0 to 1), measured after so many rollouts."""
    path = folder / HELD_OUT_FILE
    temporary = path.with_suffix(".tmp")
    content = {**read_held_out(folder), rollouts: accuracies}
    temporary.write_text(json.dumps(content), encoding="utf-8")
    os.replace(temporary, path)


def read_held_out(folder: Path) -> dict[int, dict[str, float]]:
    """What ``write_held_out`` has written, by the rollouts before it."""
    path = folder / HELD_OUT_FILE
    if not path.exists():
        return {}
    content: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
    return {int(rollouts): accuracies for rollouts, accuracies in content.items()}


def remove_run(folder: Path) -> None:
    """Remove what a run has written to its folder, and nothing else."""
    for pattern in (
        METRICS_FILE,
        HELD_OUT_FILE,
        "policy_*.pt",
        "rollout/*.state",
        f"{CURVES_FOLDER}/*",
    ):
        for path in folder.glob(pattern):
            path.unlink()
