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
        for name, (target, inputs) in TARGETS.items():
            seed = random.randrange(2**32)
            sys.stdout.write(f"{name}: seed {seed}, {counts[name]} inputs so far\n")

            @hypothesis.seed(seed)
            @hypothesis.settings(max_examples=_EXAMPLES, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck))  # fmt: skip  # noqa: E501 - one line
            @hypothesis.given(inputs)
            def run(data: Any, target: Any = target, name: str = name) -> None:
                counts[name] += 1
                target(data)

            run()
            if time.monotonic() > end:
                break
    sys.stdout.write(f"no fault: {counts}\n")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 600)
