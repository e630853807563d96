"""A source whose rows come as often as its row curriculum says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curriculum_learning.curricula.base import RowCurriculum, SourceRows, Weights
from curriculum_learning.curricula.complexity import ComplexityCurriculum
from curriculum_learning.curricula.results import Result
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.mixing.source import Taken
from curriculum_learning.mixing.weighted import WeightedOrder


class Teaching:
    """A row curriculum and the statistics that it learns from, with their states.

    Args:
        rows: The rows; their statistics are kept here.
        curriculum: The curriculum, as it was made.
    """

    def __init__(self, rows: SourceRows, curriculum: RowCurriculum) -> None:
        self.curriculum = curriculum
        self._rows = rows
        self._start = curriculum.state_dict(), rows.statistics.state_dict()

    def observe(self, results: Sequence[Result]) -> None:
        """Takes in the finished groups of an update; there may be none."""
        self._rows.statistics.observe(results)
        self.curriculum.observe(results)

    def metrics(self) -> dict[str, float]:
        """Returns the figures of the curriculum, and of the rows if it learns from them."""
        statistics = self._rows.statistics.metrics() if self.curriculum.learns else {}
        return {**self.curriculum.metrics(), **statistics}

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "curriculum": {"kind": self._kind, "state": self.curriculum.state_dict()},
            "statistics": self._rows.statistics.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a state; what it lacks, or has of another kind of curriculum, starts anew."""
        curriculum, statistics = self._start
        self._rows.statistics.load_state_dict(state.get("statistics") or statistics)
        saved = state.get("curriculum")
        same = saved is not None and saved["kind"] == self._kind
        self.curriculum.load_state_dict(saved["state"] if saved and same else curriculum)

    @property
    def _kind(self) -> str:
        return type(self.curriculum).__qualname__


class CuratedSource:
    """Asks the curriculum for row weights, and walks the rows in the order that follows them.

    Args:
        rows: The rows of the source.
        curriculum: Says how often each row should come now.
        shuffle: False walks the rows in file order.
    """

    def __init__(self, rows: SourceRows, curriculum: RowCurriculum, *, shuffle: bool) -> None:
        self.name = rows.source
        self.size = rows.size
        self.curriculum: RowCurriculum | None = curriculum
        self._teaching = Teaching(rows, curriculum)
        self._order = WeightedOrder(rows.size, seed=rows.seed, name=rows.source, shuffle=shuffle)
        self._weights: Weights | None = None
        self._asked_at = -1
        """The step at which the weights were asked for; -1 if they may have changed since."""
        self.version = 0
        """See ``RowSource``."""

    @property
    def epoch(self) -> int:
        """Completed walks over all rows."""
        return self._order.epoch

    def take(self, step: int) -> Taken:
        """See ``RowSource``."""
        if step != self._asked_at:
            self._ask(step)
        return self._order.take()

    def put_back(self, before: Any) -> None:
        """See ``RowSource``."""
        self._order.put_back(before)

    def open_rows(self, step: int) -> int:
        """See ``RowSource``."""
        return self._teaching.curriculum.open_rows(step)

    def _ask(self, step: int) -> None:
        curriculum = self._teaching.curriculum
        weights = curriculum.weights(step)
        if weights is not self._weights:
            try:
                self._order.set_weights(weights)
            except ValueError as error:
                raise ConfigurationError(
                    f"source '{self.name}': {type(curriculum).__qualname__}.weights({step}) cannot "
                    f"be used: {error}",
                    source=self.name,
                    key="data_source_curricula",
                ) from error
            self._weights = weights
        self._asked_at = step
        self.version += 1

    def observe(self, results: Sequence[Result], step: int) -> bool:
        """See ``RowSource``."""
        curriculum, self._asked_at = self._teaching.curriculum, -1
        self.version += 1
        if not isinstance(curriculum, ComplexityCurriculum):  # others close rows as well
            self._teaching.observe(results)
            return False
        before = curriculum.open_rows(step)
        self._teaching.observe(results)
        return curriculum.open_rows(step) > before

    def metrics(self, step: int) -> dict[str, float]:
        """See ``RowSource``."""
        return {"open_share": self.open_rows(step) / self.size, **self._teaching.metrics()}

    def place(self) -> dict[str, Any]:
        """See ``RowSource``."""
        return {"moved_to": list(self._order.cursor)}

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**self._order.state_dict(), **self._teaching.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a state, also one of a time without a curriculum."""
        self._order.load_state_dict(state)
        self._teaching.load_state_dict(state)
        self._asked_at, self._weights = -1, None
        self.version += 1
