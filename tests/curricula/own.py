"""A curriculum and a source rule of a user's, named by their dotted paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from curriculum_learning.curricula import Result, RowCurriculum, SourceRows, SourceRule
from curriculum_learning.curricula.base import Weights

OWN = f"{__name__}.Unsolved"
OWN_RULE = f"{__name__}.Lowest"


class Unsolved(RowCurriculum):
    """Rows that are nearly always solved come ``floor`` times as often as the others.

    Args:
        rows: The rows of the source.
        bound: The pass rate of a solved row.
        floor: The weight of solved rows.
    """

    def __init__(
        self,
        rows: SourceRows,
        *,
        bound: Annotated[float, Ge(0), Le(1)] = 0.9,
        floor: Annotated[float, Ge(0), Le(1)] = 0.25,
    ) -> None:
        super().__init__(rows)
        self._bound, self._floor = bound, floor
        self.updates = 0
        self._weights: Weights | None = None

    def weights(self, step: int) -> Weights:
        """See ``RowCurriculum``."""
        if self._weights is None:
            solved = self.rows.statistics.estimates(0.0) >= self._bound
            self._weights = np.where(solved, self._floor, 1.0)
        return self._weights

    def observe(self, results: Sequence[Result]) -> None:
        """See ``RowCurriculum``."""
        self.updates += 1
        self._weights = None

    def metrics(self) -> dict[str, float]:
        """See ``RowCurriculum``."""
        return {"own_updates": self.updates}

    def state_dict(self) -> dict[str, Any]:
        """See ``RowCurriculum``."""
        return {"updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``RowCurriculum``."""
        self.updates, self._weights = state["updates"], None


class Lowest(SourceRule):
    """Doubles the weight of the source whose latest mean reward is the lowest."""

    def __init__(self, rows: Mapping[str, int]) -> None:
        super().__init__(rows)
        self._means: dict[str, float] = {}

    def shares(self, step: int, weights: Mapping[str, float]) -> Mapping[str, float]:
        """See ``SourceRule``."""
        if not self._means:
            return weights
        lowest = min(self._means, key=lambda name: (self._means[name], name))
        return {**weights, lowest: 2 * weights[lowest]}

    def observe(
        self, results: Mapping[str, Sequence[Result]], update: int, weights: Mapping[str, float]
    ) -> bool:
        """See ``SourceRule``."""
        for name, groups in results.items():
            self._means[name] = float(np.mean([np.mean(group.rewards) for group in groups]))
        return bool(results)

    def metrics(self) -> dict[str, dict[str, float]]:
        """See ``SourceRule``."""
        return {name: {"rule_mean": mean} for name, mean in self._means.items()}

    def state_dict(self) -> dict[str, Any]:
        """See ``SourceRule``."""
        return dict(self._means)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``SourceRule``."""
        self._means = {name: state[name] for name in self.rows if name in state}


class Unusable(RowCurriculum):
    """Returns the weights in ``answer``."""

    answer: Any = None

    def weights(self, step: int) -> Weights:
        """See ``RowCurriculum``."""
        return super().weights(step) if self.answer is None else self.answer


class UnusableRule(SourceRule):
    """Returns what ``answer`` does."""

    answer: Any = None

    def shares(self, step: int, weights: Mapping[str, float]) -> Mapping[str, float]:
        """See ``SourceRule``."""
        return weights if self.answer is None else self.answer()
