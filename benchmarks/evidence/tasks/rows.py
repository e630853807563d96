"""One source whose rows differ in difficulty, and no scores: a curriculum has to find out.

Random letters, to be written in reverse order. Three quarters of the rows are short, middle and
long ones in equal parts; the labels of the others are wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from benchmarks.evidence.tasks import letters
from benchmarks.evidence.tasks.base import EvidenceTask
from examples.spelling.task import HELD_OUT_SET, Row

WRONG = "wrong"


class Rows(EvidenceTask):
    """A quarter of the rows is soon mastered, and a quarter can teach nothing."""

    text = letters.TEXT
    sources: ClassVar = {"letters": 400}
    hardest = "long"
    offers = frozenset({"rows"})
    config: ClassVar = {
        "warm_start_mix": [0.6, 0.3, 0.1],
        "warm_start_accuracy": 0.5,
        "warm_start_steps": 400,
    }
    warm_start_size = 1_000
    """Rows of each kind that are neither trained nor held out."""

    def row(self, source: str, random: np.random.Generator) -> Row:
        """See ``EvidenceTask``; here a source is a kind of rows."""
        if source == WRONG:
            kind = str(random.choice(list(letters.LENGTHS)))
            return letters.to_guess(letters.length_in(kind, random), random)
        return letters.to_reverse(letters.length_in(source, random), random)

    def metadata(self, row: Row, random: np.random.Generator) -> dict[str, Any]:
        """Returns what is known of the difficulty of a training row."""
        return {}

    def rows(self, source: str) -> tuple[list[Row], list[Row]]:
        """See ``Task``; a held-out set for each kind that can be learned."""
        training: list[Row] = []
        held_out: list[Row] = []
        random = np.random.default_rng(0)
        for kind in (*letters.LENGTHS, WRONG):
            rows = self._of_kind(kind)
            end = self.held_out_rows + self.sources[source] // 4
            if kind != WRONG:
                known = {HELD_OUT_SET: kind}
                held_out += [{**row, "metadata": known} for row in rows[: self.held_out_rows]]
            training += [
                {**row, "metadata": self.metadata(row, random)}
                for row in rows[self.held_out_rows : end]
            ]
        return training, held_out

    def warm_start_rows(self, training_files: Sequence[str]) -> list[list[Row]]:
        """See ``Task``; none of them is trained or held out later."""
        return [self._of_kind(kind)[-self.warm_start_size :] for kind in letters.LENGTHS]

    def _of_kind(self, kind: str) -> list[Row]:
        size = self.held_out_rows + sum(self.sources.values()) // 4
        return self.different_rows(kind, size + self.warm_start_size)
