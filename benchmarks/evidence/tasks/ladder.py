"""Words from reasoning-gym in three sources, from short to long, to be spelled backward."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import numpy as np
import reasoning_gym

from benchmarks.evidence.tasks.base import EvidenceTask
from examples.spelling.prompts import TASK, Spelling
from examples.spelling.task import Row

LENGTHS = {"short": (3, 4), "middle": (5, 6), "long": (7, 8)}
_ITEMS = 1_000_000


class Ladder(EvidenceTask):
    """The task of the demo with shorter words."""

    text = Spelling.text
    sources: ClassVar = {"short": 500, "middle": 1_000, "long": 2_000}
    hardest = "long"
    offers = frozenset({"sources"})
    config: ClassVar = {
        "warm_start_mix": [0.55, 0.3, 0.15],
        "warm_start_accuracy": 0.5,
        "warm_start_steps": 400,
    }

    def row(self, source: str, random: np.random.Generator) -> Row:
        """See ``EvidenceTask``."""
        item = _words(source)[int(random.integers(_ITEMS))]
        return {"input": item["question"], "label": item["answer"].lower(), "metadata": {}}


@cache
def _words(source: str) -> Any:
    shortest, longest = LENGTHS[source]
    return reasoning_gym.create_dataset(
        TASK, min_word_len=shortest, max_word_len=longest, seed=0, size=_ITEMS
    )
