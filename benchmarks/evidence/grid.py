"""Many runs on several processes; each result is kept as soon as its run ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.evidence.methods import Method, SettingsByTask, read_methods
from benchmarks.evidence.results import Results
from benchmarks.evidence.runs import Line, Run, make_run, perform, prompt_files
from benchmarks.evidence.tasks import TASKS

_CACHE = "CURRICULUM_LEARNING_CACHE"
"""The environment variable of the library's cache of prompt files."""


class RunFailedError(RuntimeError):
    """A run ended with an error, which is the cause of this one."""


def grid(
    tasks: Iterable[str],
    methods: Iterable[str],
    settings: SettingsByTask,
    seeds: Sequence[int],
    rollouts: int | None,
) -> list[Run]:
    """Returns the reported runs, seed by seed: a grid that is stopped has all cells alike."""
    known = read_methods()
    cells = fitting(tasks, [known[name] for name in methods])
    return [
        make_run(task, method, seed, settings[task][method.name], rollouts)
        for seed in seeds
        for task, method in cells
    ]


def fitting(tasks: Iterable[str], methods: Iterable[Method]) -> list[tuple[str, Method]]:
    """Returns each task with each method that fits it."""
    chosen = list(methods)
    return [(task, method) for task in tasks for method in chosen if method.fits(TASKS[task])]


def perform_all(runs: Sequence[Run], results: Results, workers: int) -> list[Line]:
    """Performs the runs that have no result yet; returns the lines of all of them.

    After an interruption the same call goes on; only the runs under way are made again.

    Args:
        runs: What is wanted.
        results: Where lines are looked up and added.
        workers: Processes; each uses one core.

    Raises:
        RunFailedError: A run failed; no further ones are begun.
    """
    ids = {run.id for run in runs}
    known = {line["id"] for line in results.lines}
    missing = [run for run in runs if run.id not in known]
    with (
        tempfile.TemporaryDirectory(prefix="evidence-") as name,
        tqdm(total=len(runs), initial=len(runs) - len(missing), unit="run") as bar,
    ):
        folder = Path(name)
        for task in {run.task for run in missing}:
            TASKS[task].write_prompts(prompt_files(task, folder))
        executor = ProcessPoolExecutor(
            workers,
            # A fork of a process with threads (the bar's, torch's) may hang.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_set_up,
            initargs=(folder,),
        )
        futures = {executor.submit(perform, run, folder): run for run in missing}
        try:
            for future in as_completed(futures):
                if error := future.exception():
                    run = futures[future]
                    raise RunFailedError(f"{run.task} {run.method} seed {run.seed}") from error
                results.append(future.result())
                bar.set_postfix_str("{task} {method} {seed}".format(**results.lines[-1]))
                bar.update()
        finally:
            executor.shutdown(cancel_futures=True)
    return [line for line in results.lines if line["id"] in ids]


def _set_up(folder: Path) -> None:
    """Makes this process a worker."""
    # The matrices are small: more threads wait for each other longer than they compute. And a
    # sum over several threads is not the same number everywhere.
    torch.set_num_threads(1)
    os.environ[_CACHE] = str(folder / "cache")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends at once, without a traceback
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # a worker has one
    parent.join()
    os._exit(1)  # the run is made again
