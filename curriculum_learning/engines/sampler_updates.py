"""The updates of a sampler: how many there were, and those that a state was saved before.

A trainer may save before it reports the rewards of a step, and a loader with workers draws batches
ahead of the rewards. So a state lacks reports. The journal has them, each with the number of
batches that were drawn before it; a resumed sampler takes them in between the same draws.
"""

from __future__ import annotations

import logging
import operator
import secrets
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curriculum_learning.curricula.results import Result
from curriculum_learning.engines import sampler_lines as lines
from curriculum_learning.state.journal import Entry, Journal

logger = logging.getLogger("curriculum_learning.samplers")


class Updates:
    """Counts updates and keeps them in a journal.

    Args:
        sampler: The name of the sampler, for messages.
        journal: The file of the journal; None keeps none.
        writes: Whether this process writes it; one of several ranks does.
    """

    def __init__(self, sampler: str, journal: str | None, *, writes: bool) -> None:
        self.count = 0
        """Updates that were taken in."""
        self._name = sampler
        self._journal = None if journal is None else Journal(Path(journal))
        self._writes = writes
        self._run = secrets.token_hex(8)
        """Tells this run's entries in a journal from those of others."""
        self._late: deque[Entry] = deque()
        """Entries that the state lacked and that are still to be taken in."""

    @property
    def has_journal(self) -> bool:
        """Whether there is a journal."""
        return self._journal is not None

    @property
    def is_behind(self) -> bool:
        """Whether updates of the journal are still to be taken in."""
        return bool(self._late)

    def record(self, results: list[Result], drawn: int) -> None:
        """Writes the next update down; ``drawn`` batches were drawn before it."""
        if self._journal is not None and self._writes:
            self._journal.append(Entry(self._run, self.count + 1, results, drawn))

    def late(self, drawn: int | None = None) -> list[list[Result]]:
        """Takes out the results of updates that came before batch ``drawn`` + 1, or of all."""
        found = []
        while self._late and (drawn is None or self._late[0].drawn <= drawn):
            found.append([Result(*result) for result in self._late.popleft().results])
        return found

    def catch_up(self, trained: int, saved_first: bool | None, learns: bool) -> None:
        """Looks for the updates that a loaded state lacks.

        Args:
            trained: Batches that were trained when it was saved.
            saved_first: The trainer saves before it reports the update of the step; None: a journal
                says so.
            learns: Whether rewards change anything.
        """
        missing = trained - self.count
        if missing < 1 or not (self.has_journal if saved_first is None else saved_first):
            return
        if self._journal is not None:
            self._late.extend(self._journal.read(self._run, self.count + 1, trained))
        if len(self._late) == missing:
            return
        if learns:
            update = self.count + len(self._late) + 1
            logger.warning("%s", lines.lost_rewards(self._name, update, self.has_journal))
        if len(self._late) == missing - 1:
            # Counted without its rewards; where more are missing nobody reports after each batch.
            drawn = self._late[-1].drawn if self._late else 0
            self._late.append(Entry(self._run, trained, [], drawn))

    def state_dict(self) -> dict[str, Any]:
        """Returns plain data."""
        return {"updates": self.count, "run": self._run}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads what ``state_dict`` returned; changes nothing if it is no state."""
        count, run = operator.index(state["updates"]), str(state["run"])
        self.count, self._run = count, run
        self._late.clear()
