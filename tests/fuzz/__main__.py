"""Fuzzes every target in turn for a given time: ``python -m tests.fuzz [SECONDS]``.

Ends with the first fault, which hypothesis makes small and prints.
"""

from __future__ import annotations

import random
import sys
import time
from typing import Any

import hypothesis

from tests.fuzz.targets import TARGETS

_EXAMPLES = 500


def main(seconds: float) -> None:
    """Runs the targets round by round until the time is over."""
    end = time.monotonic() + seconds
    counts = dict.fromkeys(TARGETS, 0)
    while time.monotonic() < end:
        for name in TARGETS:
            seed = random.randrange(2**32)
            sys.stdout.write(f"{name}: seed {seed}, {counts[name]} inputs so far\n")

            _run(name, seed, counts)
            if time.monotonic() > end:
                break
    sys.stdout.write(f"no fault: {counts}\n")


def _run(name: str, seed: int, counts: dict[str, int]) -> None:
    target, inputs = TARGETS[name]

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(inputs)
    def run(data: Any) -> None:
        counts[name] += 1
        target(data)

    run()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 600)
