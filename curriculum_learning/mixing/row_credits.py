"""What each row of a source has gained of its next visit: exact integers, 8 bytes a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from curriculum_learning.mixing.order import Rows

WHOLE = 2**31
"""Units of a whole visit, and of the largest weight."""

CHUNK = 1 << 16
"""Rows to work on at once, so that they stay in the processor's cache."""

_FRACTION = np.uint32(WHOLE - 1)
"""Masks what a number of units has beyond whole visits."""

_GOLDEN = 0x4F1BBCDD
"""WHOLE over the golden ratio: its multiples spread evenly over a visit."""

Units = NDArray[np.uint32]


def units_of_rows(weights: ArrayLike, size: int) -> Units:
    """Scale weights to integers, the largest to WHOLE.

    Args:
        weights: Finite numbers >= 0 of shape (size,), at least one > 0.
        size: Number of rows.

    Returns:
        Shape (size,). A weight of 0 gets exactly 0, and a weight > 0 at least 1.

    Raises:
        ValueError: The weights have another shape or other values, or are all 0.
    """
    exact = np.asarray(weights, dtype=np.float64)
    if exact.shape != (size,):
        raise ValueError(f"the weights have shape {exact.shape}; there are {size} rows")
    largest = exact.max()
    if not (exact.min() >= 0 and largest < np.inf):  # so written that a NaN fails too
        row = np.flatnonzero(~((exact >= 0) & (exact < np.inf)))[0]
        raise ValueError(f"row {row} has weight {exact[row]}; use a finite number >= 0")
    if largest == 0:
        raise ValueError("all rows have weight 0; at least one must be open")
    units = np.empty(size, dtype=np.uint32)
    for start in range(0, size, CHUNK):
        part = exact[start : start + CHUNK]
        # Dividing first keeps the product finite whatever the weights are.
        scaled = np.rint(part / largest * WHOLE)
        units[start : start + CHUNK] = np.maximum(scaled, part > 0)
    return units


class RowCredits:
    """The units of each row, and the credit it has gained towards its next visit.

    A row gains its units each time the walk passes it. WHOLE of them are a visit; the rest, below
    WHOLE, is the credit that it keeps.

    Args:
        size: Number of rows.
        key: Shifts the first credits. They are spread evenly, so that rows of equal weight come
            evenly too.
    """

    def __init__(self, size: int, key: int) -> None:
        self._size = size
        self._key = key
        self._credits = self._first_credits()
        self.use(np.full(size, WHOLE, dtype=np.uint32))

    def _first_credits(self) -> Units:
        rows = np.arange(self._size, dtype=np.uint32)
        rows *= np.uint32(_GOLDEN)
        rows += np.uint32(self._key % WHOLE)
        rows &= _FRACTION
        return rows

    def use(self, units: Units) -> None:
        """Change what each row gains from here on."""
        self.units = units
        self.per_epoch = max(int(units.sum(dtype=np.uint64)) // WHOLE, 1)
        """Rows that complete a visit in an epoch, on average."""
        self.gaining = int(np.count_nonzero(units) - np.count_nonzero(units == WHOLE))
        """Rows whose credit changes: neither closed nor of the largest weight."""

    def complete(self, rows: Rows) -> NDArray[np.bool_]:
        """Whether each of these rows completes a visit when the walk passes it now."""
        complete: NDArray[np.bool_] = self._credits[rows] + self.units[rows] >= WHOLE
        return complete

    def due(self, rows: int, epochs: int) -> tuple[Rows, Rows]:
        """The first ``rows`` rows' visits in so many epochs: row and number of the epoch from 0."""
        found = []
        for start in range(0, rows, CHUNK):
            part = slice(start, min(start + CHUNK, rows))
            credits, units = self._credits[part], self.units[part]
            visits = (credits + units.astype(np.int64) * epochs) // WHOLE
            visited = np.repeat(np.arange(len(visits)), visits)
            nth = np.arange(1, len(visited) + 1) - (np.cumsum(visits) - visits)[visited]
            missing = nth * WHOLE - credits[visited]
            found.append((visited + start, (missing - 1) // units[visited]))
        visited, later = (np.concatenate(column) for column in zip(*found, strict=True))
        return visited, later

    def gain(self, rows: Rows | slice, times: int) -> None:
        """Credit rows as if they were passed so many times; a number below 0 takes it back."""
        credits = self.units[rows] * np.uint32(times % 2**32)  # wraps around: fit for -1 as well
        credits += self._credits[rows]
        credits &= _FRACTION
        self._credits[rows] = credits

    def gaining_rows(self, rows: int) -> Iterator[Rows]:
        """Those of the first ``rows`` rows whose credit changes, in parts."""
        for start in range(0, rows, CHUNK):
            units = self.units[start : min(start + CHUNK, rows)]
            yield np.flatnonzero(units & _FRACTION) + start

    def state_dict(self) -> dict[str, Any]:
        """Plain data, 8 bytes a row."""
        return {
            "credits": self._credits.astype("<u4").tobytes(),
            "units": self.units.astype("<u4").tobytes(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads what ``state_dict`` returned; rows added since are closed.

        A state without credits is of a time without weights: all rows weigh the same.

        Raises:
            ValueError: The state has more rows than there are now.
        """
        self._credits = self._first_credits()
        if "credits" not in state:
            self.use(np.full(self._size, WHOLE, dtype=np.uint32))
            return
        credits = np.frombuffer(state["credits"], dtype="<u4")
        if len(credits) > self._size:
            raise ValueError(f"the state has {len(credits)} rows; there are {self._size}")
        units = np.zeros(self._size, dtype=np.uint32)
        units[: len(credits)] = np.frombuffer(state["units"], dtype="<u4")
        self._credits[: len(credits)] = credits
        self.use(units)
