from __future__ import annotations

import argparse
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import CheckpointError, ConfigurationError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.prompts import tokenizer
from tests.harness import (
    arguments,
    data_source,
    interrupt,
    name_of,
    prompt_files,
    row_of,
    totals,
    write_rows,
)

SIZES = {"math": 11, "code": 7, "chat": 5}
LOG = {"custom_rollout_log_function_path": "curriculum_learning.custom_log.custom_rollout_log_function"}  # fmt: skip  # noqa: E501 - one value


def saved(folder: Path, **changes: Any) -> argparse.Namespace:
    """Arguments of a run that has trained 12 groups, given back 4, and has 4 in flight."""
    folder.mkdir(exist_ok=True)
    args = arguments(folder, SIZES, **LOG, **changes)
    source = DataSource(args)
    groups = source.get_samples(20)
    source.observe(groups[:12], rollout_id=0, fate="trained")
    source.add_samples([interrupt(group) for group in groups[12:16]])
    source.save(0)
    source.close()
    return args


def resumed(args: argparse.Namespace, **changes: Any) -> DataSource:
    """A data source with changed arguments that goes on after rollout 0."""
    source = DataSource(argparse.Namespace(**{**vars(args), **changes}))
    source.load(0)
    return source


def append(path: str, *lines: str) -> None:
    """Add lines to a file."""
    with open(path, "a", encoding="utf-8") as file:
        file.writelines(lines)


def rows_of_an_epoch(source: DataSource, name: str, epoch: int) -> list[int]:
    """The rows that a source is served next of an epoch, in order."""
    rows = []
    for _ in range(200):
        found, at, row = row_of(source.get_samples(1)[0])
        if found == name and at == epoch:
            rows.append(row)
    return rows


def test_an_added_source_begins_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With adopt a new source starts at its first row; nothing of the others is lost."""
    args = saved(tmp_path)
    (web,) = prompt_files(tmp_path, {"web": 6})
    more: dict[str, Any] = {"prompt_data": [web, *args.prompt_data], "data_source_weights": [1] * 4}
    with pytest.raises(CheckpointError, match=r"'web' is not among.*on_source_change: adopt"):
        resumed(args, **more)
    source = resumed(args, **more, on_source_change="adopt")
    assert "added" in caplog.text
    again = source.get_samples(8)
    assert [group[0].group_index for group in again] == [16, 17, 18, 19, 12, 13, 14, 15]
    fresh = source.get_samples(40)
    assert [group[0].group_index for group in fresh] == list(range(20, 60))
    assert all(abs(n - 10) <= 1 for n in Counter(map(name_of, fresh)).values())
    credits = [s["credit"] for s in source.state_dict()["mixture"]["sources"].values()]
    assert sum(credits) == 0


def test_groups_of_a_removed_source_are_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With adopt a source may go; what was out of it is counted as dropped, and said."""
    args = saved(tmp_path)
    before = DataSource(args)
    before.load(0)
    out = Counter(name_of(group) for group in before.get_samples(8))
    fewer = {"prompt_data": args.prompt_data[1:], "data_source_weights": [1, 1]}
    with pytest.raises(CheckpointError, match=r"'math' of the state.*adopt.*renamed_from"):
        resumed(args, **fewer)
    source = resumed(args, **fewer, on_source_change="adopt")
    state = source.state_dict()
    assert source.get_buffer_length() == 8 - out["math"]
    assert totals(state["groups"])["dropped"] == out["math"] > 0
    assert sum(s["credit"] for s in state["mixture"]["sources"].values()) == 0
    (line,) = (line for line in caplog.text.splitlines() if line.startswith("math"))
    assert "removed" in line
    assert "dropped" in line
    assert {name_of(group) for group in source.get_samples(30)} == {"code", "chat"}


def test_counts_of_removed_sources_last(tmp_path: Path) -> None:
    """What a source had done before it was removed is counted after later changes, too."""
    args = saved(tmp_path)
    fewer = {"prompt_data": args.prompt_data[1:], "data_source_weights": [1, 1]}
    source = resumed(args, **fewer, on_source_change="adopt")
    before = totals(source.state_dict()["groups"])
    source.save(1)
    source.close()
    fewest = {"prompt_data": args.prompt_data[2:], "data_source_weights": [1]}
    later = DataSource(argparse.Namespace(**{**vars(args), **fewest, "on_source_change": "adopt"}))
    later.load(1)
    after = totals(later.state_dict()["groups"])
    assert (after["trained"], after["served"]) == (before["trained"], before["served"])
    assert after["dropped"] >= before["dropped"] > 0


def test_a_renamed_source_goes_on_under_its_new_name(tmp_path: Path) -> None:
    """With renamed_from: its order, position and groups are kept, also in later resumes."""
    args = saved(tmp_path)
    same = DataSource(args)
    same.load(0)
    names = {"prompt_data_source_names": ["mathematics", "code", "chat"]}
    source = resumed(args, **names, renamed_from={"mathematics": "math"})
    source.save(1)
    once_more = DataSource(argparse.Namespace(**{**vars(args), **names}))
    once_more.load(1)
    expected = [(n.replace("math", "mathematics"), e, r) for n, e, r in map(row_of, same.get_samples(60))]  # fmt: skip  # noqa: E501 - one thought
    for renamed in (source, once_more):
        groups = renamed.get_samples(60)
        assert [row_of(group) for group in groups] == expected
        assert all(s.metadata["source_name"] == name_of(g) for g in groups for s in g)
        assert any(group[0].tokens for group in groups[:8] if name_of(group) == "mathematics")
    with pytest.raises(ConfigurationError, match="another name than the present"):
        data_source(tmp_path, SIZES, renamed_from={"math": "math"})
    with pytest.raises(ConfigurationError, match="'maths', which is no source"):
        data_source(tmp_path, SIZES, renamed_from={"maths": "old"})
    with pytest.raises(ConfigurationError, match="the same former name"):
        data_source(tmp_path, SIZES, renamed_from={"math": "old", "code": "old"})
    with pytest.raises(ConfigurationError, match="must be a mapping"):
        data_source(tmp_path, SIZES, renamed_from=["math"])


def test_a_new_source_may_have_the_former_name_of_another(tmp_path: Path) -> None:
    """The old rows go on as mathematics, and another math begins: also with groups that wait."""
    args = saved(tmp_path)
    same = DataSource(args)
    same.load(0)
    new = write_rows(tmp_path / "new.jsonl", ({"input": f"new {i}"} for i in range(7)))
    changed = {
        "prompt_data": [*args.prompt_data, new],
        "prompt_data_source_names": ["mathematics", "code", "chat", "math"],
        "data_source_weights": [1, 1, 1, 1],
        "renamed_from": {"mathematics": "math"},
    }
    source = resumed(args, **changed, on_source_change="adopt")
    source.save(1)
    groups = source.get_samples(80)
    assert {g[0].prompt.split()[0] for g in groups if name_of(g) == "math"} == {"new"}
    expected = [row_of(g)[1:] for g in same.get_samples(80) if name_of(g) == "math"]
    found = [row_of(g)[1:] for g in groups if name_of(g) == "mathematics"]
    assert found == expected[: len(found)]
    again = DataSource(argparse.Namespace(**{**vars(args), **changed}))
    again.load(1)
    assert [row_of(g) for g in again.get_samples(80)] == [row_of(g) for g in groups]


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_grown_file_joins_at_the_next_epoch(tmp_path: Path, shuffle: bool) -> None:
    """Rows appended to a file wait until the running epoch is over; its order does not change."""
    args = saved(tmp_path, rollout_shuffle=shuffle, data_source_weights=[1, 0, 0])
    same = DataSource(args)
    same.load(0)
    expected = rows_of_an_epoch(same, "math", 1)
    append(args.prompt_data[0], '{"input": "math 11"}\n', '\n{"input": "math 12"}\n')
    source = resumed(args)
    source.save(1)
    assert source.state_dict()["mixture"]["sources"]["math"]["rows"] == 11
    assert rows_of_an_epoch(source, "math", 1) == expected
    later = DataSource(args)
    later.load(1)
    append(args.prompt_data[0], '{"input": "math 13"}\n')
    assert rows_of_an_epoch(later, "math", 1) == expected
    grown_twice = DataSource(args)
    grown_twice.load(1)
    assert sorted(rows_of_an_epoch(grown_twice, "math", 2)) == list(range(14))


@pytest.mark.parametrize(
    "curriculum", [None, {"type": "time", "initial_complexity_percentile": 100}]
)
def test_a_file_that_grew_at_the_end_of_an_epoch_joins_the_next_one(
    tmp_path: Path, curriculum: Any
) -> None:
    """Saved exactly between two epochs, the epoch to come has the new rows already."""
    row = '{"input": "x", "metadata": {"complexity_score": 1}}\n'
    path = tmp_path / "rows.jsonl"
    path.write_text(row * 11)
    args = arguments(
        tmp_path, {"math": 1}, **LOG,
        prompt_data=[str(path)], prompt_data_source_names=["math"],
        data_source_curricula=[curriculum],
    )  # fmt: skip
    source = DataSource(args)
    source.observe(source.get_samples(11), rollout_id=0, fate="trained")
    source.save(0)
    source.close()
    append(str(path), row, row)
    grown = resumed(args)
    assert sorted(rows_of_an_epoch(grown, "math", 1)) == list(range(13))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"input_key": "text"}, "input_key"),
        ({"label_key": "label"}, "label_key"),
        ({"metadata_key": "extra"}, "metadata_key"),
        ({"tool_key": "functions"}, "tool_key"),
        ({"apply_chat_template": True}, "apply_chat_template"),
        ({"apply_chat_template": True, "apply_chat_template_kwargs": {"a": (1, 2)}}, "_kwargs"),
        ({"apply_chat_template": True, "hf_checkpoint": "other"}, "chat_template"),
    ],
)
def test_other_columns_or_another_template_are_another_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], key: str
) -> None:
    """The same rows read otherwise are other prompts: refused, or the source restarts."""
    monkeypatch.setattr(tokenizer, "load_tokenizer", lambda name, *_: Template(name))
    row = {"input": "a", "text": "b", "label": "c", "metadata": {}, "extra": {}}
    path = write_rows(tmp_path / "rows.jsonl", [row] * 11)
    args = saved(
        tmp_path, prompt_data=[path], prompt_data_source_names=["math"], data_source_weights=[1],
        hf_checkpoint="one", apply_chat_template=len(changes) > 1,
    )  # fmt: skip
    append(path, '{"input": "a", "text": "b", "label": "c"}\n')
    with pytest.raises(CheckpointError, match=rf"'math'.*{key}.*restart") as raised:
        resumed(args, **changes, on_source_change="adopt")
    assert raised.value.source == "math"
    source = resumed(args, **changes, on_source_change="restart")
    assert {row_of(group)[1] for group in source.get_samples(5)} == {2}
    again = DataSource(args)
    again.load(0)  # unchanged but for the row that was added


class Template:
    """A tokenizer that has a chat template and nothing else."""

    def __init__(self, name: str) -> None:
        self.chat_template = f"the template of {name}"

    def apply_chat_template(self, messages: Any, **_: Any) -> str:
        """A prompt."""
        return f"{self.chat_template}: {messages}"


def test_a_file_that_was_changed_is_no_grown_one(tmp_path: Path) -> None:
    """A changed line, a longer last line, fewer rows, a negative slice: refused with the reason."""
    args = saved(tmp_path)
    path = Path(args.prompt_data[0])
    whole = path.read_text()
    for content, reason in (
        (whole.replace("math 3", "math X") + '{"input": "new"}\n', "has changed"),
        (whole[:-1] + " \n", "has changed|become longer"),
        ("".join(whole.splitlines(keepends=True)[:9]), "fewer rows"),
    ):
        path.write_text(content)
        with pytest.raises(CheckpointError, match=rf"'math' is not what.*({reason}).*restart"):
            resumed(args, on_source_change="adopt")
    path.write_text(whole.rstrip("\n"))
    without_end = saved(tmp_path / "x", prompt_data=args.prompt_data)
    append(str(path), ' \n{"input": "new"}\n')
    with pytest.raises(CheckpointError, match="the last line that was there has become longer"):
        resumed(without_end)
    path.write_text(whole)
    append(str(path), '{"input": "new"}\n')
    resumed(without_end)
    for bounds in ("@[-9:]", "@[0:-1]"):
        path.write_text(whole)
        sliced = saved(
            tmp_path / f"y{bounds}", prompt_data=[str(path) + bounds, *args.prompt_data[1:]]
        )
        append(str(path), '{"input": "new"}\n')
        with pytest.raises(CheckpointError, match="negative bound"):
            resumed(sliced)
    path.write_text(whole)
    sliced = saved(tmp_path / "z", prompt_data=[str(path) + "@[2:20]", *args.prompt_data[1:]])
    append(str(path), '{"input": "new"}\n')
    assert len(resumed(sliced)) == 10 + 7 + 5


def test_a_source_with_other_rows_restarts_only_if_told_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With restart a changed file begins a new epoch, and the other sources go on."""
    args = saved(tmp_path)
    same = DataSource(args)
    same.load(0)
    epochs = same.source_status()
    others = [row for row in map(row_of, same.get_samples(30)) if row[0] != "math"]
    Path(args.prompt_data[0]).write_text('{"input": "a"}\n{"input": "b"}\n{"input": "c"}\n')
    source = resumed(args, on_source_change="restart")
    assert totals(source.state_dict()["groups"])["dropped"] > 0
    served = [row_of(group) for group in source.get_samples(30)]
    math = [row for row in served if row[0] == "math"]
    assert sorted(math[:3]) == [("math", epochs["math"]["epoch"] + 1, row) for row in range(3)]
    went_on = [row for row in served if row[0] != "math"]
    for name in ("code", "chat"):
        first, second = ([r for r in rows if r[0] == name] for rows in (others, went_on))
        shorter = min(len(first), len(second))
        assert shorter > 4
        assert first[:shorter] == second[:shorter]
    assert "restarted: rows 11 -> 3" in caplog.text


@pytest.mark.parametrize(
    "changes", [{"rollout_seed": 1}, {"rollout_shuffle": False}], ids=["seed", "shuffle"]
)
def test_another_order_restarts_all_sources(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Another seed, or none, needs restart; then each source begins a new epoch."""
    args = saved(tmp_path)
    with pytest.raises(CheckpointError, match="on_source_change: restart"):
        resumed(args, **changes, on_source_change="adopt")
    source = resumed(args, **changes, on_source_change="restart")
    assert source.get_buffer_length() == 0
    rows = Counter(row_of(group) for group in source.get_samples(15))
    assert {epoch for _, epoch, _ in rows} <= {1, 2, 3}
    assert max(rows.values()) == 1


@pytest.mark.parametrize("size", [1, 3])
def test_another_group_size_generates_what_is_out_anew(
    tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    """With adopt the groups that are out keep their row and group_index and get new sample ids."""
    args = saved(tmp_path)
    before = DataSource(args)
    before.load(0)
    rows = [row_of(group) for group in before.get_samples(8)]
    with pytest.raises(CheckpointError, match=r"n_samples_per_prompt=2.*adopt"):
        resumed(args, n_samples_per_prompt=size)
    source = resumed(args, n_samples_per_prompt=size, on_source_change="adopt")
    groups = source.get_samples(30)
    assert [row_of(group) for group in groups[:8]] == rows
    assert [g[0].group_index for g in groups] == [16, 17, 18, 19, 12, 13, 14, 15, *range(20, 42)]
    ids = [sample.index for group in groups for sample in group]
    assert ids == list(range(40, 40 + 30 * size))
    assert not any(sample.tokens for group in groups for sample in group)
    assert "generated anew" in caplog.text


def test_what_need_not_be_said_is_accepted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:  # fmt: skip  # noqa: E501
    """Another order of sources, other weights and batches: all goes on, without a word."""
    args = saved(tmp_path)
    with caplog.at_level(logging.WARNING):
        source = resumed(
            args, prompt_data=args.prompt_data[::-1], data_source_weights=[5, "lambda s: 1 + s", 0],
            rollout_batch_size=3,
        )  # fmt: skip
    assert not caplog.text
    assert source.get_buffer_length() == 8


def test_a_bad_policy_is_refused(tmp_path: Path) -> None:
    """An unknown value of on_source_change names the known ones."""
    with pytest.raises(ConfigurationError, match="'error', 'adopt' or 'restart'"):
        data_source(tmp_path, SIZES, on_source_change="yes")
