"""The order of a thousand million rows: no set-up, no memory, no growing time."""

from __future__ import annotations

import functools
import time
import tracemalloc
from statistics import median
from typing import Any

from benchmarks.figures import Figure, Findings, quantity
from benchmarks.fresh import in_turns
from curriculum_learning.mixing.order import Permutation, epoch_key

_SIZES = (1_000_000, 1_000_000_000)
_BLOCK = 1_024
_BLOCKS = 500
_ROUNDS = 7


def measure(folder: str) -> dict[str, Any]:
    """Figures of the order of very many rows; ``folder`` is not used."""
    many = _SIZES[-1]
    runs = in_turns(
        _ROUNDS, {f"{size:,} rows": functools.partial(_walk, _order(size)) for size in _SIZES}
    )
    per_row = [median(seconds) / (_BLOCK * _BLOCKS) * 1e9 for seconds in runs.values()]
    set_ups = [_set_up(many) for _ in range(_ROUNDS)]
    memory = [_memory(size) for size in _SIZES]
    figures = [
        Figure(
            f"order of {many:,} rows: set-up",
            median(set_ups) * 1e6,
            "us",
            at_most=1_000,
            runs={"seconds": set_ups},
        ),
        Figure(
            "its memory, to that of the order of 1,000,000",
            memory[1] / memory[0],
            "x",
            at_most=1.1,
            detail=", ".join(quantity(size / 1e3, "kB") for size in reversed(memory))
            + f" at most, blocks of {_BLOCK:,} rows",
        ),
        Figure(
            "its time for a row, to that of 1,000,000",
            per_row[1] / per_row[0],
            "x",
            at_most=1.25,
            detail=", ".join(quantity(cost, "ns") for cost in reversed(per_row)),
            runs=runs,
        ),
    ]
    return Findings(figures).as_data()


def _order(size: int) -> Permutation:
    return Permutation(size, epoch_key(42, "source", 0))


def _walk(order: Permutation) -> None:
    """Look rows up in blocks that are spread evenly over the order."""
    step = order.size // _BLOCKS
    for start in range(0, step * _BLOCKS, step):
        order.rows(start, start + _BLOCK)


def _set_up(size: int) -> float:
    """Seconds until the first block of rows is there."""
    began = time.perf_counter()
    _order(size).rows(0, _BLOCK)
    return time.perf_counter() - began


def _memory(size: int) -> float:
    """Bytes that are in use at most while an order is made and walked."""
    tracemalloc.start()
    _walk(_order(size))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return float(peak)
