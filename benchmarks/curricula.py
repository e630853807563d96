"""An update of each row curriculum at a million rows: results in, weights out, the next draw."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Mapping
from statistics import median
from typing import Any

import numpy as np

from benchmarks.figures import Figure, Findings, Table, quantity
from curriculum_learning.curricula import CURRICULA, Result, SourceRows
from curriculum_learning.curricula.statistics import RowStatistics
from curriculum_learning.mixing.curated import CuratedSource

_ROWS = 1_000_000
_GROUPS = 256
_SAMPLES = 8
_UPDATES = 7
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "reward": {"reward_threshold": 0.0, "min_batches_per_level": 0, "check_frequency": 1},
    "pass_rate_gaussian": {"steps": 100},
}


def measure(folder: str) -> dict[str, Any]:
    """Figures of the row curricula; ``folder`` is not used."""
    seen = [Result("math", row, 0, [0.0, float(row % 3 > 0)]) for row in range(0, _ROWS, 4)]
    runs = {name: _run(name, seen) for name in CURRICULA}
    worst = max(runs, key=lambda name: runs[name]["update"])
    figures = [
        Figure(
            f"update of a row curriculum at {_ROWS:,} rows, and the draw after it",
            runs[worst]["update"],
            "ms",
            at_most=200,
            detail=f"{_GROUPS} results, weights, order; the slowest of {len(runs)}: {worst}",
        ),
        Figure("draw of a row with a curriculum", max(r["draw"] for r in runs.values()), "us",
               at_most=20, detail="the slowest"),
        Figure("memory of the statistics of a row", _memory(), "bytes", at_most=16),
    ]  # fmt: skip
    columns = ["row curriculum", "results in", "weights and order", "a draw"]
    rows = [
        [
            name,
            quantity(run["observe"], "ms"),
            quantity(run["first"], "ms"),
            quantity(run["draw"], "us"),
        ]
        for name, run in runs.items()
    ]
    table = Table(f"an update of {_GROUPS} groups, {_ROWS:,} rows", columns, rows)
    return Findings(figures, [table], {"curricula": runs}).as_data()


def _run(name: str, seen: list[Result]) -> dict[str, float]:
    """Medians of milliseconds (a draw: microseconds) of updates.

    All rows have a pass rate from before the run, and a quarter of them results.
    """
    rng = np.random.default_rng(0)
    statistics = RowStatistics(_ROWS, priors=rng.random(_ROWS))
    rows = SourceRows("math", _ROWS, 1, rng.random(_ROWS), statistics)
    curriculum = CURRICULA[name](rows, **_SETTINGS.get(name, {}))
    source = CuratedSource(rows, curriculum, shuffle=True)
    source.observe(seen, 0)
    source.take(0)
    rounds = [_round(source, rng, step) for step in range(1, _UPDATES + 1)]
    return {key: median(found[key] for found in rounds) for key in rounds[0]}


def _round(source: CuratedSource, rng: np.random.Generator, step: int) -> dict[str, float]:
    results = [
        Result("math", int(row), step, rng.integers(0, 2, _SAMPLES).astype(float).tolist())
        for row in rng.choice(_ROWS, _GROUPS, replace=False)
    ]
    began = time.perf_counter()
    source.observe(results, step)
    told = time.perf_counter()
    source.take(step + 1)
    first = time.perf_counter()
    for _ in range(10 * _GROUPS):
        source.take(step + 1)
    drawn = time.perf_counter()
    return {
        "observe": (told - began) * 1e3,
        "first": (first - told) * 1e3,
        "update": (first - began) * 1e3,
        "draw": (drawn - first) / (10 * _GROUPS) * 1e6,
    }


def _memory() -> float:
    """Bytes that the statistics keep for each row."""
    tracemalloc.start()
    statistics = RowStatistics(_ROWS)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return kept / len(statistics)
