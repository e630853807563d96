"""The search for the settings of each method, of equal size for all: ``search.yaml``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

import yaml

from benchmarks.evidence.grid import fitting
from benchmarks.evidence.measures import area
from benchmarks.evidence.methods import SettingsByTask, read_methods, read_search
from benchmarks.evidence.runs import Line, Run, make_run

_HEAD = """\
# Chosen by `make evidence-tune`, which writes this file: for each task and method the best mean
# area of the {candidates} settings tried (search.yaml), on seeds that are not reported: {seeds}.
"""


def tuning_runs(
    tasks: Iterable[str], methods: Iterable[str], rollouts: int | None = None
) -> list[Run]:
    """Returns the runs of the search: all defaults first, on one seed."""
    search, known = read_search(), read_methods()
    cells = [
        (task, method, method.candidates(search.everybody))
        for task, method in fitting(tasks, [known[name] for name in methods])
    ]
    return [
        make_run(task, method, seed, candidates[number], rollouts)
        for seed in search.seeds
        for number in range(len(search.everybody))
        for task, method, candidates in cells
    ]


def choose(lines: Iterable[Line]) -> SettingsByTask:
    """Returns the settings of each method and task with the greatest mean area over the seeds."""
    areas: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        text = yaml.safe_dump(line["settings"], sort_keys=False)
        areas[line["task"], line["method"]][text].append(area(line))
    chosen: SettingsByTask = defaultdict(dict)
    for (task, method), tried in areas.items():
        chosen[task][method] = yaml.safe_load(max(tried, key=lambda text: fmean(tried[text])))
    return dict(chosen)


def write_settings(chosen: SettingsByTask, path: Path) -> None:
    """Writes a file as ``read_settings`` reads it."""
    search = read_search()
    head = _HEAD.format(candidates=len(search.everybody), seeds=", ".join(map(str, search.seeds)))
    content = yaml.safe_dump(chosen, sort_keys=False)
    path.write_text(head + content, encoding="utf-8")
