"""Starting over 300,000 rows: time and private memory, the first time and again, beside P."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

# The library imports it with the first configuration; imports have a figure of their own.
from pydantic import TypeAdapter  # noqa: F401

from benchmarks.figures import Figure, Findings, quantity
from benchmarks.fresh import private_memory, run_fresh
from benchmarks.rows import ROWS, SOURCES, flat_files
from benchmarks.sources import ours, plain

_ROUNDS = 3
_IMPORTS = 5
_REQUESTS, _GROUPS = 20, 250

_IMPORT = "import time; began = time.perf_counter(); {};print(time.perf_counter() - began)"


def measure(folder: str) -> dict[str, Any]:
    """Figures of the start; every one is of a process of its own."""
    paths = flat_files(Path(folder))
    seconds: dict[str, list[float]] = {"P": [], "first": [], "again": []}
    grown: dict[str, list[float]] = {"P": [], "first": [], "again": []}
    for _ in range(_ROUNDS):
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            for name, function in (("P", "start_plain"), ("first", "start"), ("again", "start")):
                run = run_fresh(f"{__name__}:{function}", paths, cache=Path(cache))
                seconds[name].append(run["seconds"])
                grown[name].append(run["grown"])
    rows = f"{len(SOURCES)} x {ROWS:,} rows"
    figures = [
        _faster(f"start, {rows}, the first time", "first", seconds, 8),
        _faster(f"start, {rows}, again", "again", seconds, 50),
        _smaller("private memory after that, first time", "first", grown),
        _smaller("private memory after that, again", "again", grown),
        _import_time("import curriculum_learning"),
        _import_time("from pydantic import TypeAdapter"),
    ]
    return Findings(figures).as_data()


def start(paths: Sequence[str]) -> dict[str, float]:
    """Start the library's data source and serve some groups."""
    return _start(lambda: ours(paths))


def start_plain(paths: Sequence[str]) -> dict[str, float]:
    """Start P and serve some groups."""
    return _start(lambda: plain(paths))


def _start(make: Callable[[], Any]) -> dict[str, float]:
    bare = private_memory()
    began = time.perf_counter()
    source = make()
    seconds = time.perf_counter() - began
    for _ in range(_REQUESTS):
        source.get_samples(_GROUPS)
    private = private_memory()
    return {"seconds": seconds, "grown": private - bare, "private": private}


def _faster(work: str, name: str, seconds: dict[str, list[float]], at_least: float) -> Figure:
    p, own = median(seconds["P"]), median(seconds[name])
    return Figure(
        work,
        p / own,
        "x",
        at_least=at_least,
        detail=f"P {quantity(p, 's')}, ours {quantity(own, 's')}",
        runs={"P": seconds["P"], "ours": seconds[name]},
    )


def _smaller(work: str, name: str, grown: dict[str, list[float]]) -> Figure:
    p, own = median(grown["P"]), median(grown[name])
    return Figure(
        work,
        100 * own / p,
        "%",
        at_most=5,
        detail=f"of P's {quantity(p, 'MB')}: {quantity(own, 'MB')}; "
        f"after {_REQUESTS * _GROUPS:,} groups, without the imports",
        runs={"P": grown["P"], "ours": grown[name]},
    )


def _import_time(statement: str) -> Figure:
    root = Path(__file__).parent.parent
    runs = []
    for _ in range(_IMPORTS):
        command = [sys.executable, "-c", _IMPORT.format(statement)]
        output = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        runs.append(float(output.stdout))
    return Figure(
        statement,
        median(runs),
        "s",
        detail="not in the figures above",
        runs={"ours": runs},
    )
