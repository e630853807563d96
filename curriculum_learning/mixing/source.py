"""One source: which of its rows comes next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.curricula.curriculum import Curriculum
from curriculum_learning.mixing.order import Permutation, epoch_key

_BLOCK = 1024
"""Rows of the order wanted at once."""

_FEW = 64
"""Where fewer than one row in so many is open, epochs are walked by the open rows."""

_LARGEST_BLOCK = 64 * _BLOCK
"""Rows of the order looked at at once, where few of them are open."""


Taken = tuple[int, int, Any]
"""A row (0 to size - 1), the epoch that it belongs to, and what ``put_back`` needs."""


class RowSource(Protocol):
    """What a mixture asks of a source."""

    name: str
    size: int

    @property
    def curriculum(self) -> Curriculum | None:
        """Says which rows are open; None is all of them."""

    @property
    def epoch(self) -> int:
        """Completed passes over the open rows."""

    def take(self, step: int) -> Taken:
        """Take the next row, at rollout step ``step``."""

    def put_back(self, before: Any) -> None:
        """Put back the row taken last, or if that is back the one before it."""

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the state that ``state_dict`` gave."""


class Position(NamedTuple):
    """A place in the endless walk over a source's epochs."""

    epoch: int
    offset: int
    """0 to the number of rows - 1."""
    rows: int
    """Rows of this epoch: fewer than the source has, if its file grew since the epoch began."""


class Source:
    """The walk over the rows of one source, epoch by epoch, each open row once per epoch.

    An epoch walks one order of all rows and skips the closed ones; a row that opens behind the
    walk waits for the next epoch, and so does one that was added to the file while it ran.

    Args:
        name: Its name; part of the key of the order, also when it is renamed later.
        size: Number of rows, >= 1.
        seed: Chooses the order, together with name and epoch.
        shuffle: False serves the rows in file order.
        curriculum: Says which rows are open; None is all of them.
    """

    def __init__(
        self,
        name: str,
        size: int,
        *,
        seed: int,
        shuffle: bool,
        curriculum: Curriculum | None = None,
    ) -> None:
        self.name = name
        self.size = size
        self.curriculum = curriculum
        self._order_name = name
        self._seed = seed
        self._shuffle = shuffle
        self._open = size
        self._few: NDArray[np.int64] | None = None
        """The open rows, where they are few."""
        self._rows: list[int] = []
        """Rows found open ahead of the walk, and where each stands in the order."""
        self._offsets: list[int] = []
        self._next = 0
        self._seen = 0
        """How far into the order rows were looked at."""
        self.seek(Position(0, 0, size))

    @property
    def epoch(self) -> int:
        """Completed passes over the open rows."""
        return self._epoch

    @property
    def position(self) -> Position:
        """Where the next row is looked for."""
        return Position(self._epoch, self._offset, self._epoch_rows)

    def seek(self, position: tuple[int, int, int]) -> None:
        """Go to a position."""
        self._epoch, self._offset, self._epoch_rows = position
        key = epoch_key(self._seed, self._order_name, self._epoch) if self._shuffle else None
        self._permutation = Permutation(self._epoch_rows, key)
        self._forget_rows()

    def take(self, step: int = 0) -> Taken:
        """Take the next open row and move on behind it."""
        before = (self._epoch, self._offset, self._epoch_rows)
        if self.curriculum is not None:
            open_rows = self.curriculum.open_rows(step)
            if open_rows != self._open:
                self._open = open_rows
                self._few = None
                self._forget_rows()
        while self._next == len(self._rows):
            self._look_ahead()
        row, epoch = self._rows[self._next], self._epoch
        self._offset = self._offsets[self._next] + 1
        self._next += 1
        if self._offset == self._epoch_rows:
            self._start_next_epoch()
        return row, epoch, before

    def put_back(self, before: tuple[int, int, int]) -> None:
        """See ``RowSource``."""
        self.seek(before)

    def _look_ahead(self) -> None:
        """Find the open rows of the next part of the order."""
        if self._seen == self._epoch_rows:  # none was open in the rest of the epoch
            self._start_next_epoch()
        if self.curriculum is not None and self._open * _FEW < self.size:
            self._look_at_open_rows(self.curriculum)
            return
        start = self._seen
        block = min(_BLOCK * self.size // self._open, _LARGEST_BLOCK)
        self._seen = min(start + block, self._epoch_rows)
        rows = self._permutation.rows(start, self._seen)
        offsets = np.arange(start, self._seen)
        if self.curriculum is not None and self._open < self.size:
            is_open = self.curriculum.rank[rows] < self._open
            rows, offsets = rows[is_open], offsets[is_open]
        self._rows, self._offsets, self._next = rows.tolist(), offsets.tolist(), 0

    def _look_at_open_rows(self, curriculum: Curriculum) -> None:
        """Find the rest of the epoch by its few open rows instead of by all positions."""
        if self._few is None:
            self._few = np.flatnonzero(curriculum.rank < self._open)
        few = self._few[self._few < self._epoch_rows]
        offsets = self._permutation.positions(few)
        in_order = np.argsort(offsets)
        in_order = in_order[offsets[in_order] >= self._seen]
        self._seen = self._epoch_rows
        self._rows, self._next = few[in_order].tolist(), 0
        self._offsets = offsets[in_order].tolist()

    def _start_next_epoch(self) -> None:
        self.seek(Position(self._epoch + 1, 0, self.size))

    def _forget_rows(self) -> None:
        self._rows, self._offsets, self._next = [], [], 0
        self._seen = self._offset

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        curriculum = None if self.curriculum is None else self.curriculum.state_dict()
        return {
            **self.position._asdict(),
            "order_name": self._order_name,
            "curriculum": curriculum,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the state that ``state_dict`` gave."""
        # Rows that were added join an epoch of which none has been served.
        rows = state["rows"] if state["offset"] else self.size
        position = Position(state["epoch"], state["offset"], rows)
        order_name = state["order_name"]
        if self.curriculum is not None:
            self.curriculum.load_state_dict(state["curriculum"])
        self._order_name = order_name
        self.seek(position)
