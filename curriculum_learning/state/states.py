"""The states of a run: taken when rollouts end, kept in memory, written, and loaded again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from curriculum_learning.config.plan import DataSourcePlan
from curriculum_learning.errors import CheckpointError, ConfigurationError, CurriculumLearningError
from curriculum_learning.groups.run import Report, Run
from curriculum_learning.prompts.prompts import Prompts
from curriculum_learning.samples.codec import CannotStoreError, decode, encode
from curriculum_learning.state.autosave import Autosave
from curriculum_learning.state.checkpoint import new_run
from curriculum_learning.state.files import Found, find_state, rollout_folder
from curriculum_learning.state.fit import fitted, identity_of
from curriculum_learning.state.forks import renew_after_fork
from curriculum_learning.state.shape import check_shape
from curriculum_learning.state.writer import KEPT, Beginning, StateWriter

logger = logging.getLogger(__name__)

State = dict[str, Any]

_OTHERWISE = {"generated": [], "generated_begun": [], "generated_data": [], "metadata": b""}
"""What may differ between a state that was written and the one that is kept of it."""


class States:
    """Takes the state of a run at the end of each rollout, since an engine may save it later.

    A rollout ends when it is logged. What comes back before the next one begins belongs to it
    still: its state is then taken again.

    Not thread-safe: its owner locks, but for ``write``, ``finish_writing`` and ``close``.

    Args:
        config: Says where states are written, and whether each is as soon as its rollout ends.
        run: The run; nothing else may load a state into it.
        prompts: The prompts by source.
    """

    def __init__(self, config: DataSourcePlan, run: Run, prompts: Mapping[str, Prompts]) -> None:
        self.writing = threading.Lock()
        """Held by whoever saves, from taking the state to the end of ``write``."""
        self.metadata: dict[str, Any] = {}
        self._config, self._run, self._prompts = config, run, prompts
        self._identity = identity_of(config, prompts, run.mixture)
        self._runs = [new_run()]
        """The id of this run, and those of other ranks whose states it goes on from."""
        self._fresh = self.state_dict()
        self._writer = None if config.save is None else StateWriter(config.save, config.keep_states)
        autosaves = self._writer is not None and config.autosave
        self._autosave = Autosave(self._writer) if self._writer and autosaves else None
        self._ended: dict[int, State] = {}
        self._highest = -1
        """The highest rollout that was logged."""
        self._logged: int | None = None
        """The rollout that was logged, until the next one begins."""
        self._changed = False
        self.committed: Future[None] | None = None
        """Where the owner has a database: done when the state of now is in it, or has failed."""
        self._told: set[str] = set()
        renew_after_fork(self)

    # The state of now

    def state_dict(self) -> State:
        """Returns the whole state, as plain data."""
        return {**self.constants(), **self._run.state_dict()}

    def constants(self) -> State:
        """Returns the part of the state that no request for groups and no report changes."""
        return {
            "identity": self._identity,
            "runs": self._runs,
            "metadata": encode(self.metadata),
        }

    def load_state_dict(self, state: Mapping[str, Any], *, held: bool) -> None:
        """Loads what ``state_dict`` returned.

        Raises:
            CheckpointError: It is no state, or of another mix; nothing has changed then.
        """
        try:
            state, changes = fitted(state, self._identity, self._config, self._prompts)
            check_shape(state, {name: rows.size for name, rows in self._prompts.items()})
            metadata, runs = dict(decode(state["metadata"])), list(state["runs"])
            self._run.load_state_dict(state, held=held)
        except CurriculumLearningError:
            raise
        except Exception as error:  # whatever the damage is, it is one kind of error
            raise CheckpointError(f"this is not a state of a data source: {error!r}") from error
        self.metadata, self._runs = metadata, runs
        self._ended, self._highest, self._logged, self._changed = {}, -1, None, False
        if changes is not None:
            logger.warning("since the state was saved:\n%s", changes)

    def update_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Stores values with the state; raises ConfigurationError for what a state cannot hold."""
        encoded_metadata(metadata)
        self.metadata.update(metadata)

    # The states at the end of rollouts

    def changed(self) -> None:
        """Notes that groups came back or were settled."""
        self._changed = True

    def begin_rollout(self, but: int | None = None) -> None:
        """Closes the logged rollout, unless it is ``but``."""
        if self._logged is not None and self._logged != but:
            self._take_again()
            self._logged = None

    def report(self, report: Report) -> None:
        """Hands a report to the run, and takes the state if it ends a rollout.

        Raises:
            CheckpointError: The state would be written where another writer or run has its own;
                as with all that ``Run.report`` raises, nothing has changed then.
        """
        self.begin_rollout(but=report.rollout_id)
        if report.ends_rollout and self._autosave is not None and self._writer is not None:
            try:
                self._writer.claim(self._runs)
            except OSError:
                logger.exception("%s cannot be written to", self._config.save)
        self._run.report(report)
        self._changed = self._changed or report.fate != "finished"
        if report.ends_rollout and report.rollout_id is not None:
            self._keep(report.rollout_id)

    def ended(self) -> Mapping[int, State]:
        """The states that are kept, by rollout."""
        return self._ended

    def latest(self) -> tuple[Sequence[int], int, int | None, bool, Beginning]:
        """Returns what ``go_on`` needs after a kill, beside ``ended``."""
        beginning = Beginning() if self._writer is None else self._writer.beginning
        return [*self._ended], self._highest, self._logged, self._changed, beginning

    def go_on(
        self,
        ended: Mapping[int, State],
        order: Sequence[int],
        highest: int,
        logged: int | None,
        changed: bool,
        beginning: Sequence[Any],
    ) -> None:
        """Keeps the states of a process that was killed, and writes those that were not written.

        Groups that have begun may lack their content; a state in the folder has it.
        """
        if self._writer is not None:
            self._writer.begin(Beginning(*beginning))
        for rollout_id in order:
            if (state := ended.get(rollout_id)) is None:
                continue  # it was damaged
            written = self._written_like(rollout_id, state)
            self._ended[rollout_id] = written or state
            if self._autosave is not None and written is None:
                self._autosave.submit(rollout_id, state)
        self._highest, self._logged, self._changed = highest, logged, changed

    def _written_like(self, rollout_id: int, state: State) -> State | None:
        """Returns the newest state in the folder, if it is this one; see ``go_on``."""
        try:
            found = find_state(self._config.save, rollout_id, "error")
        except CheckpointError:
            return None
        if found is None:
            return None
        other = {key: value for key, value in found.state.items() if key in state}
        same = encode({**other, **_OTHERWISE}) == encode({**state, **_OTHERWISE})
        return other if same else None

    def _take_again(self) -> None:
        if self._logged is not None and self._changed:
            self._keep(self._logged)

    def _keep(self, rollout_id: int) -> None:
        self._logged, self._changed = rollout_id, False
        self._ended.pop(rollout_id, None)
        self._ended[rollout_id] = state = self.state_dict()
        self._highest = max(self._highest, rollout_id)
        for old in list(self._ended)[:-KEPT]:
            del self._ended[old]
        self._autosave_when_committed(rollout_id, state)

    def _autosave_when_committed(self, rollout_id: int, state: State) -> None:
        autosave = self._autosave
        if autosave is None:
            return
        if self.committed is None:
            autosave.submit(rollout_id, state)
        else:

            def submit(committed: Future[None]) -> None:
                if committed.exception() is None:
                    autosave.submit(rollout_id, state)

            self.committed.add_done_callback(submit)

    def at_end_of(self, rollout_id: int) -> State:
        """Returns the state at the end of a rollout, or of now if that was not logged.

        Raises:
            CheckpointError: Later rollouts have ended since, and the state is gone.
        """
        if rollout_id not in self._ended and rollout_id <= self._highest:
            raise CheckpointError(
                f"save: rollout {rollout_id} ended too long ago and its state is gone; kept are "
                f"the states of rollouts {sorted(self._ended)}",
                key="rollout_id",
                value=rollout_id,
            )
        if self._logged == rollout_id:
            self._take_again()
        state = self._ended.get(rollout_id) or self.state_dict()
        return {**state, "metadata": encode(self.metadata)}

    # On the disk

    def write(self, rollout_id: int, state: State) -> None:
        """Writes the state of a rollout, which the engine saves.

        Raises:
            CheckpointError: Another writer has the folder, or it holds states of another run, or
                the file cannot be written.
        """
        if self._writer is None:
            self._tell_once("save is not set: the state of the data source is not saved")
            return
        if not state["groups"]["accounting"]:
            self._tell_once(
                "nothing has reported which groups were trained: a resume will not serve those in "
                "flight again. Set custom_rollout_log_function_path and "
                "rollout_all_samples_process_path as in docs/slime.md to have every group "
                "accounted for"
            )
        self.finish_writing()  # of a state written twice the last one counts
        self._writer.write(rollout_id, state)

    def finish_writing(self) -> None:
        """Waits for states that are being written, and ends the background thread."""
        if self._autosave is not None:
            self._autosave.close()

    def resume(self, found: Found | None, rollout_id: int | None) -> None:
        """Goes on from a state, or begins anew; raises as ``load_state_dict``.

        Args:
            found: The state; None if there is none.
            rollout_id: The rollout that the engine resumes after; None or -1 is a fresh start.
        """
        self.load_state_dict(
            {**self._fresh, "runs": [new_run()]} if found is None else found.state, held=False
        )
        if found is not None:
            beginning = Beginning.resumed(found.state["rollout_id"], found.counter)
            self._tell_complete(found.state["rollout_id"])
        elif rollout_id is None or rollout_id < 0:
            beginning = Beginning.fresh()
        else:
            beginning = Beginning.restarted()
            self._run.clock.rollout_logged(rollout_id)
        if self._writer is not None:
            self._writer.begin(beginning)

    def _tell_complete(self, rollout_id: int) -> None:
        rollouts, folder = self._config.num_rollout, self._config.load
        if rollouts is not None and folder is not None and rollout_id + 1 >= rollouts:
            logger.warning(
                "the run is complete: rollout %d is the last of num_rollout=%d. Raise num_rollout "
                "to go on; to start afresh remove %s, or set save to another folder",
                rollout_id,
                rollouts,
                rollout_folder(folder),
            )

    def close(self) -> None:
        """Finishes writing, and lets others write to the folder."""
        self.finish_writing()
        if self._writer is not None:
            self._writer.release()

    def forked(self) -> None:
        """Makes this copy in a child process one that writes nothing and has claimed nothing."""
        self.writing = threading.Lock()
        if self._autosave is not None:
            self._autosave.forked()
        if self._writer is not None:
            self._writer.forked()

    def _tell_once(self, warning: str) -> None:
        if warning not in self._told:
            self._told.add(warning)
            logger.warning(warning)


def encoded_metadata(metadata: Mapping[str, Any]) -> bytes:
    """Returns what ``update_metadata`` is given as bytes.

    Raises:
        ConfigurationError: A state cannot hold it.
    """
    try:
        return encode(dict(metadata))
    except CannotStoreError as error:
        raise ConfigurationError(
            f"update_metadata: {error}", key="metadata", value=metadata
        ) from None
