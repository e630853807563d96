"""A rollout worker that draws, works for a moment, and reports; it notes all that in a file."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

from curriculum_learning.errors import GroupError
from curriculum_learning.ray_service import RemoteDataSource
from tests.harness import interrupt, row_of


class Worker:
    """Settles groups until it has settled enough.

    Args:
        args: Of the data source.
        notes: A file to which a line of JSON is appended before and after each report.
        seed: Of its random decisions.
        delay: Seconds of work on a request, on average.
    """

    def __init__(self, args: Any, notes: Path, seed: int, delay: float) -> None:
        self.source = RemoteDataSource(args)
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
                groups = self.source.get_samples(self.random.randrange(1, 9))
                note(drawn=[[group[0].group_index, *row_of(group)] for group in groups])
                time.sleep(self.random.expovariate(1 / self.delay))
                back = [group for group in groups if self.random.random() < 0.2]
                done = [group for group in groups if group not in back][:quota]
                back = [group for group in groups if group not in done]
                ids = [group[0].group_index for group in done]
                fate = "dropped" if self.random.random() < 0.2 else "trained"
                note(settling=ids)
                try:
                    self.source.observe(done, fate=fate)  # type: ignore[arg-type]
                    note(settled=ids)
                    quota -= len(ids)
                    self.source.add_samples([interrupt(group) for group in back])
                except GroupError:
                    late += 1
        self.source.close()
        return late
