"""A deterministic order of rows per (seed, source, epoch): a keyed permutation.

Nothing but the key is stored, any position is computed by itself, and the process's global random
state is never touched. Small epochs are sorted by a keyed hash of each row. Large ones walk a
four-round Feistel network (Luby and Rackoff, 1988) over the next power of two, stepping again
wherever it leaves the range (cycle walking: Black and Rogaway, 2002).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SORTED_UP_TO = 4096
"""Epochs of at most this many rows are sorted; more random than a network on so small a domain."""

_ROUNDS = 4
_GOLDEN = 0x9E3779B97F4A7C15

Rows = NDArray[np.int64]
_Words = NDArray[np.uint64]


def epoch_key(seed: int, source: str, epoch: int) -> int:
    """A 64-bit key; distinct for neighbouring seeds and epochs and for sources of equal size."""
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
        """The rows at positions ``start`` to ``stop`` (exclusive), int64 of shape (stop - start,).

        Cost does not depend on ``size``.
        """
        if self._key is None:
            return np.arange(start, stop, dtype=np.int64)
        if self._sorted is not None:
            return self._sorted[start:stop]
        return self._walk(_feistel, np.arange(start, stop, dtype=np.uint64), self._key)

    def positions(self, rows: Rows) -> Rows:
        """Where rows stand: the inverse of ``rows``; int64 of the same shape."""
        if self._key is None:
            return rows
        if self._sorted is not None:
            return np.argsort(self._sorted)[rows]
        return self._walk(_inverse_feistel, rows.astype(np.uint64), self._key)

    def _walk(self, step: Callable[..., _Words], words: _Words, key: int) -> Rows:
        """Apply ``step`` to each word, again wherever it leaves the range."""
        half = np.uint64(((self.size - 1).bit_length() + 1) // 2)
        values = step(words, key, half)
        outside = np.flatnonzero(values >= self.size)
        while len(outside):
            values[outside] = step(values[outside], key, half)
            outside = outside[values[outside] >= self.size]
        return values.astype(np.int64)


def _inverse_feistel(values: _Words, key: int, half: np.uint64) -> _Words:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for number in reversed(range(_ROUNDS)):
        round_key = np.uint64((key + (number + 1) * _GOLDEN) % 2**64)
        left, right = right ^ (_mix(left ^ round_key) & mask), left
    result: _Words = (left << half) | right
    return result


def _feistel(values: _Words, key: int, half: np.uint64) -> _Words:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for number in range(_ROUNDS):
        round_key = np.uint64((key + (number + 1) * _GOLDEN) % 2**64)
        left, right = right, left ^ (_mix(right ^ round_key) & mask)
    result: _Words = (left << half) | right
    return result


def _mix(words: _Words) -> _Words:
    """The finaliser of splitmix64 (Steele, Lea and Flood, 2014), element by element."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: _Words = words ^ (words >> np.uint64(31))
    return result
