from __future__ import annotations

import gc
import os
import pickle
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum_learning import DataError
from curriculum_learning.prompts.opening import open_rows
from curriculum_learning.prompts.rows import Rows
from tests.harness import write_rows


def numbers(rows: Rows) -> list[int]:
    """The column n of all rows."""
    return [record["n"] for record in rows.records(range(len(rows)))]


def file_of_numbers(folder: Path, kind: str, count: int) -> str:
    """A file with the column n = 0, 1, ..."""
    path = folder / f"numbers.{kind}"
    if kind == "jsonl":
        return write_rows(path, ({"n": n} for n in range(count)))
    pq.write_table(pa.table({"n": list(range(count))}), path)
    return str(path)


bounds = st.none() | st.integers(-15, 15)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@settings(deadline=None)
@given(start=bounds, stop=bounds)
def test_slices_are_pythons(
    tmp_path_factory: pytest.TempPathFactory, kind: str, start: int | None, stop: int | None
) -> None:
    """path@[a:b] serves exactly the rows of a Python slice, negative bounds included."""
    path = file_of_numbers(tmp_path_factory.mktemp("rows"), kind, 10)
    expected = list(range(10))[start:stop]
    text = f"{path}@[{'' if start is None else start}:{'' if stop is None else stop}]"
    if not expected:
        with pytest.raises(DataError, match="no rows"):
            open_rows(text, "s")
        return
    assert numbers(open_rows(text, "s")) == expected


def test_odd_but_good_lines(tmp_path: Path) -> None:
    """Blank lines, CRLF, a byte order mark, unicode separators, long and unended lines are rows."""
    path = tmp_path / "odd.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"n": 0}\r\n\n  \t \r\n {"n": 1, "text": "a\xe2\x80\xa8b\xc2\x85c"}\n'
        b'{"n": 2, "long": "' + b"x" * 3_000_000 + b'"}\n\n{"n": 3}'
    )
    rows = open_rows(str(path), "s")
    assert numbers(rows) == [0, 1, 2, 3]
    assert rows.records([1])[0]["text"] == "a\u2028b\x85c"
    assert rows.where(1).endswith("odd.jsonl, line 4")


@pytest.mark.parametrize(
    ("line", "problem"), [('{"n": 1', "not valid JSON"), ("[1]", "list"), ("nonsense", "JSON")]
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    """A malformed line is an error with source, file and line number."""
    path = tmp_path / "bad.jsonl"
    path.write_text('{"n": 0}\n\n' + line + "\n")
    rows = open_rows(str(path), "math")
    with pytest.raises(DataError, match=rf"'math', .*bad\.jsonl, line 3 .*{problem}") as raised:
        rows.records([1])
    assert raised.value.source == "math"


@pytest.mark.parametrize(
    ("name", "problem"),
    [("nosuch.jsonl", "does not exist"), ("data.txt", "no file of rows"),
     ("folder.jsonl", "a folder without any file of rows"), ("empty.jsonl", "no rows"),
     ("broken.parquet", "parquet")],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, name: str, problem: str) -> None:
    """A missing, foreign, empty or broken file is one error with source and path."""
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "data.txt").touch()
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "broken.parquet").write_text("not parquet")
    with pytest.raises(DataError, match=problem) as raised:
        open_rows(str(tmp_path / name), "math")
    assert "math" in str(raised.value)
    assert name in str(raised.value)


def test_a_file_cut_off_while_in_use_is_an_error(tmp_path: Path) -> None:
    """A row that is no longer there is an error, not an empty row."""
    path = file_of_numbers(tmp_path, "jsonl", 10)
    rows = open_rows(path, "s")
    os.truncate(path, 30)
    with pytest.raises(DataError, match="cut off"):
        rows.records([9])


def test_fingerprints_follow_the_rows_not_the_place(tmp_path: Path) -> None:
    """The fingerprint is that of the content and the slice, wherever the file lies."""
    path = file_of_numbers(tmp_path, "jsonl", 1000)
    first = open_rows(path, "s").fingerprint
    moved = tmp_path / "moved.jsonl"
    os.rename(path, moved)
    assert open_rows(str(moved), "s").fingerprint == first
    assert open_rows(f"{moved}@[:900]", "s").fingerprint != first
    content = moved.read_text()
    moved.write_text(content.replace('{"n": 0}', '{"n": 7}'))
    assert open_rows(str(moved), "s").fingerprint != first


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_threads_forks_and_copies_read_undisturbed(tmp_path: Path, kind: str) -> None:
    """Threads share no file position; a forked and a pickled copy read by themselves."""
    rows = open_rows(file_of_numbers(tmp_path, kind, 500), "s")
    wrong: list[int] = []

    def read(start: int) -> None:
        for n in range(start, 500, 4):
            wrong.extend(record["n"] for record in rows.records([n]) if record["n"] != n)

    threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    if kind == "jsonl":
        assert numbers(pickle.loads(pickle.dumps(rows))) == list(range(500))
        child = os.fork()
        if child == 0:
            os._exit(0 if numbers(rows) == list(range(500)) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert numbers(rows) == list(range(500))


def test_numbers_of_any_size_and_nan_are_kept(tmp_path: Path) -> None:
    """What Python writes as JSON comes back: long integers, NaN; broken text is refused."""
    path = tmp_path / "odd.jsonl"
    path.write_text(
        '{"n": 123456789012345678901234567890, "m": 18446744073709551616}\n{"n": NaN}\n'
    )
    first, second = open_rows(str(path), "s").records([0, 1])
    assert first == {"n": 123456789012345678901234567890, "m": 2**64}
    assert second["n"] != second["n"]
    path.write_text('{"n": "\\ud83d"}\n')
    with pytest.raises(DataError, match=r"line 1 is not valid JSON"):
        open_rows(str(path), "s").records([0])


def test_files_are_closed(tmp_path: Path) -> None:
    """Neither sources that are let go nor failed openings keep files open."""
    path = file_of_numbers(tmp_path, "jsonl", 10)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        with pytest.raises(DataError):
            open_rows(f"{path}@[20:]", "s")
        open_rows(path, "s").records([1])
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before
    rows = open_rows(path, "s")
    rows.close()
    with pytest.raises(ValueError, match="closed"):
        rows.records([1])


def test_many_row_groups_are_one_table(tmp_path: Path) -> None:
    """Rows of a parquet file with many row groups are found, in any order and in a slice."""
    path = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"n": list(range(1000))}), path, row_group_size=7)
    rows = open_rows(f"{path}@[10:-10]", "s")
    assert numbers(rows) == list(range(10, 990))
    assert [record["n"] for record in rows.records([979, 0, 500])] == [989, 10, 510]
    assert rows.where(0).endswith("numbers.parquet, row 10")
