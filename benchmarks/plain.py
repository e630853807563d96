"""P, the yardstick: the plain implementation that a training loop begins with.

Every row is held as a sample object in a list, and copied deeply for each sample that is served.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from pathlib import Path

from curriculum_learning.samples.sample import Sample


class PlainSource:
    """Groups of samples drawn by lot from several files, each in a shuffled order.

    Args:
        paths: Files of one JSON object a line.
        weights: Of each file.
        size: Samples per group.
    """

    def __init__(self, paths: Sequence[str], weights: Sequence[float], size: int) -> None:
        self._randomness = random.Random(42)
        self._weights = list(weights)
        self._size = size
        self._rows = [_read(path) for path in paths]
        self._next = [0] * len(self._rows)
        self._groups = 0
        self._samples = 0
        for rows in self._rows:
            self._randomness.shuffle(rows)

    def get_samples(self, num_samples: int) -> list[list[Sample]]:
        """The next groups."""
        return [self._group() for _ in range(num_samples)]

    def _group(self) -> list[Sample]:
        row = self._draw()
        group = []
        for _ in range(self._size):
            sample = copy.deepcopy(row)
            sample.group_index = self._groups
            sample.index = self._samples
            self._samples += 1
            group.append(sample)
        self._groups += 1
        return group

    def _draw(self) -> Sample:
        source = self._randomness.choices(range(len(self._rows)), self._weights)[0]
        rows = self._rows[source]
        if self._next[source] == len(rows):
            self._randomness.shuffle(rows)
            self._next[source] = 0
        row = rows[self._next[source]]
        self._next[source] += 1
        return row


def _read(path: str) -> list[Sample]:
    source = Path(path).stem
    rows = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            metadata = {**record.get("metadata", {}), "data_source": source}
            rows.append(Sample(prompt=record["input"], label=record["label"], metadata=metadata))
    return rows
