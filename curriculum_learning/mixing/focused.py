"""A source whose newer intervals are drawn more often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curriculum_learning.curricula.curriculum import Curriculum
from curriculum_learning.curricula.reward import RewardCurriculum
from curriculum_learning.mixing.ledger import apportionment, units_of
from curriculum_learning.mixing.source import RowSource, Source, Taken


class FocusedSource:
    """A source whose newer intervals are drawn more often.

    Each interval has an order, a position and epochs of its own. The open intervals are
    apportioned by the exact ledger: age a (0 is the newest) has weight ``interval_decay ** a``,
    whatever the intervals' sizes.

    Args:
        name: Its name.
        size: Number of rows.
        seed: Chooses the orders.
        shuffle: False serves each interval from easy to hard.
        curriculum: Says which intervals are open.
        interval_decay: Factor from an interval to the next older one, 0 to 1.
    """

    def __init__(
        self,
        name: str,
        size: int,
        *,
        seed: int,
        shuffle: bool,
        curriculum: RewardCurriculum,
        interval_decay: float,
    ) -> None:
        self.name = name
        self.size = size
        self.curriculum = curriculum
        self._decay = interval_decay
        self._rows = curriculum.intervals()
        # An interval can be empty where there are more of them than rows.
        self._intervals = [
            Source(f"{name}/interval {number}", max(len(rows), 1), seed=seed, shuffle=shuffle)
            for number, rows in enumerate(self._rows)
        ]
        self._ledger = apportionment(len(self._intervals))
        self._units_level = -1
        self._units: list[int] = []

    @property
    def epoch(self) -> int:
        """The fewest passes over any of the open intervals."""
        opened = range(self.curriculum.level + 1)
        return min(self._intervals[number].epoch for number in opened if len(self._rows[number]))

    def take(self, step: int = 0) -> Taken:
        """Take the next row of the interval whose turn it is."""
        level = self.curriculum.level
        if level != self._units_level:
            self._units_level = level
            weights = [0.0] * len(self._rows)
            # An empty interval has no age: the newest with rows has weight 1.
            opened = [number for number in range(level + 1) if len(self._rows[number])]
            for age, number in enumerate(reversed(opened)):
                weights[number] = self._decay**age
            self._units = units_of(weights)
        number = self._ledger.draw(self._units)
        place, epoch, before = self._intervals[number].take()
        return int(self._rows[number][place]), epoch, (number, before, self._units)

    def put_back(self, before: tuple[int, tuple[int, int, int], list[int]]) -> None:
        """See ``RowSource``."""
        number, place, units = before
        self._intervals[number].put_back(place)
        self._ledger.undo(number, units)

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "intervals": [source.state_dict() for source in self._intervals],
            "credits": list(self._ledger.credits),
            "curriculum": self.curriculum.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the state that ``state_dict`` gave."""
        self.curriculum.load_state_dict(state["curriculum"])
        if "intervals" not in state:  # of a source that is new, or whose rows are others
            for source in self._intervals:
                source.seek((state["epoch"], 0, source.size))
            self._ledger.credits = [0] * len(self._intervals)
            return
        for source, saved in zip(self._intervals, state["intervals"], strict=True):
            source.load_state_dict(saved)
        self._ledger.credits = list(state["credits"])


def row_source(
    name: str, size: int, *, seed: int, shuffle: bool, curriculum: Curriculum | None
) -> RowSource:
    """The source with its curriculum: focused if the curriculum asks for that."""
    if isinstance(curriculum, RewardCurriculum) and curriculum.focus_new_intervals:
        return FocusedSource(
            name,
            size,
            seed=seed,
            shuffle=shuffle,
            curriculum=curriculum,
            interval_decay=curriculum.interval_decay,
        )
    return Source(name, size, seed=seed, shuffle=shuffle, curriculum=curriculum)
