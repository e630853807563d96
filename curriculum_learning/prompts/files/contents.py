"""Bytes to read at given places: of a file on disk, or of one that was unpacked."""

from __future__ import annotations

import mmap
import os
import resource
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

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
    """The content of a file, which is open between reads.

    A process has a bounded number of them open: the one that was opened first is let go, and opened
    again when it is read. A pickled copy opens the file by its path.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity: tuple[int, int] | None = None
        self._file: _OpenFile | None = None
        self._is_closed = False

    def __reduce__(self) -> tuple[Any, ...]:
        return FileContent, (self._path,)

    def read(self, starts: Sequence[int], stops: Sequence[int]) -> Iterable[bytes]:
        """See ``Content``.

        Raises:
            OSError: The file cannot be opened, or is another one than at the first time.
            ValueError: It was closed.
        """
        # Without a lock, as it is asked for each read. Held until all is read: it may be let go.
        file = self._file or self._open_again()
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
        """Closes the file, once nobody reads it."""
        with _lock:
            self._is_closed = True
            self._let_go()

    def _open_again(self) -> _OpenFile:
        with _lock:
            if self._is_closed:
                raise ValueError(f"{self._path} was closed")
            if self._file is None:
                self._file = _OpenFile(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC))
                self._check(self._file)
                _open[id(self)] = self
                for oldest in list(islice(_open.values(), max(len(_open) - _most_open(), 0))):
                    oldest._let_go()
            return self._file

    def _check(self, file: _OpenFile) -> None:
        status = os.fstat(file.descriptor)
        identity = status.st_dev, status.st_ino
        if self._identity not in (None, identity):
            self._file = None
            raise OSError(f"{self._path} was replaced by another file while it was in use")
        self._identity = identity

    def _let_go(self) -> None:
        _open.pop(id(self), None)
        self._file = None


class _OpenFile:
    """An open file. It closes when nobody holds it any more."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


_open: WeakValueDictionary[int, FileContent] = WeakValueDictionary()
"""Those that are open, the one opened last at the end."""
_lock = threading.Lock()


def _most_open() -> int:
    """Returns a quarter of what the process may have open, often 1,024 files and sockets."""
    return max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4, 64)


def _after_fork() -> None:
    """A thread that does not exist in the child may have held the lock."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


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
