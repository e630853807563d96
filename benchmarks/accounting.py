"""What the account of groups costs: memory, time, and how long a save keeps an engine waiting.

python benchmarks/accounting.py
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import statistics
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch

from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.groups.in_flight import GroupLedger

IN_FLIGHT = (10_000, 50_000, 200_000)
SERVED = 20_000
"""Groups in flight of a whole data source."""
KEPT = 3
"""States of the latest rollouts that a data source keeps."""
REPEATS = 31
PER_REPEAT = 512
"""Groups served and settled."""

SAMPLES = 8
RETURNED = 2_000
"""Groups that wait when the state is saved."""
TOKENS = 2_000
VOCABULARY = 150_000
TENTH = RETURNED // 10
"""Groups that ``torch.load`` reads: ``weights_only`` takes a minute for all of them."""

WAITING = 2_000
"""Groups that wait when an engine asks for some while the state is saved."""
UNDISTURBED = 3.0
"""Seconds in which only the engine runs."""
PATIENCE = 600.0
"""Seconds until an autosave must be there."""

Group = list[Any]


def main() -> None:
    """Print one table per question."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _measure_memory(folder / "memory")
        _measure_ledger(folder / "ledger")
        for log_probs in (False, True):
            _measure_files(folder / f"files {log_probs}", log_probs)
        _measure_waits(folder / "waits")


# The ledger


def _measure_memory(folder: Path) -> None:
    _head("groups in flight", "bytes each", "state, ms")
    for count in IN_FLIGHT:
        ledger = GroupLedger(SAMPLES, accounting=True)
        size = _growth(functools.partial(_open, ledger, count)) / count
        states = [_seconds(ledger.state_dict) * 1e3 for _ in range(5)]
        _line(f"ledger, {count:,} groups", size, statistics.median(states))
    source = _data_source(folder)
    logged = source.get_samples(1)
    growth = _growth(functools.partial(_serve, source, SERVED))
    _line(f"data source, {SERVED:,} groups", growth / SERVED)
    growth = _growth(functools.partial(_log_rollouts, source, logged))
    _line(f"the states of {KEPT} rollouts, besides", growth / SERVED)
    source.close()


def _growth(run: Callable[[], object]) -> int:
    """Bytes that are there after ``run`` and were not before."""
    tracemalloc.start()
    run()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size


def _open(ledger: GroupLedger, count: int) -> None:
    for row in range(count):
        ledger.open("math", row, 3, 100)


def _serve(source: DataSource, count: int) -> None:
    for _ in range(count // 100):
        source.get_samples(100)


def _log_rollouts(source: DataSource, trained: list[Group]) -> None:
    for rollout_id in range(KEPT):
        source.observe(trained, rollout_id=rollout_id, fate="trained")


def _measure_ledger(folder: Path) -> None:
    _head("account of a group", "us")
    opens, settles = zip(*(_open_and_settle() for _ in range(REPEATS)), strict=True)
    _line("open", statistics.median(opens))
    _line("settle", statistics.median(settles))
    source = _data_source(folder, n_samples_per_prompt=1)
    served, unaccounted = [], []
    for _ in range(10 * REPEATS):  # one sample per group: more would hide what is looked for
        served.append(_serve_and_settle(source))
        with mock.patch.multiple(GroupLedger, serve=_nothing, settle=_nothing, presume=_nothing):
            unaccounted.append(_serve_and_settle(source))
    _line("serve and settle with one sample per group", min(served))
    _line("serve and settle without what the ledger does", min(unaccounted))
    source.close()


def _open_and_settle() -> tuple[float, float]:
    """Microseconds per group."""
    ledger = GroupLedger(SAMPLES, accounting=True)
    opening = _seconds(functools.partial(_open, ledger, PER_REPEAT))
    settling = _seconds(functools.partial(ledger.settle, range(PER_REPEAT), "trained"))
    return opening / PER_REPEAT * 1e6, settling / PER_REPEAT * 1e6


def _serve_and_settle(source: DataSource) -> float:
    """Microseconds per group."""

    def run() -> None:
        source.observe(source.get_samples(PER_REPEAT), fate="trained")

    return _seconds(run) / PER_REPEAT * 1e6


def _nothing(*_: object) -> None:
    """Stands in for what the ledger keeps."""


# Files


class Cost(NamedTuple):
    """What something took."""

    seconds: float
    peak: float
    """MB of memory on top of what was there before."""


def _measure_files(folder: Path, log_probs: bool) -> None:
    what = "tokens and log-probabilities" if log_probs else "tokens"
    _head(f"{RETURNED:,} groups x {SAMPLES} samples x {TOKENS:,} {what}", "s", "MB", "peak MB")
    source = _data_source(folder)
    groups = _generated(source, RETURNED, log_probs)
    _line("add_samples, 100 groups a call", _seconds(functools.partial(_return, source, groups)))
    saved = _cost(functools.partial(source.save, 0))
    _line("save", saved.seconds, _megabytes(*(folder / "save").rglob("*.state")), saved.peak)

    path = folder / "groups.pt"
    saved = _cost(functools.partial(_torch_save, groups, path))
    _line("torch.save", saved.seconds, _megabytes(path), saved.peak)
    _torch_save(groups[:TENTH], path)
    del groups
    source.close()
    del source

    source = _data_source(folder)
    _line("load", _seconds(functools.partial(source.load, 0)))
    source.close()
    del source
    times = RETURNED // TENTH
    for safe in (True, False):
        tenth = _seconds(functools.partial(torch.load, path, weights_only=safe))
        _line(f"torch.load, weights_only={safe}, a tenth x {times}", tenth * times)


def _return(source: DataSource, groups: list[Group]) -> None:
    for start in range(0, len(groups), 100):
        source.add_samples(groups[start : start + 100])


def _generated(source: DataSource, count: int, log_probs: bool) -> list[Group]:
    """Groups in flight with tokens: of a uniform distribution, and so hard to compress."""
    randomness = np.random.default_rng(0)
    groups = source.get_samples(count)
    for sample in (sample for group in groups for sample in group):
        sample.tokens = randomness.integers(0, VOCABULARY, TOKENS).tolist()
        sample.response_length = TOKENS
        if log_probs:  # of the precision that an inference engine computes with
            sample.rollout_log_probs = (-randomness.exponential(0.5, TOKENS)).astype("f4").tolist()
    return groups


def _torch_save(groups: list[Group], path: Path) -> None:
    with open(path, "wb") as file:
        torch.save([[sample.to_dict() for sample in group] for group in groups], file)
        file.flush()
        os.fsync(file.fileno())


def _cost(run: Callable[[], object]) -> Cost:
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from now on
    before = _memory_of_process("VmRSS")
    seconds = _seconds(run)
    return Cost(seconds, _memory_of_process("VmHWM") - before)


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _memory_of_process(name: str) -> float:
    """MB that the kernel gives under ``name``."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(name))


def _megabytes(*paths: Path) -> float:
    return sum(path.stat().st_size for path in paths) / 1e6


# Waiting


class Engine:
    """A thread that asks for one group after the other, and settles each.

    The groups that wait in a buffer come first, and then fresh ones.
    """

    def __init__(self, source: DataSource) -> None:
        self._source = source
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.waits: list[float] = []
        """Seconds of each request, its settling included: both can find the data source busy."""

    def __enter__(self) -> Engine:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.perf_counter()
            groups = self._source.get_samples(1)
            self._source.observe(groups, fate="trained")
            self.waits.append(time.perf_counter() - began)
            del groups


def _measure_waits(folder: Path) -> None:
    what = f"a request while {WAITING} such groups wait, and its settling"
    _head(what, "s", "max ms", "p99 ms", "requests")
    source = _data_source(folder)
    _return(source, _generated(source, WAITING, log_probs=True))
    _line("save, without requests", _seconds(functools.partial(source.save, 0)))
    source.close()
    disturbances: dict[str, Callable[[DataSource], object]] = {
        "requests alone": lambda source: time.sleep(UNDISTURBED),
        "during save": lambda source: source.save(1),
        "during autosave": lambda source: _autosave(source, folder, 2),
    }
    for name, disturb in disturbances.items():
        source = _data_source(folder)
        source.load(0)
        with Engine(source) as engine:
            seconds = _seconds(functools.partial(disturb, source))
        worst, late = max(engine.waits), float(np.quantile(engine.waits, 0.99))
        _line(name, seconds, worst * 1e3, late * 1e3, f"{len(engine.waits):,}")
        source.close()


def _autosave(source: DataSource, folder: Path, rollout_id: int) -> None:
    """Log a rollout, and wait until its state has been written in the background."""
    source.observe([], rollout_id=rollout_id, fate="trained")
    path = folder / "save" / "rollout" / f"curriculum_learning_{rollout_id}.autosave"
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.01)


# Common


def _data_source(folder: Path, n_samples_per_prompt: int = SAMPLES) -> DataSource:
    """Two sources, seven to three; states are saved in ``folder``."""
    folder.mkdir(exist_ok=True)
    paths = []
    for name in ("math", "code"):
        paths.append(folder / f"{name}.jsonl")
        rows = [{"input": f"{name} {row}", "metadata": {"id": row}} for row in range(10_000)]
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataSource(
        argparse.Namespace(
            prompt_data=[str(path) for path in paths],
            data_source_weights=[0.7, 0.3],
            n_samples_per_prompt=n_samples_per_prompt,
            rollout_batch_size=256,
            rollout_shuffle=True,
            data_source_cache=str(folder / "cache"),
            custom_rollout_log_function_path=(
                "curriculum_learning.custom_log.custom_rollout_log_function"
            ),
            save=str(folder / "save"),
        )
    )


def _head(name: str, *columns: str) -> None:
    print()
    _line(name, *columns)


def _line(name: str, *values: float | str) -> None:
    cells = [value if isinstance(value, str) else f"{value:.2f}" for value in values]
    print(f"{name:66}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


if __name__ == "__main__":
    logging.getLogger("curriculum_learning").setLevel(logging.ERROR)
    main()
