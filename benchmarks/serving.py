"""Serving: what a sample costs, beside P and beside the bare constructor."""

from __future__ import annotations

import cProfile
import gc
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from types import CodeType
from typing import Any

from benchmarks.figures import Figure, Findings, quantity
from benchmarks.fresh import in_turns
from benchmarks.plain import PlainSource
from benchmarks.rows import flat_files, nested_files
from benchmarks.sources import SAMPLES, ours, plain
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource

_GROUPS = 256
_ROUNDS = 15
_REQUESTS = 1_000
_REQUEST_ROUNDS = 5
_PROFILED = 30
_ENTRIES = 15


def measure(folder: str) -> dict[str, Any]:
    """Figures of serving, with a profile of where the time goes."""
    flat, profiles = _measure_flat(flat_files(Path(folder)))
    nested, profile = _measure_nested(nested_files(Path(folder)))
    profiles["nested metadata"] = profile
    return Findings([*flat, nested], details={"profiles": profiles}).as_data()


def _measure_flat(paths: Sequence[str]) -> tuple[list[Figure], dict[str, Any]]:
    """Figures, and profiles of requests of many groups and of one."""
    source, yardstick = ours(paths), plain(paths)
    runs = _in_turns(source, yardstick)
    single = in_turns(
        _REQUEST_ROUNDS,
        {
            "P": lambda: [yardstick.get_samples(1) for _ in range(_REQUESTS)],
            "ours": lambda: [source.get_samples(1) for _ in range(_REQUESTS)],
            "ours, in requests of 256": lambda: source.get_samples(_GROUPS),
        },
    )
    figures = [
        _times_faster(f"serve {_GROUPS} groups x {SAMPLES}, flat metadata", runs, 10),
        Figure(
            "the same, in bare constructor calls",
            _ratio(runs, "ours", "constructor"),
            "x",
            at_most=2,
            detail=_per_sample(runs, "ours", "constructor"),
            runs=runs,
        ),
        Figure(
            "share of the constructor in serving",
            100 * _ratio(runs, "constructor", "ours"),
            "%",
            detail="the rest reads and parses rows, draws, keeps account",
        ),
        *_single_requests(single),
    ]
    profiles = {
        "flat metadata": _profile(source, _PROFILED, _GROUPS),
        "requests of 1 group": _profile(source, _REQUESTS, 1),
    }
    return figures, profiles


def _single_requests(runs: dict[str, list[float]]) -> list[Figure]:
    seconds = {
        "one by one": median(runs["ours"]) / _REQUESTS,
        "in requests of 256": median(runs["ours, in requests of 256"]) / _GROUPS,
    }
    return [
        Figure(
            f"{_REQUESTS:,} requests of 1 group",
            _ratio(runs, "P", "ours"),
            "x",
            at_least=10,
            detail="in all: "
            + ", ".join(f"{n} {quantity(median(runs[n]) * 1e3, 'ms')}" for n in ("P", "ours")),
            runs=runs,
        ),
        Figure(
            "a group alone, to one of a request of 256",
            _ratio(runs, "ours", "ours, in requests of 256") * _GROUPS / _REQUESTS,
            "x",
            at_most=1.5,
            detail=", ".join(f"{n} {quantity(s * 1e6, 'us')}" for n, s in seconds.items()),
        ),
    ]


def _measure_nested(paths: Sequence[str]) -> tuple[Figure, dict[str, Any]]:
    source, yardstick = ours(paths), plain(paths)
    runs = _in_turns(source, yardstick)
    figure = _times_faster(f"serve {_GROUPS} groups x {SAMPLES}, nested metadata", runs, 5)
    return figure, _profile(source, _PROFILED, _GROUPS)


def _in_turns(source: DataSource, yardstick: PlainSource) -> dict[str, list[float]]:
    """Seconds for a request, and for its samples from the bare constructor."""
    fields = _fields(source)
    gc.freeze()  # the rows that P holds must not slow down anybody's garbage collection
    return in_turns(
        _ROUNDS,
        {
            "P": lambda: yardstick.get_samples(_GROUPS),
            "ours": lambda: source.get_samples(_GROUPS),
            "constructor": lambda: [kind(**values) for kind, values in fields],
        },
    )


def _fields(source: DataSource) -> list[tuple[type[Any], dict[str, Any]]]:
    """What a constructor needs to make the samples of a request again, ready at hand."""
    names = ("group_index", "index", "prompt", "label", "metadata")
    return [
        (type(sample), {name: getattr(sample, name) for name in names})
        for group in source.get_samples(_GROUPS)
        for sample in group
    ]


def _times_faster(work: str, runs: dict[str, list[float]], at_least: float) -> Figure:
    return Figure(
        work,
        _ratio(runs, "P", "ours"),
        "x",
        at_least=at_least,
        detail=_per_sample(runs, "P", "ours", "constructor"),
        runs=runs,
    )


def _ratio(runs: dict[str, list[float]], slow: str, fast: str) -> float:
    """The median of what each round gives: rounds may differ, what is in one round does not."""
    return median(a / b for a, b in zip(runs[slow], runs[fast], strict=True))


def _per_sample(runs: dict[str, list[float]], *names: str) -> str:
    microseconds = {n: median(runs[n]) / (_GROUPS * SAMPLES) * 1e6 for n in names}
    return "a sample: " + ", ".join(f"{n} {quantity(us, 'us')}" for n, us in microseconds.items())


def _profile(source: DataSource, requests: int, groups: int) -> dict[str, Any]:
    """The functions that take most of the time by themselves; calls cost more in a profile."""
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(requests):
        source.get_samples(groups)
    profiler.disable()
    entries = sorted(profiler.getstats(), key=lambda entry: -entry.inlinetime)
    whole = sum(entry.inlinetime for entry in entries)
    return {
        "seconds": whole,
        "functions": [
            {
                "name": _name(entry.code),
                "calls": entry.callcount,
                "own_share": entry.inlinetime / whole,
                "share_with_callees": entry.totaltime / whole,
            }
            for entry in entries[:_ENTRIES]
        ],
    }


def _name(code: str | CodeType) -> str:
    if isinstance(code, str):
        return code
    return f"{Path(code.co_filename).name}:{code.co_firstlineno} {code.co_name}"
