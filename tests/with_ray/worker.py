"""A rollout worker that draws, works for a moment, and reports; it notes all that in a file."""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from pathlib import Path
from typing import Any

from curriculum_learning.errors import CheckpointError, GroupError
from curriculum_learning.ray_service import RemoteDataSource
from tests.harness import interrupt, row_of


def connected(args: Any) -> RemoteDataSource:
    """A client, as soon as there is room on the disk for it."""
    while True:
        with contextlib.suppress(CheckpointError):
            return RemoteDataSource(args)
        time.sleep(0.1)


class Worker:
    """Settles groups until it has settled enough.

    Args:
        args: Of the data source.
        notes: A file to which a line of JSON is appended before and after each report.
        seed: Of its random decisions.
        delay: Seconds of work on a request, on average.
    """

    def __init__(self, args: Any, notes: Path, seed: int, delay: float) -> None:
        self.source = connected(args)
        self.notes = notes
        self.random = random.Random(seed)
        self.delay = delay

    def pid(self) -> int:
        """Its process."""
        return os.getpid()

    def run(self, quota: int) -> int:
        """Settle ``quota`` groups; gives the number of answers that came too late."""
        late = 0
        with open(self.notes, "a", encoding="utf-8", buffering=1) as file:

            def note(**fields: Any) -> None:
                file.write(json.dumps(fields) + "\n")

            while quota > 0:
                try:
                    groups = self.source.get_samples(self.random.randrange(1, 9))
                except CheckpointError:  # the disk is full, and nothing has changed
                    time.sleep(0.1)
                    continue
                note(drawn=[[group[0].group_index, *row_of(group)] for group in groups])
                time.sleep(self.random.expovariate(1 / self.delay))
                back = [group for group in groups if self.random.random() < 0.2]
                done = [group for group in groups if group not in back][:quota]
                back = [group for group in groups if group not in done]
                ids = [group[0].group_index for group in done]
                fate = "dropped" if self.random.random() < 0.2 else "trained"
                note(settling=ids)
                try:
                    self._report(done, fate)
                    note(settled=ids)
                    quota -= len(ids)
                    self._give_back([interrupt(group) for group in back])
                except GroupError:
                    late += 1
        self.source.close()
        return late

    def _report(self, groups: list[Any], fate: Any) -> None:
        while True:
            with contextlib.suppress(CheckpointError):
                return self.source.observe(groups, fate=fate)
            time.sleep(0.1)

    def _give_back(self, groups: list[Any]) -> None:
        while True:
            with contextlib.suppress(CheckpointError):
                return self.source.add_samples(groups)
            time.sleep(0.1)
