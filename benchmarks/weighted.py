"""The order of a million rows that have weights, for weights of different shapes."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure, Findings, Table, quantity
from curriculum_learning.mixing.weighted import WeightedOrder

_ROWS = 1_000_000
_DRAWS = 20_000
_ROUNDS = 5

Weights = NDArray[np.float64]


def measure(folder: str) -> dict[str, Any]:
    """Figures of weighted rows; ``folder`` is not used."""
    runs = {name: _run(weights) for name, weights in _shapes()}
    worst = {key: max(runs, key=lambda name: runs[name][key]) for key in ("draw", "change")}
    kept, most = _memory()
    figures = [
        Figure(
            f"draw of {_ROWS:,} weighted rows",
            runs[worst["draw"]]["draw"],
            "us",
            at_most=20,
            detail=f"the slowest of {len(runs)} shapes: {worst['draw']}",
        ),
        Figure(
            "change of all their weights, and the draw after it",
            runs[worst["change"]]["change"],
            "ms",
            at_most=100,
            detail=f"the slowest of {len(runs)} shapes: {worst['change']}",
        ),
        Figure(
            "memory of a weighted row",
            kept,
            "bytes",
            at_most=16,
            detail=f"{quantity(most, 'bytes')} while weights change, those given not counted",
        ),
    ]
    columns = ["weights", "a draw", "longest draw", "change of all weights", "first draw after it"]
    rows = [
        [
            name,
            quantity(run["draw"], "us"),
            quantity(run["longest"], "ms"),
            quantity(run["set"], "ms"),
            quantity(run["first"], "ms"),
        ]
        for name, run in runs.items()
    ]
    table = Table(f"{_ROWS:,} weighted rows, {_DRAWS:,} draws", columns, rows)
    return Findings(figures, [table], {"weighted": runs}).as_data()


def _shapes() -> Iterator[tuple[str, Weights]]:
    rng = np.random.default_rng(0)
    some = rng.choice(_ROWS, 1000, replace=False)
    yield "uniform at random", rng.random(_ROWS)
    yield "almost equal", np.ones(_ROWS)
    for name, floor in {"99.9 % closed": 0.0, "99.9 % at 1/1000": 1e-3}.items():
        weights = np.full(_ROWS, floor)
        weights[some] = rng.random(1000)
        yield name, weights
    weights = np.full(_ROWS, 1e-8)
    weights[some[:5]] = 1
    yield "5 rows, others at 1e-8", weights
    weights = np.ones(_ROWS)
    weights[some[0]] = _ROWS
    yield "one row as heavy as all others", weights
    yield "1 / rank", 1 / (1 + rng.permutation(_ROWS))


def _run(weights: Weights) -> dict[str, float]:
    """Medians of microseconds (draw) and milliseconds (others) for weights of a shape."""
    rng = np.random.default_rng(1)
    order = WeightedOrder(_ROWS, seed=42, name="source", shuffle=True)
    rounds = [_round(order, weights * rng.uniform(0.9, 1, _ROWS)) for _ in range(_ROUNDS + 1)]
    return {key: median(found[key] for found in rounds[1:]) for key in rounds[0]}


def _round(order: WeightedOrder, weights: Weights) -> dict[str, float]:
    began = time.perf_counter()
    order.set_weights(weights)
    changed = time.perf_counter()
    order.take()
    moments = [time.perf_counter()]
    for _ in range(_DRAWS):
        order.take()
        moments.append(time.perf_counter())
    return {
        "set": (changed - began) * 1e3,
        "first": (moments[0] - changed) * 1e3,
        "change": (moments[0] - began) * 1e3,
        "draw": (moments[-1] - moments[0]) / _DRAWS * 1e6,
        "longest": float(np.diff(moments).max()) * 1e3,
    }


def _memory() -> tuple[float, float]:
    """Bytes per row that an order keeps, and that are in use at most while weights change."""
    first, second = np.random.default_rng(2).random((2, _ROWS))
    tracemalloc.start()
    order = WeightedOrder(_ROWS, seed=42, name="source", shuffle=True)
    order.set_weights(first)
    order.take()
    kept, _ = tracemalloc.get_traced_memory()
    order.set_weights(second)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return kept / _ROWS, most / _ROWS
