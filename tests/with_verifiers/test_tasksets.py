"""Task sets of verifiers as sources."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from verifiers import v1

from curriculum_learning import CheckpointError, ConfigurationError, DataError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.__main__ import main
from curriculum_learning.config.data_source import read_config
from curriculum_learning.prompts.opening import open_rows
from curriculum_learning.prompts.rows import Rows
from tests.harness import check_resume, name_of, prompt_files
from tests.with_verifiers.conftest import EXAMPLES

SUMS = {"type": "verifiers", "taskset": "sums", "settings": {"tasks": 12, "seed": 3}}
COUNTLESS = "verifiers:countless"


def rows_of(entry: Any) -> Rows:
    """The rows of an entry of prompt_data."""
    (plan,) = read_config({"prompt_data": [entry]}).sources
    return open_rows(plan.path, "s", kind=plan.kind)


def test_a_row_is_a_task_of_the_environment() -> None:
    """It has the prompt as messages, the task's own fields, and all that makes the task again."""
    rows = rows_of(SUMS)
    config = v1.taskset_config_type("sums")(id="sums", tasks=12, seed=3)
    tasks = list(v1.load_taskset(config))
    assert len(rows) == len(tasks) == 12
    for row, task in zip(rows.records(range(12)), tasks, strict=True):
        data: Any = task.data
        assert row["input"] == [
            {"role": "system", "content": "Answer with a number."},
            {"role": "user", "content": data.prompt},
        ]
        assert (row["label"], row["answer"], row["terms"]) == (data.answer, data.answer, data.terms)
        carried = row["metadata"]["verifiers"]
        assert carried["taskset"] == {"id": "sums", "tasks": 12, "seed": 3}
        assert type(task.data).model_validate(carried["task"]) == task.data


@pytest.mark.parametrize("entry", [SUMS, COUNTLESS, {**SUMS, "rows": 6}])
def test_rows_are_pure_in_their_index(entry: Any) -> None:
    """A row is the same in any order, and in a copy; none is shared."""
    rows = rows_of(entry)
    read = rows.records([5, 0, 3, 5])
    assert (
        rows.records([5, 0, 3, 5]) == read == pickle.loads(pickle.dumps(rows)).records([5, 0, 3, 5])
    )
    assert read[0] == read[3] == rows.row(5)
    assert read[0]["metadata"]["verifiers"] is not read[3]["metadata"]["verifiers"]


def test_prompts_of_all_forms() -> None:
    """A text stays one without a system prompt; a user who opens leaves the prompt empty."""
    user, system = {"role": "user", "content": ""}, {"role": "system", "content": "count"}
    assert [row["input"] for row in rows_of(COUNTLESS).records(range(6))] == [
        "number 0",
        [system, {**user, "content": "number 1"}],
        "",
        [system, {**user, "content": "number 3"}],
        [{**user, "content": "number 4"}],
        [system],
    ]


def test_tasks_without_end() -> None:
    """They come in order and without epochs; rows or a slice gives them an end."""
    source = DataSource({"prompt_data": COUNTLESS, "rollout_shuffle": True})
    numbers = [
        group[0].metadata["verifiers"]["task"]["number"] for group in source.get_samples(500)
    ]
    assert numbers == list(range(500))
    assert rows_of({"type": "verifiers", "taskset": "countless", "rows": 7}).size == 7
    assert len(rows_of(f"{COUNTLESS}@[2:5]")) == 3


def test_a_mixture_of_kinds_resumes_exactly(tmp_path: Path) -> None:
    """Files, a function and tasks with and without end go on as if the run had not been cut."""
    (file,) = prompt_files(tmp_path, {"file": 5})

    def make() -> DataSource:
        return DataSource({
            "prompt_data": [file, SUMS, COUNTLESS, "tests.prompts.generators.squares"],
            "data_source_weights": [1, 2, 3, 1.5],
            "data_source_curricula": {
                "sums": {"type": "time", "complexity_key": "terms", "complexity_warmup_steps": 4}
            },
            "rollout_batch_size": 4,
            "rollout_shuffle": True,
        })  # fmt: skip

    def serve(source: DataSource, step: int) -> list[Any]:
        source.set_rollout_step(step)
        groups = source.get_samples(3 + step)
        return [(name_of(group), group[0].prompt, group[0].metadata) for group in groups]

    check_resume(make, serve, 6, tmp_path)


def test_changed_tasks_are_refused() -> None:
    """A state of other settings does not fit."""
    first = DataSource({"prompt_data": SUMS})
    first.get_samples(3)
    changed = {**SUMS, "settings": {"tasks": 12, "seed": 4}}
    with pytest.raises(CheckpointError, match="not what it was"):
        DataSource({"prompt_data": changed}).load_state_dict(first.state_dict())
    DataSource({"prompt_data": SUMS}).load_state_dict(first.state_dict())


START = "prompt_data of source 's': verifiers:"


@pytest.mark.parametrize(
    ("taskset", "settings", "message"),
    [
        ("sums", {"taks": 3}, "sums has no setting taks; did you mean tasks?"),
        ("sums", {"tasks": "many"}, "sums refuses its settings: tasks: Input should be a valid "
         "integer, unable to parse string as an integer"),
        ("nowhere", {}, "nowhere cannot be used: taskset 'nowhere' not found (tried to import "
         "'nowhere'). A taskset is a package exporting its Taskset subclass via `__all__` — the "
         "built-in ones ship with verifiers in the `verifiers.v1.tasksets` package; any other "
         "package must already be installed."),
        ("model_server", {}, "model_server cannot be used: taskset module 'model_server' defines "
         "no `__all__`; a taskset must export its Taskset subclass via `__all__` (e.g. `__all__ = "
         "['MyTaskset']`)."),
        ("secretive", {}, "secretive cannot be used: its tasks leave ['key'] out when they are "
         "written; keep them"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said(taskset: str, settings: Any, message: str) -> None:
    """A missing task set, a wrong one and a wrong setting are one error with the whole reason."""
    entry = {"type": "verifiers", "taskset": taskset, "settings": settings}
    with pytest.raises(ConfigurationError) as caught:
        DataSource({"prompt_data": entry, "prompt_data_source_names": ["s"]})
    assert str(caught.value) == START + message


def test_a_task_that_cannot_be_read_is_named() -> None:
    """A failing task set stops the request, with the row; with an end it stops the start."""
    entry = {"type": "verifiers", "taskset": "countless", "settings": {"first": 4, "last": 204}}
    source = DataSource({"prompt_data": entry})
    source.get_samples(150)
    with pytest.raises(DataError, match=r"verifiers:countless, row 200 raises OSError\('the disk"):
        source.get_samples(51)
    with pytest.raises(ConfigurationError, match="cannot be used: the disk is gone"):
        DataSource({"prompt_data": {**entry, "rows": 201}})


def shown_rows(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What the first table shows beside the names of the sources."""
    lines = [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()]
    return {words[0]: words[1] for words in reversed(lines) if words[0] in ("sums", "countless")}


def test_preview_and_inspect_know_task_sets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They show rows, or that there is no end; --untrusted imports no environment."""
    config = tmp_path / "run.yaml"
    config.write_text(
        "prompt_data: [{type: verifiers, taskset: sums, rows: 30}, verifiers:countless]\n"
        "data_source_weights: [1, 1]\nnum_rollout: 3\nrollout_batch_size: 8\n",
        encoding="utf-8",
    )
    assert main(["preview", str(config), "--no-picture"]) == 0
    assert shown_rows(capsys) == {"sums": "30", "countless": "endless"}
    source = DataSource({"prompt_data": [SUMS, COUNTLESS], "data_source_weights": [1, 1],
                         "save": str(tmp_path)})  # fmt: skip
    source.get_samples(6)
    source.save(0)
    assert main(["inspect", str(tmp_path)]) == 0
    assert shown_rows(capsys) == {"sums": "3 of 12", "countless": "endless"}
    monkeypatch.delitem(sys.modules, "countless")
    assert main(["preview", str(config), "--untrusted", "--no-picture"]) == 2
    assert "--untrusted imports nothing" in capsys.readouterr().err
    assert "countless" not in sys.modules


def test_an_environment_of_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found where a worker of an engine does not have that directory on its path."""
    monkeypatch.setattr(
        sys, "path", [entry for entry in sys.path if entry not in ("", str(EXAMPLES))]
    )
    monkeypatch.delitem(sys.modules, "sums", raising=False)
    with pytest.raises(ConfigurationError, match="taskset 'sums' not found"):
        rows_of(SUMS)
    monkeypatch.chdir(EXAMPLES)
    assert len(rows_of(SUMS)) == 12
    assert str(EXAMPLES) not in sys.path
