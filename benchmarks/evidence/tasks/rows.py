"""One source whose rows differ in difficulty, and no scores: a curriculum has to find out.

Random letters, to be written in reverse order. Three quarters of the rows are short, middle and
long ones in equal parts; the labels of the others are wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any, ClassVar

import numpy as np

from benchmarks.evidence.tasks import letters
from benchmarks.evidence.tasks.base import EvidenceTask
from examples.spelling.task import HELD_OUT_SET, Row


class Rows(EvidenceTask):
    """A quarter of the rows is soon mastered, and a quarter can teach nothing."""

    text = letters.TEXT
    sources: ClassVar = {"letters": 400}
    hardest = "long"
    offers = frozenset({"rows"})
    config: ClassVar = {
        "warm_start_mix": [0.5, 0.3, 0.2],
        "warm_start_accuracy": 0.5,
        "warm_start_steps": 400,
    }
    warm_start_size = 1_000
    """Rows of each kind that are neither trained nor held out."""

    def row(self, source: str, random: np.random.Generator) -> Row:
        """See ``EvidenceTask``; here a source is a kind of rows."""
        return letters.to_reverse(letters.length_in(source, random), random)

    def metadata(self, row: Row, random: np.random.Generator) -> dict[str, Any]:
        """Returns what is known of the difficulty of a training row."""
        return {}

    def rows(self, source: str) -> tuple[list[Row], list[Row]]:
        """See ``Task``; a held-out set for each kind that can be learned."""
        quarter = self.sources[source] // 4
        random = np.random.default_rng(0)
        training: list[Row] = []
        held_out: list[Row] = []
        spare: list[list[Row]] = []
        for kind in letters.LENGTHS:
            rows = iter(self._of_kind(kind))
            known = {HELD_OUT_SET: kind}
            held_out += [{**row, "metadata": known} for row in islice(rows, self.held_out_rows)]
            training += islice(rows, quarter)
            spare.append(list(islice(rows, quarter)))
        for row in islice(chain.from_iterable(zip(*spare, strict=True)), quarter):
            training.append({**row, "label": letters.draw(len(row["label"]), random)})
        training = [{**row, "metadata": self.metadata(row, random)} for row in training]
        return training, held_out

    def warm_start_rows(self, training_files: Sequence[str]) -> list[list[Row]]:
        """See ``Task``; none of them is trained or held out later."""
        return [self._of_kind(kind)[-self.warm_start_size :] for kind in letters.LENGTHS]

    def _of_kind(self, kind: str) -> list[Row]:
        """Returns held-out rows, two quarters of the training rows, and those of the start."""
        trained = 2 * (sum(self.sources.values()) // 4)
        return self.different_rows(kind, self.held_out_rows + trained + self.warm_start_size)
