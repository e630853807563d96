"""Many rows in shards, in a packed file, and without end: beside ``datasets`` and torchdata."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from torchdata import nodes

from benchmarks.figures import Figure, Findings, Table, quantity
from benchmarks.fresh import own_memory, run_fresh, seconds_of
from benchmarks.sources import ours

_SHARDS, _ROWS = 64, 10_000_000
_LINES = 1_000_000
_DRAWN = 5_000
_GENERATED = 50_000
_REQUEST = 256

Row = dict[str, Any]


def measure(folder: str) -> dict[str, Any]:
    """Figures of starts and draws, every one of a process of its own."""
    rows: list[list[str]] = []
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(dir=folder) as name:
        for kind, write, most in (("parquet", "write_shards", 3.0), ("lines", "write_lines", 1.0)):
            files, cache = Path(name) / kind, Path(name) / f"cache {kind}"
            files.mkdir()
            label = run_fresh(f"{__name__}:{write}", str(files), cache=cache)
            for who in ("ours", "theirs"):
                runs = [
                    run_fresh(f"{__name__}:{who}_start", str(files), cache=cache) for _ in range(3)
                ]
                first, *again = runs
                best = min(again, key=lambda run: run["seconds"])
                columns = zip(("seconds", "draw", "own"), _UNITS, strict=True)
                measured = [quantity(best[column], unit) for column, unit in columns]
                rows.append([label, _NAMES[who], quantity(first["seconds"], "s"), *measured])
                if who == "ours":
                    detail = f"first time {quantity(first['seconds'], 's')} (once)"
                    work = f"start, {label}, again"
                    figures.append(Figure(work, best["seconds"], "s", at_most=most, detail=detail))
    heads = [
        "",
        "",
        "start, first time",
        "again",
        f"{_DRAWN:,} random rows",
        "memory beyond imports and mapped files",
    ]
    tables = [Table("many rows, as one source", heads, rows), _generators()]
    return Findings(figures, tables).as_data()


_NAMES = {"ours": "this library", "theirs": "datasets"}
_UNITS = ("s", "s", "MB")


def write_shards(folder: str) -> str:
    """Write 64 shards of parquet with texts, labels and metadata."""
    count = _ROWS // _SHARDS
    words = pa.array([f"add {at} and {at * 7 % 1000}, then double it" for at in range(1000)])
    for number in range(_SHARDS):
        rows = np.arange(number * count, (number + 1) * count)
        metadata = pa.StructArray.from_arrays([pa.array(rows), pa.array(rows % 5)], ["id", "level"])
        table = pa.table(
            {"input": words.take(rows % 1000), "label": pa.array(rows), "metadata": metadata}
        )
        pq.write_table(table, Path(folder) / f"part-{number:05}-of-{_SHARDS:05}.parquet")
    return f"{_ROWS:,} rows in {_SHARDS} shards of parquet"


def write_lines(folder: str) -> str:
    """Write a packed file of lines."""
    with zstandard.open(Path(folder) / "rows.jsonl.zst", "w") as file:
        for row in range(_LINES):
            file.write(
                f'{{"input": "add {row % 97} and {row}, then double it", "label": "{row}", '
                f'"metadata": {{"id": {row}, "level": {row % 5}}}}}\n'
            )
    return f"{_LINES:,} rows of jsonl.zst"


def ours_start(folder: str) -> dict[str, float]:
    """Start a data source and draw random rows, as samples."""
    bare, made = own_memory(), list[Any]()
    started = seconds_of(lambda: made.append(_source(folder)))
    (source,) = made
    drawn = seconds_of(lambda: [source.get_samples(_REQUEST) for _ in range(_DRAWN // _REQUEST)])
    return {"seconds": started, "draw": drawn, "own": own_memory() - bare}


def _source(prompts: Any) -> Any:
    return ours([prompts], data_source_weights=[1.0], n_samples_per_prompt=1)


def theirs_start(folder: str) -> dict[str, float]:
    """Load the rows with ``datasets`` and read random ones."""
    datasets.disable_progress_bars()
    files = sorted(str(path) for path in Path(folder).iterdir())
    kind = "parquet" if files[0].endswith("parquet") else "json"
    cache = os.path.join(os.path.dirname(folder), f"datasets {kind}")
    bare, began = own_memory(), time.perf_counter()
    rows = datasets.load_dataset(kind, data_files=files, split="train", cache_dir=cache)
    started = time.perf_counter() - began
    order = np.random.default_rng(1).integers(0, len(rows), _DRAWN).tolist()
    drawn = seconds_of(
        lambda: [rows[order[at : at + _REQUEST]] for at in range(0, _DRAWN, _REQUEST)]
    )
    return {"seconds": started, "draw": drawn, "own": own_memory() - bare}


def generated(index: int) -> Row:
    """A row of a generator without end."""
    return {"input": f"add {index} and {index * 7}", "label": str(index * 8), "metadata": {}}


def _endless() -> Iterator[Row]:
    return map(generated, itertools.count())


def _generators() -> Table:
    source = _source("benchmarks.kinds.generated")

    def own() -> Iterator[Any]:
        while True:
            yield from source.get_samples(_REQUEST)

    stream = datasets.IterableDataset.from_generator(_endless)
    node: Any = nodes.IterableWrapper(_Stream())
    node.reset()
    readers: dict[str, Callable[[], Any]] = {
        "this library, as samples that it tracks": own,
        "datasets.IterableDataset.from_generator": lambda: iter(stream),
        "torchdata.nodes.IterableWrapper": lambda: iter(node),
    }
    rows = []
    for name, reader in readers.items():
        rows_of = reader()
        next(rows_of)
        began = time.perf_counter()
        for _ in itertools.islice(rows_of, _GENERATED):
            pass
        seconds = time.perf_counter() - began
        rows.append([name, f"{_GENERATED / seconds / 1e3:,.0f}k"])
    return Table("rows of a generator without end", ["", "rows a second"], rows)


class _Stream:
    """What torchdata can iterate over again."""

    def __iter__(self) -> Iterator[Row]:
        return _endless()
