from __future__ import annotations

import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curriculum_learning import CheckpointError, ConfigurationError, DataError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from tests.harness import write_rows


def serve(path: str, count: int = 1, **changes: Any) -> list[list[Any]]:
    """The first groups of a data source over one file in file order."""
    return DataSource({"prompt_data": path, "n_samples_per_prompt": 2, **changes}).get_samples(
        count
    )


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_prompt_label_metadata_and_tools(tmp_path: Path, kind: str) -> None:
    """Text and chat prompts, labels, metadata and tools arrive as they are in the file."""
    rows: list[dict[str, Any]] = [
        {"q": "short", "a": "1", "meta": {"id": 0, "tags": ["x"]}, "tools": '[{"name": "f"}]'},
        {"q": "long", "a": "2", "meta": {"id": 1, "tags": []}, "tools": None},
    ]
    path = str(tmp_path / f"rows.{kind}")
    if kind == "jsonl":
        write_rows(Path(path), rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    first, second = serve(path, 2, input_key="q", label_key="a", metadata_key="meta")
    assert [sample.prompt for sample in (*first, *second)] == ["short", "short", "long", "long"]
    assert first[0].label == "1"
    assert first[0].metadata["tags"] == ["x"]
    assert first[0].metadata["tools"] == [{"name": "f"}]
    assert second[1].metadata["id"] == 1
    assert "tools" not in second[0].metadata


def test_chat_prompts_without_a_template_stay_messages(tmp_path: Path) -> None:
    """A list of messages is served as it is, each sample with its own copy."""
    messages = [{"role": "user", "content": "short"}]
    (group,) = serve(write_rows(tmp_path / "chat.jsonl", [{"input": messages}]))
    assert group[0].prompt == group[1].prompt == messages
    group[0].prompt[0]["content"] = "changed"
    assert group[1].prompt == messages


def test_the_chat_template_is_applied(tmp_path: Path, checkpoint: str) -> None:
    """Text becomes a user message; tools and template arguments reach the template."""
    path = write_rows(
        tmp_path / "chat.jsonl",
        [
            {"input": "short"},
            {"input": [{"role": "system", "content": "s"}], "tools": [{"name": "f"}]},
        ],
    )
    first, second = serve(
        path, 2, hf_checkpoint=checkpoint, apply_chat_template=True,
        apply_chat_template_kwargs={"mark": "!"}, dump_details=str(tmp_path / "dump"),
    )  # fmt: skip
    assert first[0].prompt == "<user> short !<assistant>"
    assert second[0].prompt == "tools: 1 <system> s !<assistant>"
    assert (tmp_path / "dump" / "tokenizer" / "tokenizer.json").exists()


def test_long_prompts_are_left_out_and_counted(
    tmp_path: Path, checkpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Prompts over the limit are not served, their number is logged, and len() is without them."""
    path = write_rows(
        tmp_path / "rows.jsonl", ({"input": " ".join(["long"] * n)} for n in (1, 5, 2, 6, 3))
    )
    args = {"prompt_data": path, "hf_checkpoint": checkpoint, "rollout_max_prompt_len": 3}
    with caplog.at_level(logging.INFO):
        source = DataSource(args)
    assert len(source) == 3
    assert "2 of 5 prompts left out" in caplog.text
    lengths = [len(group[0].prompt.split()) for group in source.get_samples(6)]
    assert lengths == [1, 2, 3, 1, 2, 3]
    path = write_rows(tmp_path / "all_long.jsonl", [{"input": "long long long long"}])
    with pytest.raises(ConfigurationError, match="none of its 1 prompts") as raised:
        DataSource({**args, "prompt_data": path})
    assert raised.value.key == "rollout_max_prompt_len"


def test_the_length_limit_does_not_apply_to_messages(
    tmp_path: Path, checkpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Messages without a template cannot be measured: they are kept, with a warning."""
    path = write_rows(
        tmp_path / "chat.jsonl", [{"input": [{"role": "user", "content": "long " * 9}]}]
    )
    assert serve(path, hf_checkpoint=checkpoint, rollout_max_prompt_len=3)
    assert "does not apply to 1 prompts" in caplog.text


def test_keys_may_differ_per_source(tmp_path: Path, checkpoint: str) -> None:
    """Each source may have columns, label and template of its own."""
    paths = [
        write_rows(
            tmp_path / "math.jsonl", [{"question": "short", "answer": "1", "info": {"x": 1}}]
        ),
        write_rows(tmp_path / "code.jsonl", [{"input": "long", "metadata": {"x": 2}}]),
    ]
    source = DataSource(
        {
            "prompt_data": paths, "data_source_weights": [1, 1], "hf_checkpoint": checkpoint,
            "input_key": ["question", "input"], "label_key": ["answer", None],
            "metadata_key": {"code": "metadata", "math": "info"},
            "apply_chat_template": [True, False],
        }
    )  # fmt: skip
    by_name = {group[0].metadata["data_source"]: group[0] for group in source.get_samples(2)}
    assert (by_name["math"].prompt, by_name["math"].label) == ("<user> short <assistant>", "1")
    assert (by_name["code"].prompt, by_name["code"].label) == ("long", None)
    assert [by_name[name].metadata["x"] for name in ("math", "code")] == [1, 2]


def test_a_rows_own_source_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A row's own data_source or source_name is kept under data_source_original, with a warning."""
    path = write_rows(
        tmp_path / "math.jsonl",
        [
            {"input": "a", "metadata": {"data_source": "gsm8k", "id": 1}},
            {"input": "b", "metadata": {"source_name": "aime", "data_source": "aime"}},
            {"input": "c", "metadata": {"source_name": "x", "data_source": "y"}},
            {"input": "d", "metadata": {"id": 4}},
        ],
    )
    groups = serve(path, 4)
    assert [group[0].metadata.get("data_source_original") for group in groups] == [
        "gsm8k", "aime", {"data_source": "y", "source_name": "x"}, None,
    ]  # fmt: skip
    assert {group[0].metadata["data_source"] for group in groups} == {"math"}
    assert caplog.text.count("3 rows") == len(caplog.records) == 1


@pytest.mark.parametrize(
    ("row", "changes", "piece"),
    [
        (
            {"text": "a"},
            {},
            "set input_key (also by source) to one of its columns, ['text']",
        ),
        ({"input": None}, {}, "input_key 'input' is None, neither text"),
        ({"input": 5}, {}, "neither text nor a list of messages"),
        ({"input": []}, {}, "neither text nor a list of messages"),
        ({"input": ["a"]}, {}, "neither text nor a list of messages"),
        ({"input": "a"}, {"label_key": "label"}, "label_key 'label' is missing"),
        ({"input": "a", "metadata": "b"}, {}, "metadata_key 'metadata' is 'b', not a mapping"),
        ({"input": "a", "tools": "{"}, {}, "tools' is not valid JSON"),
        ({"input": "a", "tools": 5}, {}, "is a int, not a list"),
    ],
)
def test_a_bad_row_is_found_at_the_start(
    tmp_path: Path, row: dict[str, Any], changes: dict[str, Any], piece: str
) -> None:
    """A row that cannot be served is an error at construction, with source, file and line."""
    path = write_rows(tmp_path / "math.jsonl", [{"input": "good", "label": "1"}, row])
    with pytest.raises(DataError) as raised:
        DataSource({"prompt_data": path, **changes})
    assert "source 'math'" in str(raised.value)
    assert "math.jsonl, line 2" in str(raised.value)
    assert piece in str(raised.value)
    assert raised.value.source == "math"


@pytest.mark.parametrize("key", ["apply_chat_template", "rollout_max_prompt_len"])
def test_a_missing_tokenizer_is_named(tmp_path: Path, key: str) -> None:
    """What needs a tokenizer says so, and where to set it."""
    path = write_rows(tmp_path / "math.jsonl", [{"input": "a"}])
    value = {"apply_chat_template": True, "rollout_max_prompt_len": 5}[key]
    with pytest.raises(ConfigurationError, match=f"{key} needs a tokenizer, and hf_checkpoint"):
        DataSource({"prompt_data": path, key: value})
    with pytest.raises(ConfigurationError, match="has no tokenizer that can be loaded"):
        DataSource({"prompt_data": path, key: value, "hf_checkpoint": str(tmp_path)})


def test_what_no_state_file_can_hold_is_found_at_the_start(tmp_path: Path) -> None:
    """A parquet column of a kind that a state could not hold is refused with its row."""
    path = tmp_path / "math.parquet"
    table = pa.table({"input": ["a", "b"], "metadata": [{"n": Decimal("1.5")}, {"n": None}]})
    pq.write_table(table, path)
    with pytest.raises(DataError, match=r"'math', .*math\.parquet, row 0: 'metadata\.n'.*Decimal"):
        serve(str(path))


def test_values_in_tuples_are_not_shared(tmp_path: Path) -> None:
    """A map column arrives as pairs; changing what is in one changes no other sample."""
    path = tmp_path / "math.parquet"
    kind = pa.struct([("m", pa.map_(pa.string(), pa.list_(pa.int64())))])
    column = pa.array([{"m": [("k", [1])]}], type=kind)
    pq.write_table(pa.table({"input": ["a"], "metadata": column}), path)
    (group,) = serve(str(path))
    group[0].metadata["m"][0][1].append(99)
    assert group[1].metadata["m"] == [("k", [1])]


def test_labels_are_not_shared(tmp_path: Path) -> None:
    """A label that is a list is each sample's own."""
    path = write_rows(tmp_path / "math.jsonl", [{"input": "a", "label": [1], "metadata": []}])
    (group,) = serve(path, label_key="label")
    group[0].label.append(2)
    assert group[1].label == [1]


def test_the_rows_that_are_kept_are_part_of_the_state(tmp_path: Path, checkpoint: str) -> None:
    """A limit that keeps as many rows, but others, is another source on resume."""
    rows = [{"input": text} for text in ("long", "long long", "long long long")]
    path = write_rows(tmp_path / "math.jsonl", rows)
    args = {"prompt_data": path, "hf_checkpoint": checkpoint, "save": str(tmp_path)}
    DataSource({**args, "rollout_max_prompt_len": 2}).save(0)
    other = {**args, "rollout_max_prompt_len": 1, "prompt_data": f"{path}@[:]"}
    with pytest.raises(CheckpointError, match="max_prompt_len 2 -> 1"):
        DataSource(other).load(0)


class _Failing:
    """A tokenizer that raises wherever ``where`` says."""

    chat_template, special_tokens_map = "", "{}"

    def __init__(self, where: str, error: BaseException) -> None:
        self._where, self._error = where, error

    def _at(self, where: str) -> None:
        if self._where == where:
            raise self._error

    @property
    def backend_tokenizer(self) -> None:
        self._at("key")

    def save_pretrained(self, folder: Path) -> None:
        self._at("save")

    def apply_chat_template(self, *_: object, **__: object) -> object:
        self._at("template")
        return 5 if self._where == "no text" else "text"

    def __call__(self, texts: list[str], **_: object) -> dict[str, list[list[int]]]:
        self._at("tokens")
        return {"input_ids": [] if self._where == "no tokens" else [[1]] * len(texts)}


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), SystemExit(0), OSError(5, "x")])
@pytest.mark.parametrize(
    "where", ["load", "key", "save", "template", "tokens", "no text", "no tokens"]
)
def test_a_tokenizer_may_raise_anything(
    tmp_path: Path, where: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its code raises or returns is an error of the configuration or of the row."""
    import transformers

    def load(*_: object, **__: object) -> _Failing:
        if where == "load":
            raise error
        return _Failing(where, error)

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", load)
    path = write_rows(tmp_path / "math.jsonl", [{"input": "a"}])
    with pytest.raises((ConfigurationError, DataError), match=r"hf_checkpoint"):
        DataSource(
            {"prompt_data": path, "hf_checkpoint": "x", "apply_chat_template": True,
             "rollout_max_prompt_len": 5, "dump_details": str(tmp_path)}
        )  # fmt: skip
