"""Writes the states of one run to its folder, and moves out of the way what they supersede."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import weakref
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from curriculum_learning.errors import CheckpointError
from curriculum_learning.state.checkpoint import Stamp, write_state
from curriculum_learning.state.disk import check_writable, remove_leftovers
from curriculum_learning.state.files import (
    ASIDE,
    PREFIX,
    StateFile,
    rollout_folder,
    state_path,
    states_in,
)
from curriculum_learning.state.lock import FolderLock

logger = logging.getLogger(__name__)

KEPT = 3
"""Autosaved states that are kept, and rollouts until superseded states are removed."""


_mutex = threading.RLock()
"""One for all writers, since one of them may take the place of another."""
_writers: weakref.WeakSet[StateWriter] = weakref.WeakSet()


class Beginning(NamedTuple):
    """How a run began, which decides about the states that lie in its folder already."""

    refuses: str = "all"
    """Which states of other runs stop it: ``all``, those ``saved`` by the engine, or ``none``."""
    keeps: int | None = None
    """States of later rollouts are superseded; None supersedes none."""
    counter: int = 0
    """The one of the state that the run goes on from."""

    @staticmethod
    def fresh() -> Beginning:
        """The engine asked for a state and has none: only autosaves can be of a dead run."""
        return Beginning("saved", -1)

    @staticmethod
    def resumed(rollout_id: int, counter: int) -> Beginning:
        """The run goes on after a rollout; what it did after that before does not count."""
        return Beginning("all", rollout_id, counter)

    @staticmethod
    def restarted() -> Beginning:
        """The state is missing, and ``on_missing_state`` allows to begin anew."""
        return Beginning("none", -1)


class StateWriter:
    """The one writer of a folder, from its first write to ``release``.

    Before its first own state it moves those that it supersedes into a folder aside, which is
    removed when states of three rollouts have been written. Thread-safe.

    Args:
        folder: The ``save`` folder.
        keep: How many saved states of the run stay, the newest ones; None keeps all.

    Raises:
        CheckpointError: The folder cannot be written to.
    """

    def __init__(self, folder: Path, keep: int | None = None) -> None:
        check_writable(folder)
        self.folder, self.is_open, self._keep = folder, True, keep
        if any(one.folder == folder and one.is_open for one in _writers):
            logger.warning(
                "another data source of this process saves to %s, too; the first one that writes "
                "keeps the other out: close one of them, or give each a folder of its own",
                folder,
            )
        _writers.add(self)
        self._lock = FolderLock(folder)
        self.beginning = Beginning()
        """How the run began, until it claims the folder."""
        self._claimed = False
        self._runs: set[str] = set()
        """The ids of the run that has claimed the folder."""
        self._succeeded = False
        """Another data source of this process goes on with the run."""
        self._counter = 0
        self._written: set[int] = set()
        """The rollouts whose states were written since the run began or was resumed."""

    def begin(self, beginning: Beginning) -> None:
        """Notes how the run began; it claims the folder with its next write."""
        with _mutex:
            self.beginning, self._claimed, self._succeeded = beginning, False, False
            self._counter = max(self._counter, beginning.counter)
            self._written = set()
            try:
                self._lock.check()
            except CheckpointError as error:
                logger.warning("%s. It may end before this run writes", error)

    def claim(self, runs: Collection[str]) -> None:
        """Makes the folder that of this run, unless it is already.

        Args:
            runs: The ids of the run: its own, and those of the ranks it goes on from.

        Raises:
            CheckpointError: Another process or data source writes to it, or it holds states of
                another run.
            OSError: It cannot be written to.
        """
        with _mutex:
            if self._claimed:
                return
            self._take_lock(runs)
            self._runs = set(runs)
            remove_leftovers(rollout_folder(self.folder), PREFIX)
            there = states_in(self.folder)
            self._refuse_other_runs(there, runs)
            counters = [state.stamp.counter for state in there if state.stamp is not None]
            self._counter = max(self._counter, *counters, 0)
            self._set_aside(there)
            self.beginning, self._claimed = Beginning(), True

    def write(self, rollout_id: int, state: Mapping[str, Any], *, autosaved: bool = False) -> None:
        """Writes the state of a rollout.

        Raises:
            CheckpointError: As ``claim``, or the file cannot be written.
        """
        runs = state["runs"]
        with _mutex:
            try:
                self.claim(runs)
            except OSError as error:
                raise CheckpointError(
                    f"the state could not be written to {self.folder}: {error}",
                    key="save",
                    value=str(self.folder),
                ) from error
            self._counter += 1
            path = state_path(self.folder, rollout_id, autosaved=autosaved)
            stamp = Stamp(self._counter, runs[0])
            write_state(path, {"rollout_id": rollout_id, **state}, stamp)
            self._remove_old(autosaved)
            if len(self._written) < KEPT:
                self._written.add(rollout_id)
                if len(self._written) == KEPT:
                    self._remove_aside()

    def release(self) -> None:
        """Lets others write to the folder."""
        with _mutex:
            self._claimed = self.is_open = False
            self._lock.release()

    def forked(self) -> None:
        """Makes this copy in a child process one that has claimed nothing."""
        global _mutex
        _mutex = threading.RLock()
        self._claimed = False
        self._lock.let_go()

    def _take_lock(self, runs: Collection[str]) -> None:
        """Takes the lock; a data source of this process whose run goes on here gives it up."""
        try:
            self._lock.acquire()
        except CheckpointError:
            if self._succeeded:
                raise
            for one in _writers:
                if one.folder == self.folder and not one._runs.isdisjoint(runs):
                    one.release()
                    one._succeeded = True
            self._lock.acquire()

    def _refuse_other_runs(self, there: Collection[StateFile], runs: Collection[str]) -> None:
        """Raises CheckpointError where states of other runs lie that this one would replace."""
        refuses = self.beginning.refuses
        others = sorted(
            {
                state.rollout_id
                for state in there
                if state.stamp is not None and state.stamp.run not in runs
                if refuses == "all" or (refuses == "saved" and not state.autosaved)
            }
        )
        if others:
            raise CheckpointError(
                f"save: {rollout_folder(self.folder)} holds states of another run (rollouts "
                f"{', '.join(map(str, others))}), and this run would replace them. Go on with that "
                f"run by load(rollout_id), or load() for its last save, before anything is served; "
                f"or set save to another folder; or move these states away",
                key="save",
                value=str(self.folder),
            )

    def _set_aside(self, there: Collection[StateFile]) -> None:
        """Moves the states that this run supersedes into a folder of their own."""
        keeps = self.beginning.keeps
        superseded = [] if keeps is None else [s for s in there if s.rollout_id > keeps]
        if not superseded:
            return
        number = self._counter + 1
        while (aside := rollout_folder(self.folder) / f"{ASIDE}{number}").exists():
            number += 1
        aside.mkdir()
        for state in superseded:
            os.replace(state.path, aside / state.path.name)
        logger.warning(
            "the states of rollouts %s are superseded and were moved to %s; they are removed when "
            "states of %d rollouts have been written",
            sorted({state.rollout_id for state in superseded}), aside, KEPT,
        )  # fmt: skip

    def _remove_aside(self) -> None:
        for path in rollout_folder(self.folder).glob(f"{ASIDE}*"):
            if path.name.removeprefix(ASIDE).isdecimal() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)

    def _remove_old(self, autosaved: bool) -> None:
        """Removes all but the newest states of this run; a state that cannot be read stays."""
        keep = KEPT if autosaved else self._keep
        if keep is None:
            return
        mine = [
            state
            for state in states_in(self.folder)
            if state.autosaved == autosaved
            and state.stamp is not None
            and (autosaved or state.stamp.run in self._runs)
        ]
        for state in sorted(mine, key=lambda state: state.age)[:-keep]:
            try:
                state.path.unlink(missing_ok=True)
            except OSError as error:  # noqa: PERF203 - the new state is there, the run goes on
                logger.warning("an old state cannot be removed: %s", error)
