"""Kill training runs with SIGKILL, again and again, and check that no row is lost or comes twice.

``python -m tests.crash`` kills 1,000 times in each mode; ``--help`` has the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.crash.kills import die, kill_after
from tests.crash.trainer import MODES, Model, Settings, train

_CALLS_PER_ROLLOUT = 400
"""About as many calls does a rollout make in the package."""


def main() -> int:
    """The command line; 0 if nothing was lost or doubled."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--mode", choices=[*MODES, "all"], default="all")
    parser.add_argument("--kills", type=int, default=1000, help="in each mode")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="at most, per mode")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    ok = True
    for mode in MODES if options.mode == "all" else [options.mode]:
        events = campaign(mode, options.kills, options.seconds, options.seed)
        print(json.dumps({"mode": mode, "seed": options.seed, **dict(sorted(events.items()))}))
        ok = ok and not any(event.startswith("PROBLEM") for event in events)
    return 0 if ok else 1


def campaign(mode: str, kills: int, seconds: float, seed: int) -> Counter[str]:
    """Runs to the end of two epochs, killed all along; counts of what has happened."""
    events: Counter[str] = Counter()
    until = time.monotonic() + seconds
    number = 0
    while events["kills"] < kills and time.monotonic() < until:
        with tempfile.TemporaryDirectory() as folder:
            name = f"{mode}, seed {seed}, run {number}"
            found = _run(Path(folder), mode, random.Random(f"{seed} {number}"))
        events += found
        for event in found:
            if event.startswith("PROBLEM"):
                print(f"{name}: {event}", file=sys.stderr)
        number += 1
    return events


def _run(folder: Path, mode: str, randomness: random.Random) -> Counter[str]:
    """One run, started again after each kill until it has trained on two epochs."""
    settings = Settings.draw(mode, randomness)
    settings.arguments(folder)  # writes the prompt files
    events: Counter[str] = Counter()
    while True:
        notes, ended = _process(folder, settings, randomness)
        events.update(notes)
        if ended == signal.SIGKILL:
            events["kills"] += 1
            continue
        events["runs"] += 1
        if ended != 0 or any(note.startswith("PROBLEM") for note in notes):
            events[f"PROBLEM: exit {ended}, {settings}"] += 1
            return events
        model = next(Model.saved(folder))
        events["groups trained"] += model.rows("trained").total()
        events["groups dropped"] += model.rows("dropped").total()
        missing = model.missing(settings.sizes)
        events["rows lost"] += len(missing)
        events["rows trained twice"] += sum(n > 1 for n in model.rows("trained").values())
        if missing or events["rows trained twice"]:
            events[f"PROBLEM: lost {sorted(missing)}, {settings}"] += 1
        return events


def _process(folder: Path, settings: Settings, randomness: random.Random) -> tuple[list[str], int]:
    """A process that trains until it is killed or done: its notes, and its signal or exit code."""
    # Half of them late enough for several rollouts, so that a run gets on.
    calls = int(_CALLS_PER_ROLLOUT * 2 ** randomness.uniform(-4, 6))
    seed = randomness.randrange(2**31)
    kill_between = randomness.random() < 0.1
    at_start = randomness.random() < 0.1
    from_outside = not at_start and randomness.random() < 0.1
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)

        def note(text: str) -> None:
            os.write(writing, (text + "\n").encode())

        def between() -> None:
            if kill_between:
                die("between model and data", note)

        def loaded() -> None:
            if not at_start and not from_outside:
                kill_after(calls, note)

        try:
            if at_start:
                kill_after(calls, note)
            train(folder, settings, random.Random(seed), note, loaded, between)
        except BaseException:
            sys.setprofile(None)
            traceback.print_exc()
            os._exit(1)
        sys.setprofile(None)
        os._exit(0)
    os.close(writing)
    if from_outside:
        time.sleep(randomness.expovariate(20))
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading) as pipe:
        notes = pipe.read().splitlines()
    _, status = os.waitpid(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    if from_outside and ended < 0:
        notes.append("killed: from outside")
    return notes, -ended if ended < 0 else ended


if __name__ == "__main__":
    sys.exit(main())
