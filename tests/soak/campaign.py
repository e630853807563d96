"""Lives of one run, one after the other, killed and changed, and the account of all of them."""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.soak.account import Account
from tests.soak.life import BATCH
from tests.soak.mix import KINDS, Mix

_ROOT = Path(__file__).parents[2]
_HOUR = 3600 * 10**9


@dataclasses.dataclass
class Outcome:
    """What came of a soak."""

    problems: list[str]
    events: Counter[str]
    memory: dict[str, int]
    """Bytes, after the first tenth and at the end."""

    @property
    def growth(self) -> float:
        """By which part the memory at the end is above that after a tenth."""
        return self.memory["at the end"] / self.memory["after a tenth"] - 1


class Campaign:
    """Drives a run to a number of groups.

    The first tenth and the last four are lives of their own, in which memory is measured; between
    them lives are killed, and resumed from the last states, often with another mix and clock.

    Args:
        folder: For prompt files and states.
        groups: Groups that have a fate when the run ends.
        seed: Decides everything but the moments of kills.
    """

    def __init__(self, folder: Path, groups: int, seed: int) -> None:
        self._folder = folder
        self._groups = groups
        self._random = random.Random(seed)
        self._mix = Mix()
        for kind in KINDS:
            self._mix.add(kind, self._random, folder)
        self._first_sizes = {source.number: source.size for source in self._mix.sources}
        self._account = Account()
        self._events: Counter[str] = Counter()
        self._saved: list[int] = []
        self._safe = -1
        """No resume goes behind this rollout: the mix was another one."""
        self._state: dict[str, Any] = {}

    def run(self) -> Outcome:
        """Runs to the end."""
        memory = {"after a tenth": self._live(self._groups // 10, kill=False)}
        while self._done() < 0.6 * self._groups and not self._account.problems:
            if self._random.random() < 0.4 and self._saved:
                self._change()
            self._live(self._random.randrange(5, 60) * BATCH, kill=self._random.random() < 0.8)
        if not self._account.problems:
            rest = self._groups - self._done() + 20 * BATCH  # a resume takes some back
            memory["at the end"] = self._live(rest, kill=False)
        self._events["groups"] = self._done()
        if self._account.problems:
            return Outcome(self._account.problems, self._events, memory)
        epochs = self._state["epochs"]
        plain = {
            source.number: (epochs[source.name], self._first_sizes[source.number])
            for source in self._mix.sources
            if source.kind in ("plain", "parquet") and source.number in self._first_sizes
        }
        # A new seed restarts epochs, and drops what waits: rows are missing then by right.
        self._account.ended(self._state, {} if self._mix.seed > 1 else plain)
        return Outcome(self._account.problems, self._events, memory)

    def _done(self) -> int:
        return self._account.counts["trained"] + self._account.counts["dropped"]

    def _change(self) -> None:
        self._events[f"mix: {self._mix.change(self._random, self._folder)}"] += 1
        self._saved = self._saved[-1:]  # states of the old mix are not gone back to

    def _live(self, groups: int, *, kill: bool) -> int:
        """One life; returns its memory at the end, 0 if it was killed."""
        back = self._random.choice([0, 0, 0, 1]) if len(self._saved) > 2 else 0
        changed = bool(self._mix.resume)
        latest = [self._account.last] if not back and not changed else []
        task = {
            "arguments": self._mix.arguments(self._folder),
            "numbers": {source.name: source.number for source in self._mix.sources},
            "from": [*latest, *(self._saved[-1 - back :][:1] or [-1])],
            "seed": self._random.randrange(2**31),
            "clock": self._random.randrange(-48, 48) * _HOUR,
            "groups": groups,
            "save_every": 7,
            "saves_at_once": changed,
        }
        log = self._folder / "log"
        with log.open("w") as errors:
            life = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.life"], cwd=_ROOT, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        assert life.stdin is not None
        assert life.stdout is not None
        life.stdin.write(json.dumps(task) + "\n")
        life.stdin.flush()
        ends_after = self._random.randrange(1, max(groups // BATCH, 2)) if kill else -1
        memory = 0
        for number, line in enumerate(life.stdout):
            event = json.loads(line)
            self._hear(event)
            memory = event.get("memory", memory)
            if number == ends_after:
                life.kill()
        life.communicate()
        self._events["lives"] += 1
        self._events["kills"] += kill
        if life.returncode != 0 and not (kill and life.returncode == -9):
            said = log.read_text()[-3000:]
            self._account.problems.append(f"a life ended with {life.returncode}: {said}")
        return memory

    def _hear(self, event: dict[str, Any]) -> None:
        self._state = event.get("state", self._state)
        if "resumed" in event:
            rollout_id = event["resumed"]
            self._events["from an autosaved state"] += (
                rollout_id >= 0 and rollout_id not in self._saved
            )
            self._saved = [saved for saved in self._saved if saved <= rollout_id]
            self._account.resumed(rollout_id, event["state"])
        if "rollout" in event:
            self._account.hear(event["rollout"], [tuple(fate) for fate in event["fates"]])
        if event.get("saved"):
            self._mix.resume = {}
            self._saved = [*self._saved, event["rollout"]][-3:]
            self._account.settle(self._saved[0])
