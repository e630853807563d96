"""A source whose newer intervals are drawn more often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curriculum_learning.curricula.base import RowCurriculum, SourceRows
from curriculum_learning.curricula.results import Result
from curriculum_learning.curricula.rows.reward import RewardCurriculum
from curriculum_learning.mixing.curated import CuratedSource, Teaching
from curriculum_learning.mixing.ledger import apportionment, units_of
from curriculum_learning.mixing.source import RowSource, Source, Taken


class FocusedSource:
    """Draws from the open intervals of a reward curriculum, from newer ones more often.

    Each interval has an order, a position and epochs of its own. The exact ledger apportions the
    open intervals: age a (0 is the newest) has weight ``interval_decay ** a``, whatever the sizes.

    Args:
        rows: The rows of the source.
        curriculum: Says which intervals are open.
        shuffle: False serves each interval from easy to hard.
    """

    def __init__(self, rows: SourceRows, curriculum: RewardCurriculum, *, shuffle: bool) -> None:
        self.name = rows.source
        self.size = rows.size
        self.curriculum: RowCurriculum | None = curriculum
        self._reward = curriculum
        self._teaching = Teaching(rows, curriculum)
        self._rows = curriculum.intervals()
        # An interval is empty where there are more intervals than rows.
        self._intervals = [
            Source(
                f"{rows.source}/interval {number}",
                max(len(of_interval), 1),
                seed=rows.seed,
                shuffle=shuffle,
            )
            for number, of_interval in enumerate(self._rows)
        ]
        self._ledger = apportionment(len(self._intervals))
        self.version = 0
        """See ``RowSource``."""
        self._units_level = -1
        self._units: list[int] = []

    @property
    def epoch(self) -> int:
        """The fewest passes over any of the open intervals."""
        opened = range(self._reward.level + 1)
        return min(self._intervals[number].epoch for number in opened if len(self._rows[number]))

    def take(self, step: int = 0) -> Taken:
        """See ``RowSource``: takes the next row of the interval whose turn it is."""
        level = self._reward.level
        if level != self._units_level:
            self._units_level = level
            weights = [0.0] * len(self._rows)
            # An empty interval has no age: the newest interval with rows has weight 1.
            opened = [number for number in range(level + 1) if len(self._rows[number])]
            for age, number in enumerate(reversed(opened)):
                weights[number] = self._reward.interval_decay**age
            self._units = units_of(weights)
        number = self._ledger.draw(self._units)
        place, epoch, before = self._intervals[number].take()
        return int(self._rows[number][place]), epoch, (number, before, self._units)

    def put_back(self, before: tuple[int, tuple[int, int, int], list[int]]) -> None:
        """See ``RowSource``."""
        number, place, units = before
        self._intervals[number].put_back(place)
        self._ledger.undo(number, units)

    def open_rows(self, step: int) -> int:
        """See ``RowSource``."""
        return self._reward.open_rows(step)

    def observe(self, results: Sequence[Result], step: int) -> bool:
        """See ``RowSource``."""
        level = self._reward.level
        self.version += 1
        self._teaching.observe(results)
        return self._reward.level > level

    def metrics(self, step: int) -> dict[str, float]:
        """See ``RowSource``."""
        return {"open_share": self.open_rows(step) / self.size, **self._teaching.metrics()}

    def place(self) -> dict[str, Any]:
        """See ``RowSource``."""
        return {
            "intervals": [source.state_dict() for source in self._intervals],
            "credits": list(self._ledger.credits),
        }

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**self.place(), **self._teaching.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads what ``state_dict`` returned; a state without intervals has its epoch only."""
        self.version += 1
        self._teaching.load_state_dict(state)
        if "intervals" not in state:
            for source in self._intervals:
                source.seek((state["epoch"], 0, source.size))
            self._ledger.credits = [0] * len(self._intervals)
            return
        for source, saved in zip(self._intervals, state["intervals"], strict=True):
            source.load_state_dict(saved)
        self._ledger.credits = list(state["credits"])


def curated_source(rows: SourceRows, curriculum: RowCurriculum, *, shuffle: bool) -> RowSource:
    """Returns the source with its curriculum: focused if the curriculum asks for that."""
    if isinstance(curriculum, RewardCurriculum) and curriculum.focus_new_intervals:
        return FocusedSource(rows, curriculum, shuffle=shuffle)
    return CuratedSource(rows, curriculum, shuffle=shuffle)
