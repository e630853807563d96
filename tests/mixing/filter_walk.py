"""The order of open rows, literally: one permutation per epoch, closed rows are skipped."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.mixing.order import Permutation, epoch_key


class FilterWalk:
    """Walks the rows of a source epoch by epoch; a row that opens behind the walk waits.

    Args:
        name: The source.
        size: Its rows.
        seed: The seed of the run.
        shuffle: False walks in file order.
    """

    def __init__(self, name: str, size: int, *, seed: int, shuffle: bool) -> None:
        self.epoch, self._offset = 0, 0
        self._name, self._size, self._seed, self._shuffle = name, size, seed, shuffle
        self._order = self._order_of(0)

    def _order_of(self, epoch: int) -> list[int]:
        key = epoch_key(self._seed, self._name, epoch) if self._shuffle else None
        return [int(row) for row in Permutation(self._size, key).rows(0, self._size)]

    def take(self, is_open: NDArray[np.bool_]) -> tuple[int, int]:
        """Takes the next open row; returns it and its epoch."""
        while True:
            row, epoch = self._order[self._offset], self.epoch
            self._offset += 1
            if self._offset == self._size:
                self.epoch, self._offset = epoch + 1, 0
                self._order = self._order_of(self.epoch)
            if is_open[row]:
                return row, epoch
