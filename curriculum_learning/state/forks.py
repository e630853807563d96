"""What a fork leaves of locks and files in the child process, and what becomes of it there."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Protocol

from curriculum_learning.errors import ConfigurationError


class Forked(Protocol):
    """What must be renewed in a child process."""

    def forked(self) -> None:
        """Renews this copy; the child has no thread but this one."""


_alive: weakref.WeakSet[Any] = weakref.WeakSet()


def renew_after_fork(thing: Forked) -> None:
    """Has ``thing.forked`` called in every child process that is forked while it lives."""
    _alive.add(thing)


class ForkLock:
    """A reentrant lock around something that a fork at a bad moment tears in the child process.

    Args:
        what: The name of the thing, for the error.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = threading.RLock()
        self._is_torn = False
        renew_after_fork(self)

    def __enter__(self) -> None:
        if self._is_torn:
            raise ConfigurationError(
                f"the process was forked while another thread was inside the {self._what}, which "
                f"is torn in this child process: make one of its own here"
            )
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def forked(self) -> None:
        """Finds out whether a thread that is gone was inside."""
        self._is_torn = not self._lock.acquire(blocking=False)
        if not self._is_torn:
            self._lock.release()


def _renew() -> None:
    for thing in list(_alive):
        thing.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
