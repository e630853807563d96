"""Sums modulo 5 in three sources, from few terms to many.

The answer has every partial sum, from the last term to the first: "241" gives "102".
"""

from __future__ import annotations

import itertools
from typing import ClassVar

import numpy as np

from benchmarks.evidence.tasks.base import EvidenceTask
from examples.spelling.task import Row
from examples.spelling.tokens import Text

MODULUS = 5
TERMS = {"short": (3, 4), "middle": (5, 6), "long": (7, 8)}


class Chains(EvidenceTask):
    """A chain is right if every partial sum is: the longer it is, the rarer the first reward."""

    text = Text("0123456789", longest_question=8, longest_answer=9)
    sources: ClassVar = {"short": 500, "middle": 1_000, "long": 2_000}
    hardest = "long"
    offers = frozenset({"sources"})
    config: ClassVar = {
        "warm_start_mix": [0.6, 0.3, 0.1],
        "warm_start_accuracy": 0.5,
        "warm_start_steps": 500,
    }

    def row(self, source: str, random: np.random.Generator) -> Row:
        """See ``EvidenceTask``."""
        fewest, most = TERMS[source]
        terms = random.integers(MODULUS, size=random.integers(fewest, most, endpoint=True))
        sums = itertools.accumulate(
            terms[::-1].tolist(), lambda total, term: (total + term) % MODULUS
        )
        return {
            "input": "".join(map(str, terms.tolist())),
            "label": "".join(map(str, sums)),
            "metadata": {},
        }
