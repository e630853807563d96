"""The rows of ``rows.py`` with scores that are wrong: they belong to other rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.evidence.tasks import letters
from benchmarks.evidence.tasks.rows import Rows
from benchmarks.evidence.tasks.rows_scored import scores
from examples.spelling.task import Row


class RowsWrong(Rows):
    """Scores have the values of right ones, and say nothing."""

    offers = frozenset({"scores"})

    def metadata(self, row: Row, random: np.random.Generator) -> dict[str, Any]:
        """See ``Rows``."""
        kind = str(random.choice(list(letters.LENGTHS)))
        return scores(letters.length_in(kind, random))
