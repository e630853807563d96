"""A soak: a random engine with everything on, killed and changed all along, and its account.

``python -m tests.soak`` drives a million groups; it ends with 1 if anything was lost or doubled,
or if the memory has grown by more than a tenth since the first tenth of the groups.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.campaign import Campaign

_GROWTH = 0.1


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--groups", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        outcome = Campaign(Path(folder), options.groups, options.seed).run()
    figures = {
        "seed": options.seed,
        "seconds": round(time.monotonic() - began),
        **{f"MiB {when}": round(size / 2**20, 1) for when, size in outcome.memory.items()},
        **dict(sorted(outcome.events.items())),
        "problems": outcome.problems[:20],
    }
    print(json.dumps(figures, indent=1))
    return int(bool(outcome.problems) or outcome.growth > _GROWTH)


if __name__ == "__main__":
    sys.exit(main())
