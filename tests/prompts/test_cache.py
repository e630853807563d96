from __future__ import annotations

import json
import logging
import os
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum_learning import DataError
from curriculum_learning.config.plan import SourcePlan
from curriculum_learning.prompts.cache import Cache
from curriculum_learning.prompts.files import line_index
from curriculum_learning.prompts.opening import open_rows
from curriculum_learning.prompts.prompts import Prompts
from curriculum_learning.prompts.scan import look
from curriculum_learning.prompts.scan.glance import Glance
from curriculum_learning.weight_scheduler import parse_weight
from tests.harness import data_source, write_rows

ROWS = 6000
"""Enough that what is worked out of them is kept."""


def large_file(folder: Path, name: str = "math", rows: int = ROWS) -> Path:
    """A file of more than a megabyte."""
    path = folder / f"{name}.jsonl"
    write_rows(
        path, ({"input": f"{name} {i} {'x' * 200}", "metadata": {"id": i}} for i in range(rows))
    )
    return path


def source_config(path: Path, **changes: Any) -> SourcePlan:
    """The configuration of a source."""
    return SourcePlan(name="s", path=str(path), weight=parse_weight(1.0, "s"), **changes)


def read_all(prompts: Prompts) -> list[Any]:
    """All prompts of a source."""
    return prompts.read(range(len(prompts)))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was looked through, and not found in the cache."""
    seen: list[str] = []
    for module, name in ((line_index, "_index"), (look, "_look_through")):
        original = getattr(module, name)

        def noted(*args: Any, original: Any = original, name: str = name) -> Any:
            seen.append(name)
            return original(*args)

        monkeypatch.setattr(module, name, noted)
    return seen


def test_a_file_is_looked_through_once(tmp_path: Path, looks: list[str]) -> None:
    """The second time lines and checks come from the cache, and the prompts are the same."""
    path = large_file(tmp_path)
    cache = Cache(tmp_path / "cache")
    first = Prompts(source_config(path), cache=cache)
    assert looks == ["_index", "_look_through"]
    second = Prompts(source_config(path), cache=cache)
    assert len(looks) == 2
    assert read_all(first) == read_all(second)
    assert first.fingerprint == second.fingerprint
    assert pickle.loads(pickle.dumps(second)).read([5]) == first.read([5])
    Prompts(source_config(path, label_key="input"), cache=cache)  # asks more of the rows
    assert looks[2:] == ["_look_through"]


def test_a_changed_file_is_looked_through_again(tmp_path: Path, looks: list[str]) -> None:
    """A file of another time, size or content is another one; so is what it is checked for."""
    path = large_file(tmp_path)
    cache = Cache(tmp_path / "cache")
    Prompts(source_config(path), cache=cache)
    with open(path, "a") as file:
        file.write(json.dumps({"input": "one more"}) + "\n")
    assert len(Prompts(source_config(path), cache=cache)) == ROWS + 1
    assert looks.count("_index") == 2
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"math 0 x", b"math 0 y"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # only the content tells
    changed = Prompts(source_config(path), cache=cache)
    assert changed.read([0])[0].prompt.startswith("math 0 y")
    assert looks.count("_index") == 3
    with open(path, "a") as file:
        file.write('{"input": 3}\n')
    with pytest.raises(DataError, match=rf"line {ROWS + 2}"):
        Prompts(source_config(path), cache=cache)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_folder_that_cannot_be_written_is_said_once(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Then everything is held in memory, and works."""
    path = large_file(tmp_path)
    if kind == "parquet":
        path = as_parquet(path)
    (tmp_path / "a file").touch()
    source = data_source(
        tmp_path, {}, prompt_data=[str(path), str(path)], data_source_weights=[1, 1],
        prompt_data_source_names=["a", "b"], data_source_cache=str(tmp_path / "a file" / "cache"),
    )  # fmt: skip
    assert caplog.text.count("nothing can be kept in the cache folder") == 1
    assert len(source) == 2 * ROWS
    assert source.get_samples(1)[0][0].prompt.startswith("math")


def test_without_a_cache_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip  # noqa: E501
    """With data_source_cache: false no folder is made, and by default it is the user's."""
    path = large_file(tmp_path)
    monkeypatch.delenv("CURRICULUM_LEARNING_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    values = {"prompt_data": [str(path)], "data_source_weights": [1]}
    data_source(tmp_path, {}, **values, data_source_cache=False)
    assert not (tmp_path / "home").exists()
    data_source(tmp_path, {}, **values)
    assert len(list((tmp_path / "home" / "curriculum_learning").iterdir())) == 2


def test_an_unfinished_or_lost_entry_is_made_again(
    tmp_path: Path, looks: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """What a killed process left behind is no entry, and entries may be removed at any time."""
    path = large_file(tmp_path)
    folder = tmp_path / "cache"
    cache = Cache(folder)
    with pytest.raises(KeyboardInterrupt), cache.writing({"what": "x"}):
        raise KeyboardInterrupt
    assert list(folder.iterdir()) == []
    Prompts(source_config(path), cache=cache)
    shutil.rmtree(folder)
    Prompts(source_config(path), cache=cache)
    assert looks == ["_index", "_look_through"] * 2
    for file in folder.glob("*/*.npy"):
        file.write_bytes(file.read_bytes()[:100])
    for file in folder.glob("*/*.json"):
        file.write_bytes(b"{")
    with caplog.at_level(logging.WARNING):
        assert len(Prompts(source_config(path), cache=cache)) == ROWS
    assert caplog.text.count("is damaged and made again") == 2
    assert looks == ["_index", "_look_through"] * 3


def test_a_key_that_is_not_plain_data_keeps_nothing(tmp_path: Path, looks: list[str]) -> None:
    """A chat template may take any arguments; with odd ones the rows are checked each time."""
    path = large_file(tmp_path)
    odd = source_config(path, apply_chat_template_kwargs={"today": object()})
    cache = Cache(tmp_path / "cache")
    assert read_all(Prompts(odd, cache=cache)) == read_all(Prompts(odd, cache=cache))
    assert looks == ["_index", "_look_through", "_look_through"]


def as_parquet(path: Path) -> Path:
    """The rows of a jsonl file as a parquet file in several row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [json.loads(line) for line in path.read_text().splitlines()]
    randomness = random.Random(0)  # so that compression does not make it small
    for row in rows:
        row["noise"] = randomness.randbytes(200)
        row["metadata"]["noise"] = str(randomness.random())
    pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"), row_group_size=1000)
    return path.with_suffix(".parquet")


def test_parquet_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a mapped copy are those of the file, in any order and slice, across its batches."""
    monkeypatch.setattr("curriculum_learning.prompts.kinds.parquet._BATCH", 700)
    path = as_parquet(large_file(tmp_path))
    cache = Cache(tmp_path / "cache")
    plain = open_rows(str(path), "s")
    mapped = open_rows(str(path), "s", cache)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    again = open_rows(str(path), "s", cache)
    wanted = random.Random(1).choices(range(ROWS), k=300)
    expected = plain.records(wanted)
    assert [record["metadata"]["id"] for record in expected] == wanted
    for rows in (mapped, again, pickle.loads(pickle.dumps(mapped))):
        assert len(rows) == ROWS
        assert rows.records(wanted) == expected
        assert rows.records(range(690, 710)) == plain.records(range(690, 710))
        assert rows.fingerprint == plain.fingerprint
    part = open_rows(f"{path}@[650:-100]", "s", cache)
    assert len(part) == ROWS - 750
    assert part.records([0, 60, len(part) - 1]) == plain.records([650, 710, ROWS - 101])


def test_what_is_left_out_is_kept(
    tmp_path: Path, looks: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Lengths are measured once for a tokenizer and a limit; the log says the same again."""
    tokenizer = small_tokenizer()
    path = tmp_path / "lengths.jsonl"
    write_rows(path, ({"input": "a " * (i % 7 + 1)} for i in range(60_000)))
    cache = Cache(tmp_path / "cache")
    with caplog.at_level(logging.INFO):
        first = Prompts(source_config(path, max_prompt_len=4), tokenizer, cache)
        second = Prompts(source_config(path, max_prompt_len=4), tokenizer, cache)
    assert looks == ["_index", "_look_through"]
    assert len(first) == len(second) == sum(i % 7 < 4 for i in range(60_000))
    assert first.read([4, 5]) == second.read([4, 5])
    assert first.fingerprint == second.fingerprint
    assert caplog.text.count("25713 of 60000 prompts left out") == 2
    Prompts(source_config(path, max_prompt_len=5), tokenizer, cache)
    assert looks[2:] == ["_look_through"]


def small_tokenizer() -> Any:
    """A tokenizer of words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    fast: Any = PreTrainedTokenizerFast  # transformers is not typed throughout
    return fast(tokenizer_object=words)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
texts = st.text(max_size=8)
records = st.fixed_dictionaries(
    {},
    optional={
        "input": texts | st.just([{"role": "user", "content": "x"}]) | values,
        "label": values,
        "metadata": st.dictionaries(
            st.sampled_from(["id", "data_source", "source_name", "data_source_row"]), values
        )
        | values,
        "tools": st.none() | st.just([]) | values,
        "other": values,
    },
)
damage = st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=2)), max_size=2)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    rows=st.lists(
        st.builds(lambda text, rest: {"input": text, **rest}, texts, records),
        min_size=1,
        max_size=4,
    ),
    ascii=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\n\n", "\n \t\n"]),
    harm=damage,
    label=st.sampled_from([None, "label", "input"]),
)
def test_the_quick_look_misses_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    ascii: bool,
    end: str,
    harm: list[tuple[int, bytes]],
    label: str | None,
) -> None:
    """Of any file, however damaged, the quick look lets pass what the slow one would: no more."""
    content = "".join(json.dumps(row, ensure_ascii=ascii) + end for row in rows)
    data = content.encode("utf-8", "surrogatepass")
    for place, byte in harm:
        place %= len(data)
        data = data[:place] + byte + data[place + 1 :]
    path = tmp_path_factory.getbasetemp() / "damaged.jsonl"
    path.write_bytes(data)
    outcomes: list[Any] = []
    for quick in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not quick:
                patch.setattr(Glance, "passes", lambda glance, batch: False)
            try:
                prompts = Prompts(source_config(path, label_key=label))
            except DataError as error:
                outcomes.append(str(error))
            else:
                outcomes.append(repr(read_all(prompts)))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("small", [True, False])
def test_parquet_of_any_text_columns(tmp_path: Path, small: bool) -> None:
    """Dictionaries that differ between row groups, and views of texts, also inside others."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 20 if small else 3000
    texts = [f"{i} {random.Random(i).randbytes(400).hex()}" for i in range(rows)]
    label = pa.array([f"label {i // 5}" for i in range(rows)]).dictionary_encode()
    numbers, ends = pa.array(range(rows)), pa.array(range(rows + 1), pa.int32())
    columns = {"input": pa.array(texts).cast(pa.string_view()), "label": label,
               "metadata": pa.StructArray.from_arrays([label, numbers], ["kind", "n"]),
               "tags": pa.ListArray.from_arrays(ends, label)}  # fmt: skip
    path = tmp_path / "views.parquet"
    table = pa.table(columns)
    with pq.ParquetWriter(path, table.schema) as writer:
        for start in range(0, rows, rows // 4):
            writer.write_table(table.slice(start, rows // 4).unify_dictionaries())
    assert (path.stat().st_size < 1 << 20) == small
    found = open_rows(str(path), "s", Cache(tmp_path / "cache"))
    for row in (0, rows // 2, rows - 1):
        (record,) = found.records([row])
        kind = f"label {row // 5}"
        expected = {"input": texts[row], "label": kind, "metadata": {"kind": kind, "n": row},
                    "tags": [kind]}  # fmt: skip
        assert record == expected


def test_more_sources_than_files_that_may_be_open(tmp_path: Path) -> None:
    """2,000 sources are read where a process may have 1,024 files open."""
    resource = pytest.importorskip("resource")
    paths = [write_rows(tmp_path / f"{i}.jsonl", [{"input": f"row of {i}"}]) for i in range(2000)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, soft), hard))
    try:
        opened = [open_rows(path, "s") for path in paths]
        for _ in range(2):
            assert [rows.records([0])[0]["input"] for rows in opened] == [
                f"row of {i}" for i in range(2000)
            ]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    os.replace(paths[1], paths[0])
    with pytest.raises(OSError, match="replaced by another file"):
        opened[0].records([0])
