"""A ladder of two sources between a mastered and an impossible one: half of the rows teach nothing.

Random letters, to be written in reverse order; the labels of the impossible source are random.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmarks.evidence.tasks import letters
from benchmarks.evidence.tasks.base import EvidenceTask
from examples.spelling.task import Row


class Swamp(EvidenceTask):
    """A source whose answers are known teaches as little as one whose answers nobody can know."""

    text = letters.TEXT
    sources: ClassVar = {"mastered": 1_000, "middle": 1_000, "long": 1_000, "impossible": 1_000}
    hardest = "long"
    offers = frozenset({"sources"})
    config: ClassVar = {
        "warm_start_mix": [0.8, 0.15, 0.05, 0],
        "warm_start_accuracy": 0.9,
        "warm_start_steps": 400,
    }

    def row(self, source: str, random: np.random.Generator) -> Row:
        """See ``EvidenceTask``."""
        if source == "mastered":
            return letters.to_reverse(letters.length_in("short", random), random)
        if source == "impossible":
            return letters.to_guess(letters.length_in("long", random), random)
        return letters.to_reverse(letters.length_in(source, random), random)
