"""One source: which of its rows comes next."""

from __future__ import annotations

from typing import NamedTuple

from curriculum_learning.order import Permutation, epoch_key

_BLOCK = 1024
"""Rows of the order computed at once."""


class Position(NamedTuple):
    """A place in the endless walk over a source's epochs."""

    epoch: int
    offset: int
    """0 to the number of rows - 1."""


class Source:
    """The walk over the rows of one source, epoch by epoch, each row once per epoch.

    Args:
        name: Its name; part of the key of the order.
        size: Number of rows, >= 1.
        seed: Chooses the order, together with name and epoch.
        shuffle: False serves the rows in file order.
    """

    def __init__(self, name: str, size: int, *, seed: int, shuffle: bool) -> None:
        self.name = name
        self.size = size
        self._seed = seed
        self._shuffle = shuffle
        self._block: list[int] = []
        self._block_start = 0
        self.seek(Position(0, 0))

    @property
    def position(self) -> Position:
        """Where the next row is."""
        return Position(self._epoch, self._offset)

    @property
    def epoch(self) -> int:
        """Completed passes over the rows."""
        return self._epoch

    def seek(self, position: Position) -> None:
        """Go to ``position``."""
        self._epoch, self._offset = position
        self._start_epoch()

    def next_row(self) -> int:
        """The row at the present position, 0 to ``size - 1``; moves on by one."""
        index = self._offset - self._block_start
        if index >= len(self._block):
            self._block_start = self._offset
            stop = min(self._offset + _BLOCK, self.size)
            self._block = self._permutation.rows(self._offset, stop).tolist()
            index = 0
        row = self._block[index]
        self._offset += 1
        if self._offset == self.size:
            self._epoch, self._offset = self._epoch + 1, 0
            self._start_epoch()
        return row

    def _start_epoch(self) -> None:
        key = epoch_key(self._seed, self.name, self._epoch) if self._shuffle else None
        self._permutation = Permutation(self.size, key)
        self._block = []
        self._block_start = self._offset
