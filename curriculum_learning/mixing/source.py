"""One source: which of its rows comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from curriculum_learning.curricula.base import RowCurriculum
from curriculum_learning.curricula.results import Result
from curriculum_learning.mixing.order import Permutation, epoch_key

_BLOCK = 1024
"""Rows of the order computed at once."""

Taken = tuple[int, int, Any]
"""A row (0 to size - 1), its epoch, and what ``put_back`` needs."""


class RowSource(Protocol):
    """What a mixture asks of a source."""

    name: str
    size: int

    @property
    def curriculum(self) -> RowCurriculum | None:
        """Which rows are open; None opens all."""

    @property
    def version(self) -> int:
        """Counts the changes of ``state_dict``, but for those of ``place``."""

    @property
    def epoch(self) -> int:
        """Completed passes over the rows."""

    def take(self, step: int) -> Taken:
        """Takes the next row, at rollout step ``step``."""

    def put_back(self, before: Any) -> None:
        """Undoes the latest ``take`` that is not undone yet."""

    def open_rows(self, step: int) -> int:
        """Returns how many rows may come at ``step``."""

    def observe(self, results: Sequence[Result], step: int) -> bool:
        """Takes in the finished groups of an update; returns whether more rows are open now."""

    def metrics(self, step: int) -> dict[str, float]:
        """Returns the figures of the curriculum; none without one."""

    def place(self) -> dict[str, Any]:
        """Returns what each draw changes: together with an earlier ``state_dict``, a state."""

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads what ``state_dict`` returned."""


class Position(NamedTuple):
    """A place in the endless walk over a source's epochs."""

    epoch: int
    offset: int
    """0 to the number of rows - 1."""
    rows: int
    """Rows of this epoch: fewer than the source has if its file grew since the epoch began."""


class Source:
    """Walks the rows of a source epoch by epoch, each row once per epoch, without a curriculum.

    A row that was added to the file while an epoch ran waits for the next one.

    Args:
        name: Part of the key of the order, also when the source is renamed later.
        size: Number of rows, >= 1.
        seed: Chooses the order, together with name and epoch.
        shuffle: False serves the rows in file order.
    """

    curriculum: RowCurriculum | None = None
    version = 0

    def __init__(self, name: str, size: int, *, seed: int, shuffle: bool) -> None:
        self.name = name
        self.size = size
        self._order_name = name
        self._seed = seed
        self._shuffle = shuffle
        self.seek(Position(0, 0, size))

    @property
    def epoch(self) -> int:
        """Completed passes over the rows."""
        return self._epoch

    @property
    def position(self) -> Position:
        """The place of the next row."""
        return Position(self._epoch, self._offset, self._epoch_rows)

    def seek(self, position: tuple[int, int, int]) -> None:
        """Moves to a position."""
        self._epoch, self._offset, self._epoch_rows = position
        shuffles = self._shuffle and self._epoch_rows > 1
        key = epoch_key(self._seed, self._order_name, self._epoch) if shuffles else None
        self._permutation = Permutation(self._epoch_rows, key)
        self._rows: list[int] = []
        self._next = 0

    def take(self, step: int = 0) -> Taken:
        """Takes the next row; without a curriculum the step changes nothing."""
        before = (self._epoch, self._offset, self._epoch_rows)
        if self._next == len(self._rows):
            stop = min(self._offset + _BLOCK, self._epoch_rows)
            self._rows, self._next = self._permutation.rows(self._offset, stop).tolist(), 0
        row, epoch = self._rows[self._next], self._epoch
        self._next += 1
        self._offset += 1
        if self._offset == self._epoch_rows:
            self.seek(Position(self._epoch + 1, 0, self.size))
        return row, epoch, before

    def put_back(self, before: tuple[int, int, int]) -> None:
        """See ``RowSource``."""
        self.seek(before)

    def open_rows(self, step: int) -> int:
        """See ``RowSource``: all rows."""
        return self.size

    def observe(self, results: Sequence[Result], step: int) -> bool:
        """See ``RowSource``: results change nothing."""
        return False

    def metrics(self, step: int) -> dict[str, float]:
        """See ``RowSource``."""
        return {}

    def place(self) -> dict[str, Any]:
        """See ``RowSource``: all of it."""
        return self.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "epoch": self._epoch,
            "offset": self._offset,
            "rows": self._epoch_rows,
            "order_name": self._order_name,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a state, also one of a time when the source had a curriculum."""
        # Rows that were added join an epoch of which none has been served.
        rows = state["rows"] if state["offset"] else self.size
        position = Position(state["epoch"], state["offset"], rows)
        if not position.offset < rows <= self.size:
            raise ValueError(f"there is no place {position} in {self.size} rows")
        if state.get("sparse"):  # its places were not places of this order
            position = Position(position.epoch + 1, 0, self.size)
        self._order_name = state["order_name"]
        self.seek(position)
