"""Errors on the worker threads of engines, which log them and carry on."""

from __future__ import annotations

import threading

from curriculum_learning.errors import CurriculumLearningError


class SwallowedErrors:
    """Keeps the first error of a worker thread, to raise it once where it is seen.

    It notes what its ``with`` block raises.
    """

    def __init__(self) -> None:
        self._first: Exception | None = None
        self._thread: int | None = None
        """The thread that it was raised on."""

    def __enter__(self) -> None:
        """Nothing is raised yet."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            self.note(error)

    def note(self, error: Exception) -> None:
        """Keeps an error if this is not the main thread, and no earlier one is kept."""
        if threading.current_thread() is not threading.main_thread():
            self._first = self._first or error  # the first one is the cause
            self._thread = threading.get_ident()

    def forgive(self) -> None:
        """Forgets what was kept if this thread has handled it: it has gone on and succeeded."""
        if self._first is not None and self._thread == threading.get_ident():
            self.forget()

    def forget(self) -> None:
        """Forgets what was kept."""
        self._first = None

    def raise_first(self) -> None:
        """Raises the error that was kept, if there is one, and forgets it."""
        error, self._first = self._first, None
        if error is not None:
            raise CurriculumLearningError(
                f"the data source raised an error on a worker thread of the engine: {error}"
            ) from error
