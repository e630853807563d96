"""Where the rows of a file of lines begin."""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from curriculum_learning.prompts.cache import Cache, file_key

BOM = b"\xef\xbb\xbf"
_NEWLINE, _BRACE = b"\n{"
_CHUNK = 1 << 24
_SMALL = 1 << 20
"""Bytes; smaller files are looked through again each time."""


class LineIndex(NamedTuple):
    """The lines of a file that are not blank."""

    starts: NDArray[np.int64]
    """Where each begins, and the end of the file; shape (rows + 1,)."""
    size: int
    """Bytes."""
    digest: str
    """Of the whole content."""


def line_index(path: str, cache: Cache) -> LineIndex:
    """The index of a file, from the cache if the file has not changed."""
    key = file_key(path)
    if int(str(key["bytes"])) < _SMALL:
        return _look_through(path)

    def write(folder: Path) -> None:
        index = _look_through(path)
        np.save(folder / "starts.npy", index.starts)
        (folder / "facts.json").write_bytes(orjson.dumps([index.size, index.digest]))

    return cache.get({"what": "lines", **key}, write, _read) or _look_through(path)


def _read(folder: Path) -> LineIndex:
    size, digest = orjson.loads((folder / "facts.json").read_bytes())
    starts = np.load(folder / "starts.npy", mmap_mode="r")
    if starts[-1] != size:
        raise ValueError("its last offset is not the end of the file")
    return LineIndex(np.asarray(starts), size, digest)  # numpy's memmap class is slow to index


def _look_through(path: str) -> LineIndex:
    """Read the whole file once; hash it meanwhile."""
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
    return LineIndex(np.delete(everything, blank), size, digest.hexdigest())


def _blank(path: str, starts: NDArray[np.int64], suspects: list[int]) -> list[int]:
    """Which of the lines that do not begin as an object does are blank."""
    blank = []
    with open(path, "rb") as file:
        for number, start in zip(np.searchsorted(starts, suspects).tolist(), suspects, strict=True):
            file.seek(start)
            if not file.read(int(starts[number + 1]) - start).strip(BOM + b" \t\r\n"):
                blank.append(number)
    return blank
