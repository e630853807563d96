"""From the weights of a source's rows to the order in which the rows come.

An epoch walks one keyed order of all rows. A row gains weight / largest weight each time the walk
passes it, and the walk takes it when that completes a whole visit: a row of the largest weight in
every epoch, a row of half that weight in every other epoch, a row of weight 0 never.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from curriculum_learning.mixing.order import Permutation, Rows, epoch_key, keyed_hashes
from curriculum_learning.mixing.row_credits import CHUNK, RowCredits, Units, units_of_rows

_WANTED = 4096
"""Rows to find at once."""

_EPOCHS = 1024
"""Epochs to look into at once, at most."""

_FEW = 64
"""Rows are looked up, not walked, where an epoch takes fewer than one row in so many."""

_HASHES = 2**62
"""Places in a sparse epoch are below this."""


class Cursor(NamedTuple):
    """A moment of the walk: it has passed all places of this epoch before ``offset``."""

    epoch: int
    offset: int
    """The next place, 0 at the start of the epoch."""
    rows: int
    """Rows of this epoch: fewer than the source has if its file grew since the epoch began."""
    sparse: bool
    """Rows stand in the order of their hashes, which is cheaper to look up than a permutation."""


Walk = tuple[int, int, int, bool]
"""The fields of a cursor: each draw makes one, and a plain tuple costs a tenth of a named one."""

Before = tuple[Walk, Units]
"""What ``put_back`` needs to undo a ``take``."""


class _Found(NamedTuple):
    """Rows to take, with their epochs and places; each as long as the others."""

    rows: list[int]
    epochs: list[int]
    places: list[int]


class WeightedOrder:
    """The endless walk over the rows of one source; takes each row as often as its weight says.

    Let w1 to wm be a row's weights, as fractions of the largest weight, at the m times that the
    walk passed the row. Then the walk has taken the row exactly floor(phase + w1 + ... + wm)
    times, for a fixed phase, 0 <= phase < 1, whatever the other rows' weights did. So:

    - For constant weights and after whole epochs, every row is less than one visit off its weight;
      within an epoch less than 1 + w, because the walk may have passed it or not.
    - A change of weights keeps the part of a visit that each row has gained. A closed row keeps it
      too.
    - A row whose fraction is never below f comes at least once in ceil(1 / f) passes. An epoch
      takes no row twice, so that is less than (ceil(1 / f) + 1) * size draws.
    - Weights of 0 and one constant give the order of ``Source``, row by row.

    The unit of time is the epoch, and epochs take equal numbers of rows only on average. Counted
    in draws, a row with share s of all draws can be about s * sqrt(size) visits further off. That
    matters only for single rows that take a large part of all draws.

    Args:
        size: Number of rows, >= 1. Their weights are equal until ``set_weights``.
        seed: Chooses the order, together with ``name`` and the epoch.
        name: Part of the key of the order.
        shuffle: False walks the rows in file order.
    """

    def __init__(self, size: int, *, seed: int, name: str, shuffle: bool) -> None:
        self.size = size
        self._seed = seed
        self._name = name
        self._shuffle = shuffle
        self._credits = RowCredits(size, self._key(-1))
        self._cursor = self._settled = self._start_of(0)
        """Where the walk is, and up to where rows have been credited."""
        self._forget()

    @property
    def epoch(self) -> int:
        """Completed walks over all rows."""
        return self._cursor.epoch

    @property
    def cursor(self) -> Cursor:
        """Where the walk is."""
        return self._cursor

    @property
    def _cursor(self) -> Cursor:
        return Cursor(*self._walk)

    @_cursor.setter
    def _cursor(self, cursor: Cursor) -> None:
        self._walk: Walk = (*cursor,)

    def set_weights(self, weights: ArrayLike) -> None:
        """Change the weights from here on.

        Args:
            weights: Finite numbers >= 0 of shape (size,), at least one > 0; 0 closes a row. They
                are rounded to 2**-31 of the largest, and no row is closed by rounding.

        Raises:
            ValueError: The weights have another shape or other values, or are all 0.
        """
        units = units_of_rows(weights, self.size)
        if not np.array_equal(units, self._credits.units):
            self._settle()
            self._credits.use(units)
            self._forget()

    def take(self) -> tuple[int, int, Before]:
        """Take the next row; returns the row, its epoch, and what ``put_back`` needs."""
        before = self._walk, self._credits.units
        while self._next == len(self._found.rows):
            self._look_ahead()
        at, found = self._next, self._found
        row, epoch, place = found.rows[at], found.epochs[at], found.places[at]
        self._next += 1
        if place + 1 == self._end:
            self._cursor = self._start_of(epoch + 1)
        else:
            self._walk = epoch, place + 1, self._found_from.rows, self._found_from.sparse
        return row, epoch, before

    def put_back(self, before: Before) -> None:
        """Undo the last ``take`` that is not undone yet.

        What rows have gained returns to what it was, also if the weights have changed since. The
        weights stay as they are now.
        """
        walk, units_before = before
        if self._next:  # the row was found with the weights that are in force
            self._next -= 1
            self._walk = walk
            return
        self._settle()
        units = self._credits.units
        self._credits.use(units_before)
        self._walk = walk
        self._settle()
        self._credits.use(units)
        self._forget()

    def state_dict(self) -> dict[str, Any]:
        """Plain data, 8 bytes a row."""
        self._settle()
        return {
            **self._cursor._asdict(),
            "order_name": self._name,
            **self._credits.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the state that ``state_dict`` gave.

        ``moved_to`` is where the walk went from there, with the same weights. Rows added since are
        closed until the next ``set_weights``, and wait for the next epoch if this one has begun.

        Raises:
            ValueError: The state has more rows than there are now.
        """
        rows = state["rows"] if state["offset"] else self.size
        cursor = Cursor(state["epoch"], state["offset"], rows, bool(state.get("sparse", False)))
        name = state["order_name"]
        self._credits.load_state_dict(state)
        self._name = name
        self._cursor = self._settled = cursor
        if "moved_to" in state:
            self._cursor = Cursor(*state["moved_to"])
        self._forget()

    def _forget(self) -> None:
        """Forget the rows found ahead."""
        self._found = _Found([], [], [])
        self._next = 0
        self._found_from = self._found_to = self._cursor
        """The part of the walk that was searched for them."""
        self._end = self._end_of(self._cursor)

    def _look_ahead(self) -> None:
        """Search the next part of the walk for rows to take; there may be none in it."""
        self._cursor = self._found_to
        self._settle()
        few = self._credits.per_epoch * _FEW < self._cursor.rows
        if self._cursor.offset == 0:
            self._cursor = self._cursor._replace(sparse=few and self._credits.gaining > 0)
        self._found_from, self._end = self._cursor, self._end_of(self._cursor)
        self._next = 0
        if few or self._cursor.sparse:
            self._look_up()
        else:
            self._look_along()

    def _look_along(self) -> None:
        """Search the next places of the permutation."""
        epoch, start, size, _ = self._cursor
        stop = min(start + _WANTED * self.size // self._credits.per_epoch, size)
        rows = self._permutation(epoch, size).rows(start, stop)
        taken = np.flatnonzero(self._credits.complete(rows))
        places: list[int] = (taken + start).tolist()
        self._found = _Found(rows[taken].tolist(), [epoch] * len(taken), places)
        self._found_to = self._cursor._replace(offset=stop)
        if stop == size:
            self._found_to = self._start_of(epoch + 1)

    def _look_up(self) -> None:
        """Search all rows for those to take in a part of this epoch, or in several whole ones."""
        cursor, end = self._cursor, self._end_of(self._cursor)
        per_epoch = self._credits.per_epoch
        is_whole = cursor.offset == 0 and cursor.rows == self.size
        epochs = min(max(_WANTED // per_epoch, 1), _EPOCHS) if is_whole else 1
        stop = min(cursor.offset + max(end * _WANTED // per_epoch, 1), end)
        rows, later = self._credits.due(cursor.rows, epochs)
        places = self._places(cursor, rows, later)
        found = np.flatnonzero((places >= cursor.offset) & (places < stop))
        found = found[np.lexsort((places[found], later[found]))]
        self._found = _Found(
            rows[found].tolist(), (later[found] + cursor.epoch).tolist(), places[found].tolist()
        )
        self._found_to = cursor._replace(offset=stop)
        if stop == end:
            self._found_to = self._start_of(cursor.epoch + epochs)

    def _places(self, cursor: Cursor, rows: Rows, later: Rows) -> Rows:
        """Where each row stands in the epoch that is ``later`` epochs after that of ``cursor``."""
        if not self._shuffle:
            return rows
        if cursor.sparse:
            keys = [self._key(cursor.epoch + number) for number in range(later.max(initial=0) + 1)]
            hashes = keyed_hashes(rows, np.array(keys, dtype=np.uint64)[later])
            return np.asarray(hashes // np.uint64(2**64 // _HASHES), dtype=np.int64)
        places = np.empty_like(rows)
        for number in np.unique(later).tolist():
            chosen = later == number
            order = self._permutation(cursor.epoch + number, cursor.rows)
            places[chosen] = order.positions(rows[chosen])
        return places

    def _settle(self) -> None:
        """Credit the rows between where they were last credited and the walk, or take it back."""
        first, last = sorted((self._settled, self._cursor))
        times = 1 if first == self._settled else -1
        self._settled = self._cursor
        if first.epoch == last.epoch:
            self._credit(last, first.offset, last.offset, times)
            return
        self._credit(first, first.offset, self._end_of(first), times)
        self._credit(last, 0, self._end_of(last), times * (last.epoch - first.epoch - 1))
        self._credit(last, 0, last.offset, times)

    def _credit(self, cursor: Cursor, start: int, stop: int, times: int) -> None:
        """Credit the rows at these places of an epoch so many times."""
        if start == stop or times == 0 or self._credits.gaining == 0:
            return
        if start == 0 and stop == self._end_of(cursor):
            self._credits.gain(slice(cursor.rows), times)
            return
        for rows in self._between(cursor, start, stop):
            self._credits.gain(rows, times)

    def _between(self, cursor: Cursor, start: int, stop: int) -> Iterator[Rows]:
        """The rows at these places of an epoch that gain anything, and maybe others, in parts."""
        if not cursor.sparse and stop - start <= self._credits.gaining:
            order = self._permutation(cursor.epoch, cursor.rows)
            for place in range(start, stop, CHUNK):
                yield order.rows(place, min(place + CHUNK, stop))
            return
        for rows in self._credits.gaining_rows(cursor.rows):
            places = self._places(cursor, rows, np.zeros_like(rows))
            yield rows[(places >= start) & (places < stop)]

    def _key(self, epoch: int) -> int:
        return epoch_key(self._seed, self._name, epoch)

    def _permutation(self, epoch: int, rows: int) -> Permutation:
        return Permutation(rows, self._key(epoch) if self._shuffle else None)

    def _start_of(self, epoch: int) -> Cursor:
        return Cursor(epoch, 0, self.size, sparse=False)

    def _end_of(self, cursor: Cursor) -> int:
        """The place behind the last row of an epoch."""
        return _HASHES if cursor.sparse and self._shuffle else cursor.rows
