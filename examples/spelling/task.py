"""What a policy can learn here: texts, prompt files and a reward."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from examples.spelling.tokens import Text

Row = dict[str, Any]
"""``{"input": question, "label": answer, "metadata": {...}}``."""

HELD_OUT_SET = "held_out_set"
"""The key in the metadata of a held-out row that names its set; without it, its source does."""


class Task(ABC):
    """One task: the policy, the engine and the loop know no other way to it."""

    text: Text

    @abstractmethod
    def rows(self, source: str) -> tuple[Sequence[Row], Sequence[Row]]:
        """Returns the training rows and the held-out rows of a source, always the same ones."""

    def warm_start_rows(self, training_files: Sequence[str]) -> list[list[Row]]:
        """Returns the rows of the supervised start, a list for each share in ``warm_start_mix``."""
        return [read_rows(path) for path in training_files]

    def score(self, response: str, label: str) -> float:
        """Returns the verifiable reward of a response: 1.0 if it is right, else 0.0."""
        return float(response == label)

    def write_prompts(self, training_files: Sequence[str]) -> None:
        """Writes what is missing of the named files and of the held-out files beside them.

        Args:
            training_files: Paths as in ``prompt_data``; the file name without its ending is the
                name of a source.
        """
        for path in map(Path, training_files):
            held_out_path = held_out_file(path)
            if path.exists() and held_out_path.exists():
                continue
            training, held_out = self.rows(path.stem)
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(held_out_path, held_out)
            _write(path, training)


def held_out_file(training_file: str | Path) -> Path:
    """Where the held-out rows of a source lie: ``easy.jsonl`` -> ``easy.held_out.jsonl``."""
    return Path(training_file).with_suffix(".held_out.jsonl")


def held_out_sets(training_files: Sequence[str], size: int) -> dict[str, list[Row]]:
    """Returns the first ``size`` held-out rows of each set, by the name of the set."""
    sets: dict[str, list[Row]] = {}
    for path in training_files:
        for row in read_rows(held_out_file(path)):
            sets.setdefault(row["metadata"].get(HELD_OUT_SET, Path(path).stem), []).append(row)
    return {name: rows[:size] for name, rows in sets.items()}


def read_rows(path: str | Path) -> list[Row]:
    """All rows of a jsonl file."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _write(path: Path, rows: Iterable[Row]) -> None:
    # Two runs may be started together: each writes its own file, and the last rename wins.
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with open(temporary, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    os.replace(temporary, path)
