"""Files that stay open between reads, a bounded number of them in a process."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MOST_OPEN = 128
"""Files; a process is often allowed 1,024 of all kinds."""

_open: OrderedDict[int, PooledFile] = OrderedDict()
"""Those that are open, the one read last at the end."""
_lock = threading.Lock()


class PooledFile:
    """A file for reads at given places, by any number of threads.

    The one that was read longest ago is closed where too many are open, and opened again when it
    is read. A pickled copy opens the file by its path.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity: tuple[int, int] | None = None
        self._descriptor: int | None = None
        self._readers = 0
        self._is_closed = False

    def __reduce__(self) -> tuple[Any, ...]:
        return PooledFile, (self._path,)

    @contextmanager
    def reading(self) -> Iterator[int]:
        """Gives a descriptor that stays open within the block.

        Raises:
            OSError: The file cannot be opened, or is another one than at the first time.
            ValueError: It was closed.
        """
        with _lock:
            if self._is_closed:
                raise ValueError(f"{self._path} was closed")
            if self._descriptor is None:
                self._descriptor = self._opened()
            self._readers += 1
            _open[id(self)] = self
            _open.move_to_end(id(self))
            for file in [file for file in _open.values() if not file._readers]:
                if len(_open) <= MOST_OPEN:
                    break
                file._let_go()
            descriptor = self._descriptor
        try:
            yield descriptor
        finally:
            with _lock:
                self._readers -= 1
                if self._is_closed and not self._readers:
                    self._let_go()

    def close(self) -> None:
        """Closes the file, once nobody reads it."""
        with _lock:
            self._is_closed = True
            if not self._readers:
                self._let_go()

    def _opened(self) -> int:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(descriptor)
        identity = status.st_dev, status.st_ino
        if self._identity not in (None, identity):
            os.close(descriptor)
            raise OSError(f"{self._path} was replaced by another file while it was in use")
        self._identity = identity
        return descriptor

    def _let_go(self) -> None:
        _open.pop(id(self), None)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _after_fork() -> None:
    """A thread that does not exist in the child may have held the lock, or been reading."""
    global _lock
    _lock = threading.Lock()
    for file in _open.values():
        file._readers = 0


os.register_at_fork(after_in_child=_after_fork)
