"""UniMax: equal shares, but no source more often than a number of passes over its rows.

The run has a ``budget`` of groups. From the smallest source to the largest, each gets an equal part
of what is left, but at most ``max_epochs`` times its rows. Where the configured weights differ, the
parts are in their proportion, and the smallest source has the fewest rows for its weight.

Source: Chung et al. 2023 (UniMax), arXiv 2304.09151, section 3, algorithm 1.

It needs the number of groups that the run will draw, but no results.
Use it when sources should count the same, but the small ones would be learned by heart.
Do not use it when the length of the run is open, or rows may come as often as they teach.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from annotated_types import Ge, Gt

from curriculum_learning.curricula.base import SourceRule


class Unimax(SourceRule):
    """Shares a budget of groups equally, within a limit of passes over each source.

    Args:
        rows: The number of rows of each source.
        budget: The groups that the run will draw: rollout steps times groups of a rollout.
        max_epochs: The most passes over the rows of a source.
    """

    learns = False

    def __init__(
        self,
        rows: Mapping[str, int],
        *,
        budget: Annotated[int, Ge(1)],
        max_epochs: Annotated[float, Gt(0)] = 1.0,
    ) -> None:
        super().__init__(rows)
        self._budget = budget
        self._limits = {name: size * max_epochs for name, size in self.rows.items()}

    def shares(self, step: int, weights: Mapping[str, float]) -> Mapping[str, float]:
        """See ``SourceRule``."""
        left = float(self._budget)
        groups = dict.fromkeys(weights, 0.0)
        positive = [name for name, weight in weights.items() if weight > 0]
        positive.sort(key=lambda name: self._limits[name] / weights[name])
        for i, name in enumerate(positive):
            part = left * weights[name] / sum(weights[other] for other in positive[i:])
            groups[name] = min(part, self._limits[name])
            left -= groups[name]
        return groups
