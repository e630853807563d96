"""A source whose rows have no end: its difficulty levels are walked like the rows of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curriculum_learning.curricula.base import RowCurriculum
from curriculum_learning.curricula.results import Result
from curriculum_learning.mixing.source import RowSource, Taken


class EndlessSource:
    """Serves row after row of each level.

    The levels stand in for rows: a curriculum opens and weighs levels, and a walk over them takes
    each open level once. Walk number e takes row e * levels + level, so no row ever comes twice,
    and a row depends on its number alone. There are no epochs.

    Args:
        levels: The walk over the levels.
    """

    def __init__(self, levels: RowSource) -> None:
        self.name = levels.name
        self.size = levels.size
        """The number of levels."""
        self._levels = levels

    @property
    def curriculum(self) -> RowCurriculum | None:
        """See ``RowSource``."""
        return self._levels.curriculum

    @property
    def version(self) -> int:
        """See ``RowSource``."""
        return self._levels.version

    @property
    def epoch(self) -> int:
        """See ``RowSource``: there are none."""
        return 0

    def take(self, step: int) -> Taken:
        """See ``RowSource``."""
        level, walk, before = self._levels.take(step)
        return walk * self.size + level, 0, before

    def put_back(self, before: Any) -> None:
        """See ``RowSource``."""
        self._levels.put_back(before)

    def open_rows(self, step: int) -> int:
        """See ``RowSource``: returns how many levels are open."""
        return self._levels.open_rows(step)

    def observe(self, results: Sequence[Result], step: int) -> bool:
        """See ``RowSource``: the results of a row are those of its level."""
        of_levels = [
            result if result.row is None else result._replace(row=result.row % self.size)
            for result in results
        ]
        return self._levels.observe(of_levels, step)

    def metrics(self, step: int) -> dict[str, float]:
        """See ``RowSource``."""
        return self._levels.metrics(step)

    def place(self) -> dict[str, Any]:
        """See ``RowSource``."""
        return self._levels.place()

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return self._levels.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads what ``state_dict`` returned."""
        self._levels.load_state_dict(state)
