"""Bytes to read at given places: of a file on disk, or of one that was unpacked."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from curriculum_learning.prompts.open_files import PooledFile

_CHUNK = 1 << 20


class Content(Protocol):
    """Bytes that any number of threads may read."""

    def read(self, starts: Sequence[int], stops: Sequence[int]) -> Iterable[bytes]:
        """Reads the bytes from each start to its stop; fewer where the content ends before."""

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yields the first ``size`` bytes, piece by piece."""

    def close(self) -> None:
        """Lets go of it."""


class FileContent:
    """The content of a file. A pickled copy opens the file again."""

    def __init__(self, path: str) -> None:
        self._path, self._file = path, PooledFile(path)

    def read(self, starts: Sequence[int], stops: Sequence[int]) -> Iterable[bytes]:
        """See ``Content``."""
        file = self._file.opened()  # held until all is read: it may be let go meanwhile
        descriptor = file.descriptor
        if len(starts) > 1 and hasattr(os, "posix_fadvise"):  # macOS has none
            # All before the first read: the disk then reads them side by side.
            for start, stop in zip(starts, stops, strict=True):
                os.posix_fadvise(descriptor, start, stop - start, os.POSIX_FADV_WILLNEED)
        return [
            os.pread(descriptor, stop - start, start)
            for start, stop in zip(starts, stops, strict=True)
        ]

    def pieces(self, size: int) -> Iterator[bytes]:
        """See ``Content``."""
        return file_pieces(self._path, size)

    def close(self) -> None:
        """See ``Content``."""
        self._file.close()


class MappedContent:
    """A file mapped into memory. It stays readable if the file is removed."""

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            is_empty = os.fstat(file.fileno()).st_size == 0  # which cannot be mapped
            self._bytes = b"" if is_empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def read(self, starts: Sequence[int], stops: Sequence[int]) -> Iterable[bytes]:
        """See ``Content``."""
        return [self._bytes[start:stop] for start, stop in zip(starts, stops, strict=True)]

    def pieces(self, size: int) -> Iterator[bytes]:
        """See ``Content``."""
        for start in range(0, size, _CHUNK):
            yield self._bytes[start : min(start + _CHUNK, size)]

    def close(self) -> None:
        """See ``Content``."""
        self._bytes = b""


def file_pieces(path: str, size: int) -> Iterator[bytes]:
    """Yields the first ``size`` bytes of a file, piece by piece."""
    with open(path, "rb") as file:
        while size > 0 and (piece := file.read(min(size, _CHUNK))):
            size -= len(piece)
            yield piece
