"""Where the rows of a file of lines begin."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.prompts.cache import Cache, Kept, file_key

BOM = b"\xef\xbb\xbf"
_NEWLINE, _BRACE = b"\n{"
_CHUNK = 1 << 24
_SMALL = 1 << 20
"""Bytes; smaller files are indexed again each time."""


def line_index(path: str, cache: Cache) -> Kept:
    """Finds the lines of a file that are not blank.

    Returns:
        Where each begins, and the end of the file: int64, shape (rows + 1,). The facts are the
        hash of the whole content.
    """
    if os.path.getsize(path) < _SMALL:
        return _index(path)
    key = {"what": "lines", **file_key(path)}
    return cache.find(key) or cache.keep(key, _index(path))


def _index(path: str) -> Kept:
    """Reads the whole file once, and hashes it on a second thread meanwhile."""
    digest = hashlib.blake2b(digest_size=16)
    starts: list[NDArray[np.int64]] = []
    suspects: list[int] = []
    size = 0
    begins = True
    hashed: Future[None] | None = None
    with open(path, "rb", buffering=0) as file, ThreadPoolExecutor(1) as pool:
        while chunk := file.read(_CHUNK):
            if hashed is not None:
                hashed.result()
            hashed = pool.submit(digest.update, chunk)
            content = np.frombuffer(chunk, dtype=np.uint8)
            found = np.flatnonzero(content == _NEWLINE) + 1
            if begins:
                found = np.concatenate(([0], found))
            begins = len(found) > 0 and found[-1] == len(chunk)
            found = found[: len(found) - begins]
            starts.append(found + size)
            suspects += (found[content[found] != _BRACE] + size).tolist()
            size += len(chunk)
    everything = np.concatenate([*starts, [size]]).astype(np.int64)
    blank = _blank(path, everything, suspects)
    return Kept(np.delete(everything, blank), digest.hexdigest())


def _blank(path: str, starts: NDArray[np.int64], suspects: list[int]) -> list[int]:
    """Returns which lines are blank; ``suspects`` are the starts of lines without a ``{``."""
    blank = []
    with open(path, "rb") as file:
        for number, start in zip(np.searchsorted(starts, suspects).tolist(), suspects, strict=True):
            file.seek(start)
            if not file.read(int(starts[number + 1]) - start).strip(BOM + b" \t\r\n"):
                blank.append(number)
    return blank
