"""The rows of ``rows.py`` with scores that are right: the number of letters."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.evidence.tasks.rows import Rows
from examples.spelling.task import Row


class RowsScored(Rows):
    """Scores say which rows are long, and not which labels are wrong."""

    offers = frozenset({"scores"})

    def metadata(self, row: Row, random: np.random.Generator) -> dict[str, Any]:
        """See ``Rows``."""
        return scores(len(row["input"]))


def scores(length: float) -> dict[str, float]:
    """Returns the score of a row of so many letters, and a pass rate from before the run."""
    return {"complexity_score": length, "pass_rate": 1 - length / 8}
