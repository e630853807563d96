"""Where the states of a run lie: those that the engine saved, and those written besides."""

from __future__ import annotations

import collections
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from curriculum_learning.errors import CheckpointError
from curriculum_learning.state.checkpoint import read_state, write_state, written_at

logger = logging.getLogger(__name__)

AUTOSAVED_KEPT = 3
"""States at the end of the latest rollouts that are kept without the engine's asking."""

_FILE = "curriculum_learning_{}.state"
_AUTOSAVED_FILE = "curriculum_learning_{}.autosave"


def saved_rollouts(folder: Path) -> list[int]:
    """The rollouts that the engine has saved a state of in ``folder``, ascending."""
    return _rollouts(folder, _FILE)


def saved_path(folder: Path, rollout_id: int) -> Path:
    """The file of the state of ``rollout_id`` that the engine saved, or would save."""
    return _path(folder, rollout_id, _FILE)


def _rollouts(folder: Path, name: str) -> list[int]:
    before, after = name.split("{}")
    names = [path.name for path in (folder / "rollout").glob(name.format("*"))]
    ids = [name.removeprefix(before).removesuffix(after) for name in names]
    return sorted(int(number) for number in ids if number.isdecimal())


def _path(folder: Path, rollout_id: int, name: str) -> Path:
    return folder / "rollout" / name.format(rollout_id)


def save_state(folder: Path, rollout_id: int, state: Mapping[str, Any]) -> None:
    """Write the state of ``rollout_id``; raises as ``checkpoint.write_state``."""
    write_state(_path(folder, rollout_id, _FILE), {"rollout_id": rollout_id, **state})


def find_state(
    folder: Path | None, rollout_id: int | None, on_missing: str
) -> dict[str, Any] | None:
    """The state of ``rollout_id``, or the one saved last for None; None is a fresh start.

    Of a rollout that has been saved and autosaved, the state written last is taken: the other one
    can be of a run that was abandoned. None looks at saved ones only, since an engine that does
    not say which rollout its model is of can have a model no newer than its last save.

    Args:
        folder: Where states are saved; None where neither ``load`` nor ``save`` is set.
        rollout_id: The rollout to resume after; -1 is a fresh start if it has no state.
        on_missing: ``error`` or ``restart``: what a missing state of a rollout >= 0 is.

    Raises:
        CheckpointError: The state is missing, damaged or foreign.
    """
    paths: list[Path] = []
    if folder is not None and rollout_id is None:
        paths = [_path(folder, number, _FILE) for number in saved_rollouts(folder)]
    elif folder is not None and rollout_id is not None:
        both = (_path(folder, rollout_id, name) for name in (_FILE, _AUTOSAVED_FILE))
        paths = [path for path in both if path.exists()]
    if paths:
        path = max(paths, key=written_at)
        if path.suffix == Path(_AUTOSAVED_FILE).suffix:
            logger.info(
                "resuming from %s, which was written when rollout %d ended: the engine has not "
                "saved that rollout since",
                path, rollout_id,
            )  # fmt: skip
        else:
            logger.info("resuming from %s", path)
        state = read_state(path)
        if not isinstance(state.get("rollout_id"), int):
            raise CheckpointError(
                f"{path} does not say of which rollout it is: it was not saved by a data source",
                key="load",
                value=str(path),
            )
        return state
    if rollout_id is None or rollout_id < 0:
        return None
    problem = f"there is no data source state for rollout {rollout_id}, which is being resumed: "
    if folder is None:
        problem += "neither load nor save is set"
    else:
        there = sorted({*saved_rollouts(folder), *_rollouts(folder, _AUTOSAVED_FILE)})
        problem += (
            f"{_path(folder, rollout_id, _FILE)} does not exist; rollouts with a state there: "
            f"{there or 'none'}"
        )
    if on_missing == "error":
        raise CheckpointError(
            f"{problem}. Resume from one of these, or set on_missing_state: restart to serve all "
            f"prompts from the beginning",
            key="load",
            value=str(folder),
        )
    frame = "!" * 80
    logger.warning(
        "\n%s\n%s.\nALL PROMPTS ARE SERVED FROM THE BEGINNING.\n%s", frame, problem, frame
    )
    return None


class Autosave:
    """Writes the state at the end of each rollout in the background, and keeps the latest few.

    So a resume finds the state of a rollout although a crash came after the engine had saved its
    model and before it saved the data source.

    Args:
        folder: Where states are saved.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._executor: ThreadPoolExecutor | None = None
        self._starting = threading.Lock()
        self._writing = threading.Lock()
        # A disk too slow for every state gets the latest ones.
        self._waiting: collections.deque[tuple[int, Mapping[str, Any]]] = collections.deque(
            maxlen=AUTOSAVED_KEPT
        )

    def submit(self, rollout_id: int, state: Mapping[str, Any]) -> None:
        """Write the state of ``rollout_id`` soon; ``state`` must not change any more."""
        with self._starting:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, thread_name_prefix="curriculum_learning")
            self._waiting.append((rollout_id, state))
            self._executor.submit(self._write)

    def close(self) -> None:
        """Finish what was submitted, and end the thread."""
        with self._starting:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()

    def forget_later(self, rollout_id: int) -> None:
        """Remove the states of rollouts after this one: they are of a run that was abandoned."""
        for number in _rollouts(self._folder, _AUTOSAVED_FILE):
            if number > rollout_id:
                self._forget(number)

    def _forget(self, rollout_id: int) -> None:
        _path(self._folder, rollout_id, _AUTOSAVED_FILE).unlink(missing_ok=True)

    def _write(self) -> None:
        with self._writing:  # a thread that is being closed may still be at it
            if not self._waiting:  # a later state has taken its place
                return
            rollout_id, state = self._waiting.popleft()
            try:
                write_state(
                    _path(self._folder, rollout_id, _AUTOSAVED_FILE),
                    {"rollout_id": rollout_id, **state},
                )
                self.forget_later(rollout_id)
                for number in _rollouts(self._folder, _AUTOSAVED_FILE)[:-AUTOSAVED_KEPT]:
                    self._forget(number)
            except Exception:
                # The run goes on: it is the engine's own save that must not fail in silence.
                logger.exception("the state at the end of rollout %d was not autosaved", rollout_id)
