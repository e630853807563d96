"""Three sources mixed by weights: the library beside what is often taken for that."""

from __future__ import annotations

import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import datasets
import numpy as np
from torchdata import nodes
from torchdata.stateful_dataloader.sampler import StatefulDistributedSampler

from benchmarks.figures import Findings, Table
from benchmarks.rows import SOURCES, flat_files, source_of
from benchmarks.sources import ours
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource

_ROWS = 100_000
_TURNS = 5
"""The rows are drawn in so many turns, loader after loader in each."""
_REQUEST = 256
_CUT = 40 * _REQUEST
"""Rows before the state is saved."""
_AFTER = 4 * _REQUEST
"""Rows after it that must be the same."""
_SHUFFLE_BUFFER = 1_000

Ids = Iterator[str]


class Loader(NamedTuple):
    """One way to mix sources.

    ``make`` gives a fresh loader, ``draw`` the ids of all rows that are still to come from it,
    ``state`` and ``restored`` its state and a fresh loader in that state.
    """

    make: Callable[[], Any]
    draw: Callable[[Any], Ids]
    state: Callable[[Any], Any]
    restored: Callable[[Any], Any]


def measure(folder: str) -> dict[str, Any]:
    """A table of the loaders."""
    os.environ["HF_DATASETS_OFFLINE"] = "1"
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    loaders = _loaders(Path(folder))
    rates, errors = _draw_in_turns(loaders)
    rows = [
        [
            name,
            f"{median(rates[name]) / 1e3:,.0f}k",
            f"{errors[name]:.2f}" if errors[name] < 10 else f"{errors[name]:,.0f}",
            "yes" if _resumes(loader) else "no",
        ]
        for name, loader in loaders.items()
    ]
    weights = ", ".join(f"{weight:g}" for weight in SOURCES.values())
    table = Table(
        f"{_ROWS:,} rows of 3 sources, weights {weights}",
        ["", "rows a second", "largest error of the mixture, rows", "resumes exactly"],
        rows,
    )
    return Findings(tables=[table], details={"rows a second": rates}).as_data()


def _loaders(folder: Path) -> dict[str, Loader]:
    paths = flat_files(folder)
    tables = [
        datasets.load_dataset(
            "json", data_files=path, split="train", cache_dir=str(folder / "arrow")
        )
        for path in paths
    ]
    lists = {name: table.to_list() for name, table in zip(SOURCES, tables, strict=True)}
    return {
        "datasets.interleave_datasets, map-style": _map_style(tables, batch=None),
        f"the same, in batches of {_REQUEST}": _map_style(tables, batch=_REQUEST),
        "the same, streaming": _streaming(tables),
        "torchdata MultiNodeWeightedSampler, rows in memory": _torchdata(lists),
        f"this library, requests of {_REQUEST}": _ours(paths, _REQUEST),
        "this library, requests of 1": _ours(paths, 1),
    }


# Each of them


class _Place(NamedTuple):
    """A data set and where to go on in it: it keeps no position itself."""

    rows: datasets.Dataset
    start: int


def _map_style(tables: list[datasets.Dataset], batch: int | None) -> Loader:
    def make(start: int = 0) -> _Place:
        shuffled = [table.shuffle(seed=42) for table in tables]
        mixed = datasets.interleave_datasets(shuffled, probabilities=[*SOURCES.values()], seed=42)
        return _Place(mixed, start)

    def draw(place: _Place) -> Ids:
        rows = place.rows.select(range(place.start, len(place.rows)))
        if batch is None:
            return (row["metadata"]["id"] for row in rows)
        batches = (columns["metadata"] for columns in rows.iter(batch_size=batch))
        return (metadata["id"] for column in batches for metadata in column)

    return Loader(make, draw, lambda place: _CUT, make)


def _streaming(tables: list[datasets.Dataset]) -> Loader:
    def make() -> datasets.IterableDataset:
        streams = [
            table.to_iterable_dataset().shuffle(seed=42, buffer_size=_SHUFFLE_BUFFER)
            for table in tables
        ]
        return datasets.interleave_datasets(streams, probabilities=[*SOURCES.values()], seed=42)

    def restored(state: dict[str, Any]) -> datasets.IterableDataset:
        fresh = make()
        fresh.load_state_dict(state)
        return fresh

    return Loader(make, _ids_of_rows, lambda stream: stream.state_dict(), restored)


def _torchdata(lists: dict[str, list[dict[str, Any]]]) -> Loader:
    def make(state: dict[str, Any] | None = None) -> Any:
        sources = {
            name: nodes.MapStyleWrapper(
                rows, StatefulDistributedSampler(rows, num_replicas=1, rank=0, seed=42)
            )
            for name, rows in lists.items()
        }
        mixed = nodes.MultiNodeWeightedSampler(sources, dict(SOURCES), seed=42)
        mixed.reset(state)
        return mixed

    return Loader(make, _ids_of_rows, lambda mixed: mixed.state_dict(), make)


def _ids_of_rows(rows: Iterable[dict[str, Any]]) -> Ids:
    return (row["metadata"]["id"] for row in rows)


def _ours(paths: list[str], request: int) -> Loader:
    def make() -> DataSource:
        return ours(paths, n_samples_per_prompt=1)

    def draw(source: DataSource) -> Ids:
        while True:
            for group in source.get_samples(request):
                yield group[0].metadata["id"]

    def state(source: DataSource) -> dict[str, Any]:
        everything = range(source.state_dict()["groups"]["next_group"])
        source.observe([_Trained(number) for number in everything], fate="trained")
        return source.state_dict()

    def restored(state: dict[str, Any]) -> DataSource:
        fresh = make()
        fresh.load_state_dict(state)
        return fresh

    return Loader(make, draw, state, restored)


@dataclasses.dataclass
class _Trained:
    """A sample of a group that is done with."""

    group_index: int


# What is measured of each


def _draw_in_turns(
    loaders: dict[str, Loader],
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Rows per second in each turn, and the largest error of the mixture over all of them."""
    sources = {name: loader.draw(loader.make()) for name, loader in loaders.items()}
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    drawn: dict[str, list[str]] = {name: [] for name in loaders}
    count = _ROWS // _TURNS
    for _ in range(_TURNS):
        for name, source in sources.items():
            began = time.perf_counter()
            drawn[name] += itertools.islice(source, count)
            rates[name].append(count / (time.perf_counter() - began))
    return rates, {name: _largest_deviation(ids) for name, ids in drawn.items()}


def _largest_deviation(ids: list[str]) -> float:
    """How far, after any number of rows, a source is from its share of them."""
    names = np.array([source_of(row_id) for row_id in ids])
    drawn = np.arange(1, len(ids) + 1)
    return max(
        float(np.abs(np.cumsum(names == name) - weight * drawn).max())
        for name, weight in SOURCES.items()
    )


def _resumes(loader: Loader) -> bool:
    """Whether a fresh loader goes on as the one does whose state it got."""
    loaded = loader.make()
    ids = loader.draw(loaded)
    for _ in itertools.islice(ids, _CUT):
        pass
    state = loader.state(loaded)
    expected = list(itertools.islice(ids, _AFTER))
    return list(itertools.islice(loader.draw(loader.restored(state)), _AFTER)) == expected
