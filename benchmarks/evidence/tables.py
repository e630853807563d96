"""The tables of the page, from lines of results alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from benchmarks.evidence.comparison import Difference, Interval, bootstrap, differences
from benchmarks.evidence.errors import UsageError
from benchmarks.evidence.measures import (
    area,
    area_by_tokens,
    final,
    has_failed,
    until_good,
)
from benchmarks.evidence.methods import UNIFORM
from benchmarks.evidence.runs import Line
from benchmarks.figures import markdown

Cells = dict[str, dict[str, list[Line]]]
"""Lines by task and method, in the order of their seeds."""


def cells(lines: Iterable[Line]) -> Cells:
    """Sorts lines; of two of the same task, method and seed the later one counts.

    Raises:
        UsageError: Runs that would be compared differ in length, or in the settings of a method.
    """
    latest = {(line["task"], line["method"], line["seed"]): line for line in lines}
    found: Cells = defaultdict(lambda: defaultdict(list))
    for task, method, seed in sorted(latest):
        found[task][method].append(latest[task, method, seed])
    for task, methods in found.items():
        _check_same(task, [line["samples"] for each in methods.values() for line in each])
        for method, each in methods.items():
            _check_same(f"{method} on {task}", [line["settings"] for line in each])
    return {
        task: dict(sorted(methods.items(), key=lambda item: (item[0] != UNIFORM, item[0])))
        for task, methods in found.items()
    }


def compared(methods: Mapping[str, Sequence[Line]]) -> dict[str, Difference]:
    """Returns the differences in area to uniform mixing; {} without its runs."""
    areas = {name: {line["seed"]: area(line) for line in each} for name, each in methods.items()}
    uniform = areas.pop(UNIFORM, {})
    return differences(uniform, areas)


def task_table(methods: Mapping[str, Sequence[Line]]) -> str:
    """Returns the comparison of the methods of a task, the largest difference first."""
    found = compared(methods)
    order = sorted(found, key=lambda name: -found[name].mean)
    tokens = min(line["tokens"][-1] for each in methods.values() for line in each)
    columns = [
        "method", "seeds", "area", "difference to uniform", "p", "final", "failed",
        "area by tokens", "samples to 90 %", "tokens to 90 %", "no signal",
    ]  # fmt: skip
    names = [*([UNIFORM] if UNIFORM in methods else []), *order]
    rows = [_row(name, methods[name], found.get(name), tokens) for name in names]
    return markdown(columns, rows)


def final_table(methods: Mapping[str, Sequence[Line]]) -> str:
    """Returns the mean final accuracy on each held-out set."""
    sets = list(next(iter(methods.values()))[0]["held_out"])
    rows = [
        [name, *(f"{fmean(line['held_out'][of][-1] for line in each):.2f}" for of in sets)]
        for name, each in methods.items()
    ]
    return markdown(["method", *sets], rows)


def behind(lines: Sequence[Line]) -> str:
    """Returns a sentence on the runs: how many, on what, with which versions and code."""

    def values(*keys: str) -> str:
        texts = {" ".join(str(line[key]) for key in keys) for line in lines}
        return ", ".join(sorted(texts))

    hours = sum(line["seconds"] for line in lines) / 3600
    return (
        f"{len(lines)} runs, {hours:.1f} hours of one core ({values('cpu')}); Python "
        f"{values('python')}, torch {values('torch')}, numpy {values('numpy')}; commit "
        f"{values('commit')}."
    )


def settings_table(found: Cells) -> str:
    """Returns the settings of each method on each task."""
    rows = [
        [task, method, _settings(each[0]["settings"])]
        for task, methods in found.items()
        for method, each in methods.items()
    ]
    return markdown(["task", "method", "settings"], rows)


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in settings.items())


def _row(
    name: str, lines: Sequence[Line], difference: Difference | None, tokens: float
) -> list[str]:
    areas = [area(line) for line in lines]
    return [
        name,
        str(len(lines)),
        f"{fmean(areas):.3f}{_interval(bootstrap(areas))}",
        "" if difference is None else f"{difference.mean:+.3f}{_interval(difference.interval)}",
        "" if difference is None or difference.p is None else f"{difference.p:.3f}",
        f"{fmean(map(final, lines)):.2f}",
        str(sum(map(has_failed, lines))),
        f"{fmean(area_by_tokens(line, tokens) for line in lines):.3f}",
        _reached([until_good(line, "samples") for line in lines]),
        _reached([until_good(line, "tokens") for line in lines]),
        f"{fmean(line['no_signal'] for line in lines):.0%}",
    ]


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"


def _reached(values: Sequence[float]) -> str:
    """Returns the median, and how many have one."""
    middle = median(values)
    count = sum(value < float("inf") for value in values)
    return f"{'-' if middle == float('inf') else format(middle, ',.0f')} ({count})"


def _check_same(what: str, values: Sequence[Any]) -> None:
    for value in values:
        if value != values[0]:
            raise UsageError(
                f"{what}: runs with {values[0]} and with {value} cannot be compared; put the ones "
                f"into another file"
            )
