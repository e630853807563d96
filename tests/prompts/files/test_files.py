"""Files of every kind, packed or not, alone or as shards: the same rows."""

from __future__ import annotations

import gzip
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum_learning import DataError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.prompts.cache import Cache
from curriculum_learning.prompts.files.arrow import ArrowRows
from curriculum_learning.prompts.opening import open_rows
from curriculum_learning.prompts.scan.numbers import read_numbers
from tests.fuzz.targets import prompt_file
from tests.harness import check_resume, data_source, name_of, write_rows

Row = dict[str, Any]
ROWS: list[Row] = [
    {"input": f"prompt {n}\nof two lines", "label": f"{n} x", "n": n} for n in range(20)
]
LARGE: list[Row] = [{"input": f"{n} " + "x" * 200, "label": "y", "n": n} for n in range(6000)]


def _write_jsonl(path: Path, rows: list[Row]) -> None:
    write_rows(path, rows)


def _write_json(path: Path, rows: list[Row]) -> None:
    path.write_text(json.dumps(rows, indent=2))


def _write_csv(path: Path, rows: list[Row]) -> None:
    pyarrow.csv.write_csv(pa.Table.from_pylist(rows), path)


def _write_parquet(path: Path, rows: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def _write_arrow(path: Path, rows: list[Row]) -> None:
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=7)


WRITERS: dict[str, Callable[[Path, list[Row]], None]] = {
    "jsonl": _write_jsonl,
    "json": _write_json,
    "csv": _write_csv,
    "parquet": _write_parquet,
    "arrow": _write_arrow,
}
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def write(folder: Path, kind: str, packing: str, rows: list[Row], stem: str = "rows") -> Path:
    """A file of a kind."""
    plain = folder / f"{stem}.{kind}"
    WRITERS[kind](plain, rows)
    if not packing:
        return plain
    packed = folder / f"{stem}.{kind}{packing}"
    packed.write_bytes(PACKINGS[packing](plain.read_bytes()))
    plain.unlink()
    return packed


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("rows", [ROWS, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("is_cached", [True, False])
def test_every_kind_of_file_gives_the_same_rows(
    tmp_path: Path, kind: str, packing: str, rows: list[Row], is_cached: bool
) -> None:
    """Rows, slices, copies and later starts are the same, from the cache and without one."""
    path = write(tmp_path, kind, packing, rows)
    cache = Cache(tmp_path / "cache" if is_cached else None)
    for _ in range(2):
        opened = open_rows(str(path), "s", cache)
        assert opened.records(range(len(opened))) == rows
        assert pickle.loads(pickle.dumps(opened)).records([3, 1]) == [rows[3], rows[1]]
        assert open_rows(f"{path}@[-4:-1]", "s", cache).records(range(3)) == rows[-4:-1]
        assert opened.fingerprint["rows"] == len(rows)
    with pytest.raises(IndexError):
        opened.records([len(rows)])


def test_packing_does_not_change_what_lines_are(tmp_path: Path) -> None:
    """A state saved over a file of lines fits the same file packed, and its shards."""
    prints = [
        open_rows(str(write(tmp_path, "jsonl", packing, ROWS)), "s").fingerprint
        for packing in PACKINGS
    ]
    assert prints[0] == prints[1] == prints[2]


damage = st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=3)), max_size=4)


@pytest.mark.parametrize("kind", ["json", "csv", "parquet", "arrow", "jsonl.gz", "jsonl.zst"])
@settings(deadline=None, max_examples=60)
@given(changes=damage)
def test_damaged_files_are_refused_or_served(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changes: list[tuple[int, bytes]]
) -> None:
    """Whatever is written over parts of a file, it is a DataError, or every row can be served."""
    ending, _, packing = kind.partition(".")
    folder = tmp_path_factory.mktemp("damaged")
    path = write(folder, ending, packing and f".{packing}", ROWS)
    content = bytearray(path.read_bytes())
    for place, piece in changes:
        start = place % len(content)
        content[start : start + len(piece)] = piece
    prompt_file(bytes(content), kind)


counts = st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(sum)


@settings(deadline=None, max_examples=30)
@given(counts=counts, start=st.none() | st.integers(-30, 30), stop=st.none() | st.integers(-30, 30))
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_shards_are_one_source(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    counts: list[int],
    start: int | None,
    stop: int | None,
) -> None:
    """A folder and a glob give the rows of the files by name, and a slice is of all of them."""
    folder = tmp_path_factory.mktemp("shards")
    (folder / "README.md").touch()
    (folder / ".hidden.jsonl").touch()
    rows: list[Row] = []
    for number, count in enumerate(counts):
        part = [{"n": len(rows) + at, "input": "x"} for at in range(count)]
        rows += part
        if kind == "jsonl":
            write(folder, kind, "", part, f"part-{number}")
        else:
            table = pa.Table.from_pylist(part, pa.schema({"n": pa.int64(), "input": pa.string()}))
            pq.write_table(table, folder / f"part-{number}.parquet")
    for path in (str(folder), f"{folder}/*.{kind}"):
        opened = open_rows(path, "s")
        assert opened.records(range(len(rows))) == rows
        assert opened.records([len(rows) - 1, 0]) == [rows[-1], rows[0]]
    text = f"{folder}@[{'' if start is None else start}:{'' if stop is None else stop}]"
    expected = rows[start:stop]
    if expected:
        assert open_rows(text, "s").records(range(len(expected))) == expected
    else:
        with pytest.raises(DataError, match="no rows"):
            open_rows(text, "s")


def test_a_row_of_a_shard_is_found(tmp_path: Path) -> None:
    """An error names the shard and its line."""
    write(tmp_path, "jsonl", "", ROWS, "a")
    write(tmp_path, "jsonl", ".gz", [{"input": "x"}, {"input": 3}], "b")
    with pytest.raises(DataError, match=r"b\.jsonl\.gz, line 2: input_key"):
        data_source(tmp_path, {}, prompt_data=[str(tmp_path)], data_source_weights=[1])


def test_shards_may_be_added(tmp_path: Path) -> None:
    """A resume goes on where it was if shards are added at the end, and not if one has changed."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(2):
        write(folder, "jsonl", "", ROWS[number * 5 : number * 5 + 5], f"part-{number}")
    values = {"prompt_data": [str(folder)], "data_source_weights": [1]}
    first = data_source(tmp_path, {}, **values)
    served = [group[0].prompt for group in first.get_samples(4)]
    state = first.state_dict()
    write(folder, "jsonl", "", ROWS[10:15], "part-2")
    write_rows(folder / "part-2.jsonl", ROWS[10:15])
    second = data_source(tmp_path, {}, **values, on_source_change="adopt")
    second.load_state_dict(state)
    served += [group[0].prompt for group in second.get_samples(6)]
    assert sorted(served) == sorted(row["input"] for row in ROWS[:10])
    assert {g[0].prompt for g in second.get_samples(15)} == {row["input"] for row in ROWS[:15]}
    write_rows(folder / "part-0.jsonl", ROWS[15:20])
    with pytest.raises(Exception, match="shard 1 has changed"):
        data_source(tmp_path, {}, **values).load_state_dict(state)


@pytest.mark.parametrize("packing", ["", ".zst"])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_run_over_each_kind_resumes_exactly(tmp_path: Path, kind: str, packing: str) -> None:
    """Cut anywhere, a run over a file of each kind goes on as if it had not been."""
    args = {
        "prompt_data": str(write(tmp_path, kind, packing, ROWS)),
        "rollout_shuffle": True,
        "label_key": "label",
    }
    check_resume(lambda: DataSource(args), serve, 4, tmp_path)


def test_a_mixture_of_all_kinds_resumes_exactly(tmp_path: Path) -> None:
    """Files of five kinds, shards, a data set and a generator in one run."""
    files = [str(write(tmp_path, kind, "", ROWS, kind)) for kind in WRITERS]
    (tmp_path / "shards").mkdir()
    for number in range(3):
        write(tmp_path / "shards", "jsonl", ".gz", ROWS[number * 4 :][:4], f"part-{number}")
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    others = [str(tmp_path / "shards"), str(tmp_path / "saved"), "tests.prompts.generators.squares"]
    args = {
        "prompt_data": [*files, *others],
        "data_source_weights": [1, 2, 3, 4, 5, 6, 7, 8],
        "rollout_shuffle": True,
        "label_key": "label",
    }
    check_resume(lambda: DataSource(args), serve, 5, tmp_path)


def serve(source: DataSource, step: int) -> list[tuple[str, str, str]]:
    """Source, prompt and label of the next groups."""
    return [
        (name_of(group), group[0].prompt, group[0].label) for group in source.get_samples(7 + step)
    ]


def test_odd_json_and_csv(tmp_path: Path) -> None:
    """NaN, long numbers and lines in .json; dates, empty fields and leading zeros in .csv."""
    path = tmp_path / "odd.json"
    path.write_text('[{"n": NaN}, {"n": 123456789012345678901234567890}]')
    first, second = open_rows(str(path), "s").records([0, 1])
    assert math.isnan(first["n"])
    assert second["n"] == 123456789012345678901234567890
    path.write_text('{"n": 1}\n{"n": 2}\n')
    assert open_rows(str(path), "s").records([1]) == [{"n": 2}]
    table = tmp_path / "odd.csv"
    table.write_text('input,day,score\n"a, ""b""",2024-01-02,1.5\nc,2024-01-03,\n')
    assert open_rows(str(table), "s").records([0, 1]) == [
        {"input": 'a, "b"', "day": "2024-01-02", "score": 1.5},
        {"input": "c", "day": "2024-01-03", "score": None},
    ]


@pytest.mark.parametrize("packing", [".gz", ".zst"])
@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_a_packed_file_that_is_cut_off_is_an_error(tmp_path: Path, kind: str, packing: str) -> None:
    """It is never a shorter file; nothing of it stays in the cache."""
    path = write(tmp_path, kind, packing, LARGE)
    path.write_bytes(path.read_bytes()[:-9])
    cache = Cache(tmp_path / "cache")
    for _ in range(2):
        with pytest.raises(DataError, match="cut off or damaged"):
            open_rows(str(path), "s", cache)
    assert not list((tmp_path / "cache").glob("*"))


entries = st.none() | st.integers(-5, 5) | st.floats(width=32)
tables = st.lists(st.tuples(entries, entries, st.booleans()), min_size=1, max_size=12)


@settings(deadline=None, max_examples=50)
@given(rows=tables, kinds=st.lists(st.sampled_from(["n", "x", "n x", "bool", "text"]), max_size=2))
def test_numbers_are_the_same_by_row_and_by_column(
    rows: list[tuple[Any, Any, bool]], kinds: list[str]
) -> None:
    """Scores of Arrow rows are those of the same rows as JSON: metadata first, then the column."""
    records: list[Row] = []
    for inner, outer, has_metadata in rows:
        record: Row = {"input": "x"}
        if kinds:
            record["n"] = {"bool": True, "text": "7"}.get(kinds[0], outer)
        if len(kinds) == 2:
            entry = {"bool": False, "text": "8"}.get(kinds[1], inner)
            record["metadata"] = {"n": entry, "m": 1} if has_metadata else None
        records.append(record)
    made = pa.Table.from_pylist(records)
    by_column = ArrowRows("t", made.to_batches(max_chunksize=5), {})
    expected = [plain_number(record) for record in made.to_pylist()]
    np.testing.assert_array_equal(read_numbers(by_column, "metadata", "n"), expected)


def plain_number(record: Row) -> float:
    """The number n of a row."""
    inner = (record.get("metadata") or {}).get("n")
    value: Any = record.get("n") if inner is None else inner
    return float(value) if type(value) in (int, float) else math.nan
