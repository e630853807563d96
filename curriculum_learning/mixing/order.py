"""The order of rows per (seed, source, epoch): a keyed permutation.

It stores the key and nothing else, computes any position by itself, and never touches the
process's global random state. Small epochs are sorted by a keyed hash of each row. Large ones walk
a four-round Feistel network (Luby and Rackoff, 1988) over the next power of two, and step again
wherever they leave the range (cycle walking: Black and Rogaway, 2002).
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

SORTED_UP_TO = 4096
"""Epochs of at most this many rows are sorted: a network on so small a domain is less random."""

_ROUNDS = 4
_GOLDEN = 0x9E3779B97F4A7C15

Rows = NDArray[np.int64]
_Words = NDArray[np.uint64]


def epoch_key(seed: int, source: str, epoch: int) -> int:
    """Returns a 64-bit key, distinct for neighbouring seeds and epochs and for each source."""
    digest = hashlib.blake2b(f"{seed}\0{epoch}\0{source}".encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def keyed_hashes(rows: Rows, keys: _Words | np.uint64) -> _Words:
    """64 random-looking bits per row under its key; shape as ``rows``."""
    return _mix(rows.astype(np.uint64) * np.uint64(_GOLDEN) ^ keys)


class Permutation:
    """A permutation of ``range(size)``.

    Args:
        size: Number of rows, >= 1.
        key: 64 bits that choose the permutation; None is the identity, file order.
    """

    def __init__(self, size: int, key: int | None) -> None:
        self.size = size
        self._key = key
        self._sorted: Rows | None = None
        if key is not None and size <= SORTED_UP_TO:
            hashes = keyed_hashes(np.arange(size), np.uint64(key))
            self._sorted = np.argsort(hashes, kind="stable").astype(np.int64)

    def rows(self, start: int, stop: int) -> Rows:
        """Returns the rows at positions ``start`` to ``stop``, int64 of shape (stop - start,).

        The cost does not depend on ``size``.
        """
        if self._key is None:
            return np.arange(start, stop, dtype=np.int64)
        if self._sorted is not None:
            return self._sorted[start:stop]
        return self._walk(np.arange(start, stop, dtype=np.uint64), self._key, inverse=False)

    def positions(self, rows: Rows) -> Rows:
        """Returns the positions of rows, the inverse of ``rows``; int64 of the same shape."""
        if self._key is None:
            return rows
        if self._sorted is not None:
            return np.argsort(self._sorted)[rows]
        return self._walk(rows.astype(np.uint64), self._key, inverse=True)

    def _walk(self, words: _Words, key: int, *, inverse: bool) -> Rows:
        """Applies the network to each word, again wherever it leaves the range."""
        half = np.uint64(((self.size - 1).bit_length() + 1) // 2)
        values = _feistel(words, key, half, inverse)
        outside = np.flatnonzero(values >= self.size)
        while len(outside):
            values[outside] = _feistel(values[outside], key, half, inverse)
            outside = outside[values[outside] >= self.size]
        return values.astype(np.int64)


def _feistel(values: _Words, key: int, half: np.uint64, inverse: bool) -> _Words:
    """Four rounds over words of two halves; the inverse runs them backward, halves swapped."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    if inverse:
        left, right = right, left
    rounds = range(_ROUNDS)
    for number in reversed(rounds) if inverse else rounds:
        round_key = np.uint64((key + (number + 1) * _GOLDEN) % 2**64)
        left, right = right, left ^ (_mix(right ^ round_key) & mask)
    if inverse:
        left, right = right, left
    result: _Words = (left << half) | right
    return result


def _mix(words: _Words) -> _Words:
    """The finaliser of splitmix64 (Steele, Lea and Flood, 2014), element by element."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: _Words = words ^ (words >> np.uint64(31))
    return result
