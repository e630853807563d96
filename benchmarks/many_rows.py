"""Starting over ten million rows again, when what was worked out of the files is there."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

# The library imports it with the first configuration; imports have a figure of their own.
from pydantic import TypeAdapter  # noqa: F401

from benchmarks.figures import Figure, Findings, quantity
from benchmarks.fresh import private_memory, run_fresh, seconds_of
from benchmarks.sources import ours

_FILES = 10
_ROWS = 1_000_000
_ROUNDS = 3
_REQUESTS, _GROUPS = 20, 250


def measure(folder: str) -> dict[str, Any]:
    """Figures of the start."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        files, cache = Path(name) / "files", Path(name) / "cache"
        run_fresh(f"{__name__}:write", str(files), cache=cache)
        first, *again = (
            run_fresh(f"{__name__}:start", str(files), cache=cache) for _ in range(_ROUNDS + 1)
        )
        index = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) / 1e6
    runs = {key: [run[key] for run in again] for key in ("seconds", "private")}
    rows = f"{_FILES} x {_ROWS:,} rows"
    figures = [
        Figure(
            f"start, {rows}, again",
            median(runs["seconds"]),
            "s",
            at_most=2,
            detail=f"first time {quantity(first['seconds'], 's')} (once); "
            f"then on disk {quantity(index, 'MB')}",
            runs={"ours": runs["seconds"]},
        ),
        Figure(
            "private memory after that",
            median(runs["private"]),
            "MB",
            at_most=250,
            detail=f"the whole process, after {_REQUESTS * _GROUPS:,} groups; "
            f"first time {quantity(first['private'], 'MB')}",
            runs={"ours": runs["private"]},
        ),
    ]
    return Findings(figures).as_data()


def write(folder: str) -> None:
    """Write files of rows of about 100 bytes; no two rows of them are the same."""
    Path(folder).mkdir()
    block = "".join(
        f'{{"input": "source 00 row {row:07}: add {row % 97}", "label": "{row}", '
        f'"metadata": {{"id": {row}, "level": {row % 5}}}}}\n'
        for row in range(_ROWS)
    ).encode()
    for number in range(_FILES):
        content = block.replace(b"source 00", b"source %02d" % number)
        (Path(folder) / f"source_{number:02}.jsonl").write_bytes(content)


def start(folder: str) -> dict[str, float]:
    """Start a data source over all files and serve some groups."""
    paths = sorted(map(str, Path(folder).iterdir()))
    made: list[Any] = []
    seconds = seconds_of(lambda: made.append(ours(paths, data_source_weights=[1.0] * len(paths))))
    for _ in range(_REQUESTS):
        made[0].get_samples(_GROUPS)
    return {"seconds": seconds, "private": private_memory()}
