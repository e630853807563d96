"""A source whose rows come as often as its row curriculum says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from curriculum_learning.curricula.base import RowCurriculum, SourceRows, Weights
from curriculum_learning.curricula.results import Result
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.mixing.source import Taken
from curriculum_learning.mixing.weighted import WeightedOrder


class CuratedSource:
    """Asks the curriculum for row weights, and walks the rows in the order that follows them.

    Args:
        rows: The rows; their statistics are kept here.
        curriculum: Says how often each row should come now.
        shuffle: False walks the rows in file order.
    """

    def __init__(self, rows: SourceRows, curriculum: RowCurriculum, *, shuffle: bool) -> None:
        self.name = rows.source
        self.size = rows.size
        self.curriculum: RowCurriculum | None = curriculum
        self._curriculum = curriculum
        self._statistics = rows.statistics
        self._order = WeightedOrder(rows.size, seed=rows.seed, name=rows.source, shuffle=shuffle)
        self._weights: Weights | None = None
        self._asked_at = -1
        """The step at which the weights were asked for; -1 if they may have changed since."""

    @property
    def epoch(self) -> int:
        """Completed walks over all rows."""
        return self._order.epoch

    def take(self, step: int) -> Taken:
        """Takes the next row, at rollout step ``step``."""
        if step != self._asked_at:
            self._ask(step)
        return self._order.take()

    def put_back(self, before: Any) -> None:
        """Undoes the latest ``take``."""
        self._order.put_back(before)

    def open_rows(self, step: int) -> int:
        """Counts the rows that may come at ``step``."""
        return int(np.count_nonzero(self._curriculum.weights(step)))

    def _ask(self, step: int) -> None:
        weights = self._curriculum.weights(step)
        if weights is not self._weights:
            try:
                self._order.set_weights(weights)
            except ValueError as error:
                raise ConfigurationError(
                    f"source '{self.name}': {type(self._curriculum).__name__}.weights({step}) "
                    f"cannot be used: {error}",
                    source=self.name,
                    key="data_source_curricula",
                ) from error
            self._weights = weights
        self._asked_at = step

    def observe(self, results: Sequence[Result]) -> None:
        """Takes in the finished groups of an update; there may be none."""
        self._statistics.observe(results)
        self._curriculum.observe(results)
        self._asked_at = -1

    def metrics(self, step: int) -> dict[str, float]:
        """Returns the open share of the rows, the curriculum's figures, and the rows' statistics."""
        return {
            "open_share": self.open_rows(step) / self.size,
            **self._curriculum.metrics(),
            **self._statistics.metrics(),
        }

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **self._order.state_dict(),
            "curriculum": self._curriculum.state_dict(),
            "statistics": self._statistics.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads what ``state_dict`` returned."""
        self._order.load_state_dict(state)
        self._statistics.load_state_dict(state["statistics"])
        self._curriculum.load_state_dict(state["curriculum"])
        self._asked_at, self._weights = -1, None
