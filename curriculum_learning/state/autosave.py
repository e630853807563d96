"""Writes the state at the end of each rollout in the background."""

from __future__ import annotations

import collections
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from curriculum_learning.state.writer import KEPT, StateWriter

logger = logging.getLogger(__name__)


class Autosave:
    """Writes the state at the end of each rollout in the background; the latest few are kept.

    So a resume finds the state of a rollout although a crash came after the engine had saved its
    model and before it saved the data source.

    Args:
        writer: Writes states.
    """

    def __init__(self, writer: StateWriter) -> None:
        self._writer = writer
        self.forked()

    def forked(self) -> None:
        """Makes this copy in a child process one that writes nothing yet."""
        self._executor: ThreadPoolExecutor | None = None
        self._starting = threading.Lock()
        self._writing = threading.Lock()
        # A disk too slow for every state gets the latest ones.
        self._waiting: collections.deque[tuple[int, Mapping[str, Any]]] = collections.deque(
            maxlen=KEPT
        )

    def submit(self, rollout_id: int, state: Mapping[str, Any]) -> None:
        """Writes the state of ``rollout_id`` soon; ``state`` must not change any more."""
        with self._starting:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, thread_name_prefix="curriculum_learning")
            self._waiting.append((rollout_id, state))
            self._executor.submit(self._write)

    def close(self) -> None:
        """Finishes what was submitted, and ends the thread."""
        with self._starting:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()

    def _write(self) -> None:
        with self._writing:  # a thread that is being closed may still be at it
            if not self._waiting:  # a later state has taken its place
                return
            rollout_id, state = self._waiting.popleft()
            try:
                self._writer.write(rollout_id, state, autosaved=True)
            except Exception:
                # The run goes on: it is the engine's own save that must not fail in silence.
                logger.exception("the state at the end of rollout %d was not autosaved", rollout_id)
