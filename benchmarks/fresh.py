"""Functions run in fresh processes, so that no measurement inherits the memory of another."""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

_ROOT = Path(__file__).parent.parent
_CACHE = "CURRICULUM_LEARNING_CACHE"
"""The environment variable that says where the library keeps what it works out of prompt files."""


def run_fresh(function: str, *arguments: Any, cache: Path) -> Any:
    """What a function gives in a process of its own.

    Args:
        function: ``package.module:function``.
        arguments: Plain data.
        cache: The folder of the library's cache there.

    Returns:
        What it gave, as plain data.
    """
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.fresh", function, json.dumps(arguments)],
        env={**os.environ, _CACHE: str(cache)},
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


def private_memory() -> float:
    """MB that this process alone holds (USS)."""
    return float(psutil.Process().memory_full_info().uss) / 1e6


def own_memory() -> float:
    """MB that this process holds and that are in no file: mapped files are left out."""
    memory = psutil.Process().memory_info()
    return float(memory.rss - memory.shared) / 1e6


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes; what it gives is let go after that."""
    gc.collect()  # each pays for its own garbage
    began = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - began
    del result
    return seconds


def in_turns(rounds: int, work: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of each in every round; a first round, to warm up, does not count."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, function in work.items():
            seconds = seconds_of(function)
            if number:
                taken[name].append(seconds)
    return taken


def _main(function: str, arguments: str) -> None:
    """Run a function and print what it gives as the last line."""
    logging.getLogger("curriculum_learning").setLevel(logging.ERROR)
    module, name = function.split(":")
    result = getattr(importlib.import_module(module), name)(*json.loads(arguments))
    print("\n" + json.dumps(result))


if __name__ == "__main__":
    _main(*sys.argv[1:])
