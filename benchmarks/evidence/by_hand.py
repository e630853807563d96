"""What a person does with scores and no library: hard rows only, or hard ones after easy ones."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Ge

from curriculum_learning.curricula import RowCurriculum, SourceRows
from curriculum_learning.curricula.base import Weights

_HARD = 1 / 3


class HardOnly(RowCurriculum):
    """Serves the hardest third of the rows, by score.

    Args:
        rows: The rows of the source, with their scores.
    """

    needs_scores = True
    learns = False
    needs_rows = False

    def __init__(self, rows: SourceRows) -> None:
        super().__init__(rows)
        assert rows.scores is not None  # needs_scores
        order = np.argsort(rows.scores, kind="stable")
        self._hard = np.zeros(rows.size)
        self._hard[order[-max(1, round(_HARD * rows.size)) :]] = 1

    def weights(self, step: int) -> Weights:
        """See ``RowCurriculum``."""
        return self._hard


class EasyThenHard(HardOnly):
    """Serves the other rows first.

    Args:
        rows: The rows of the source, with their scores.
        steps: The rollout steps before the hardest third.
    """

    def __init__(self, rows: SourceRows, *, steps: Annotated[int, Ge(1)]) -> None:
        super().__init__(rows)
        self._steps = steps
        self._easy = 1 - self._hard if rows.size > 1 else self._hard

    def weights(self, step: int) -> Weights:
        """See ``RowCurriculum``."""
        return self._easy if step < self._steps else self._hard
