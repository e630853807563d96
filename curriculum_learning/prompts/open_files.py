"""Files that stay open between reads, a bounded number of them in a process."""

from __future__ import annotations

import os
import resource
import threading
from itertools import islice
from typing import Any
from weakref import WeakValueDictionary


class OpenFile:
    """An open file. It closes when nobody holds it any more."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


class PooledFile:
    """A file for reads at given places, by any number of threads.

    The one that was opened first is let go where too many are open, and opened again when it is
    read. A pickled copy opens the file by its path.
    """

    __slots__ = ("__weakref__", "_file", "_identity", "_is_closed", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity: tuple[int, int] | None = None
        self._file: OpenFile | None = None
        self._is_closed = False

    def __reduce__(self) -> tuple[Any, ...]:
        return PooledFile, (self._path,)

    def opened(self) -> OpenFile:
        """Returns the open file, for as long as the caller holds it.

        Raises:
            OSError: The file cannot be opened, or is another one than at the first time.
            ValueError: It was closed.
        """
        return self._file or self._open_again()  # without a lock, as it is asked for each read

    def close(self) -> None:
        """Closes the file, once nobody reads it."""
        with _lock:
            self._is_closed = True
            self._let_go()

    def _open_again(self) -> OpenFile:
        with _lock:
            if self._is_closed:
                raise ValueError(f"{self._path} was closed")
            if self._file is None:
                self._file = OpenFile(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC))
                self._check(self._file)
                _open[id(self)] = self
                for oldest in list(islice(_open.values(), max(len(_open) - _most_open(), 0))):
                    oldest._let_go()
            return self._file

    def _check(self, file: OpenFile) -> None:
        status = os.fstat(file.descriptor)
        identity = status.st_dev, status.st_ino
        if self._identity not in (None, identity):
            self._file = None
            raise OSError(f"{self._path} was replaced by another file while it was in use")
        self._identity = identity

    def _let_go(self) -> None:
        _open.pop(id(self), None)
        self._file = None


_open: WeakValueDictionary[int, PooledFile] = WeakValueDictionary()
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
