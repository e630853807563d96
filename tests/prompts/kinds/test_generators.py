"""Sources of rows that are made when they are served."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import CheckpointError, ConfigurationError, DataError, GroupError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.__main__ import main
from curriculum_learning.config import kinds
from curriculum_learning.config.data_source import read_config
from curriculum_learning.custom_log import custom_rollout_log_function
from curriculum_learning.prompts.opening import open_rows
from curriculum_learning.reasoning_gym_reward import reasoning_gym_reward, score
from tests.harness import check_resume, prompt_files

HERE = "tests.prompts.generators"
SQUARES, SUMS, FEW = f"{HERE}.squares", f"{HERE}.Sums", f"{HERE}.Few"
CHAINS = {"type": "reasoning_gym", "task": "chain_sum", "levels": 4, "seed": 7}


def over(*prompts: Any, **changes: Any) -> DataSource:
    """A data source over entries of prompt_data."""
    values: dict[str, Any] = {
        "prompt_data": list(prompts),
        "data_source_weights": [1] * len(prompts),
        "rollout_shuffle": True,
        "n_samples_per_prompt": 2,
    }
    return DataSource({**values, **changes})


def texts(source: DataSource, count: int) -> list[str]:
    """The prompts of the next groups."""
    return [group[0].prompt for group in source.get_samples(count)]


def test_a_function_without_end_serves_each_row_once() -> None:
    """Rows come in order, none twice, without epochs, with their columns."""
    source = over(SQUARES, label_key="label")
    groups = source.get_samples(5000)
    assert [group[0].label for group in groups] == [str(n * n) for n in range(5000)]
    assert {group[0].metadata["data_source_epoch"] for group in groups} == {0}
    assert [group[1].metadata["data_source_row"] for group in groups] == list(range(5000))
    assert source.source_status()["squares"]["epoch"] == 0


def test_a_part_of_a_function_is_a_file_of_rows() -> None:
    """A slice, or a number of rows, has an end: epochs in a shuffled order."""
    source = over(f"{SQUARES}@[10:14]", {"type": SQUARES, "rows": 3}, FEW,
                  prompt_data_source_names=["slice", "rows", "few"])  # fmt: skip
    assert len(source) == 4 + 3 + 7
    served = Counter(texts(source, 3 * 84))
    assert served == {
        **{f"square {n}": 84 / 4 for n in range(10, 14)},
        **{f"square {n}": 84 / 3 for n in range(3)},
        **{f"one of seven, {n}": 84 / 7 for n in range(7)},
    }


@pytest.mark.parametrize("prompts", [SUMS, CHAINS, "reasoning_gym:chain_sum"])
def test_rows_are_pure_in_their_index(prompts: Any) -> None:
    """A row is the same in any order, in a copy, and beyond any number."""
    (plan,) = read_config({"prompt_data": [prompts]}).sources
    rows = open_rows(plan.path, "s", kind=plan.kind)
    indices = [5, 0, 10**9, 5, 3]
    read = rows.records(indices)
    assert rows.records(indices) == read == pickle.loads(pickle.dumps(rows)).records(indices)
    assert read[0] == read[3] == rows.row(5)
    assert read[0] is not read[3]
    assert rows.size is None


CURRICULA: dict[str, dict[str, Any]] = {
    "time": {"type": "time", "initial_complexity_percentile": 0, "complexity_warmup_steps": 8},
    "reward": {"type": "reward", "reward_threshold": 0.5, "num_intervals": 3,
               "initial_complexity_percentile": 25, "min_batches_per_level": 2},
    "focused": {"type": "reward", "reward_threshold": 0.5, "num_intervals": 3,
                "initial_complexity_percentile": 25, "min_batches_per_level": 2,
                "focus_new_intervals": True},
    "difficulty_target": {"type": "difficulty_target", "share": 0.25, "floor": 0},
    "learnability": {"type": "learnability"},
}  # fmt: skip


def rollout(source: DataSource, number: int, rewarded: float = 1.0) -> list[tuple[int, int, str]]:
    """Trains on a rollout; returns level, row and prompt of its groups."""
    groups = source.get_samples(8)
    for group in groups:
        for at, sample in enumerate(group):
            sample.reward, sample.status = rewarded * at, type(sample).Status.COMPLETED
    samples = [sample for group in groups for sample in group]
    custom_rollout_log_function(number, source.args, samples, {}, 1.0)
    return [
        (first.metadata["level"], first.metadata["data_source_row"], first.prompt)
        for first, *_ in groups
    ]


HOOK = "curriculum_learning.custom_log.custom_rollout_log_function"


def curated(curriculum: dict[str, Any], prompts: Any = CHAINS) -> DataSource:
    """A data source over a task with levels and a curriculum."""
    args = argparse.Namespace(
        prompt_data=[prompts],
        data_source_curricula=curriculum,
        rollout_batch_size=8,
        rollout_shuffle=True,
        n_samples_per_prompt=2,
        custom_rollout_log_function_path=HOOK,
        data_source_metrics_callback=lambda metrics, rollout_id: None,
    )
    return DataSource(args)


@pytest.mark.parametrize("name", ["time", "reward", "focused", "difficulty_target"])
def test_levels_are_the_knob_of_row_curricula(name: str) -> None:
    """The easiest level comes first, the others as the curriculum opens them; no row twice."""
    source = curated(CURRICULA[name])
    seen = [rollout(source, number, rewarded=2) for number in range(20)]
    rows = [row for groups in seen for _, row, _ in groups]
    assert len(set(rows)) == len(rows)
    assert all(row % 4 == level for groups in seen for level, row, _ in groups)
    assert {level for level, _, _ in seen[0]} == {0}
    assert 3 in {level for level, _, _ in seen[-1]}


@pytest.mark.parametrize("name", CURRICULA)
def test_a_generator_resumes_exactly(tmp_path: Path, name: str) -> None:
    """Cut anywhere, once or twice, a run over a generator goes on as if it had not been."""
    check_resume(lambda: curated(CURRICULA[name]), rollout, 8, tmp_path)


def test_a_mixture_of_kinds_resumes_exactly(tmp_path: Path) -> None:
    """Files, functions, classes and tasks in one run go on as if it had not been cut."""
    (file,) = prompt_files(tmp_path, {"file": 5})

    def make() -> DataSource:
        return over(file, SQUARES, {"type": SUMS, "terms": 3}, FEW, CHAINS,
                    data_source_weights=[1, 2, 3, 4, 0.5])  # fmt: skip

    check_resume(make, lambda source, step: texts(source, 3 + step), 6, tmp_path)


def test_a_changed_generator_is_refused() -> None:
    """A state of other settings does not fit; with restart it goes on beyond the rows it had."""
    first = over({"type": SUMS, "terms": 2})
    served = texts(first, 9)
    with pytest.raises(CheckpointError, match="not what it was"):
        over({"type": SUMS, "terms": 3}).load_state_dict(first.state_dict())
    second = over({"type": SUMS, "terms": 2})
    second.load_state_dict(first.state_dict())
    assert not set(texts(second, 9)) & set(served)
    third = over({"type": SUMS, "terms": 3}, on_source_change="restart")
    third.load_state_dict(first.state_dict())
    assert min(group[0].metadata["number"] for group in third.get_samples(9)) >= 3


def test_a_row_that_cannot_be_made_is_named() -> None:
    """A generator that raises, in the first rows or later, is an error with source and row."""
    source = over(f"{HERE}.no_rows")
    source.get_samples(100)
    with pytest.raises(DataError, match=r"'no_rows', .*no_rows, row 100 raises ZeroDivisionError"):
        source.get_samples(1)


@pytest.mark.parametrize(
    ("prompts", "problem"),
    [
        ({"type": SUMS, "words": 3}, r"prompt_data\[0\].words \(3\) is not a known key"),
        ({"type": SQUARES, "seed": 3}, "a function has none but rows"),
        ({"type": "reasoning_gym"}, r"task is required"),
        ({"type": "gym", "task": "x"}, "is not a kind of source"),
        ("tests.prompts.generators.cubes", "has no function cubes"),
        ("nowhere.rows", r"no file of rows .*, and no dotted path: there is no module nowhere"),
        ("reasoning_gym:chain_sums", "did you mean chain_sum?"),
        ({"type": "reasoning_gym", "task": "chain_sum", "levels": 99}, "difficulty levels, fewer"),
        ({"type": "reasoning_gym", "task": "chain_sum", "settings": {"min_term": 3}}, "min_terms"),
        ({"type": "reasoning_gym", "task": "chain_sum", "settings": {"min_terms": 0}}, "refuses"),
        ({"type": "reasoning_gym", "task": "chain_sum", "levels": 2, "settings": {"min_terms": 9}},
         "leave it out of settings"),
        (f"{SQUARES}@[-5:]", "no end to count from"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said(prompts: Any, problem: str) -> None:
    """A wrong kind, key, setting or name is one error that names it."""
    with pytest.raises((ConfigurationError, DataError), match=problem):
        over(prompts)


def test_a_curriculum_needs_levels() -> None:
    """Rows without end and of one difficulty leave a curriculum nothing to choose."""
    with pytest.raises(DataError, match="set levels, or drop the curriculum"):
        curated(CURRICULA["time"], SQUARES)
    with pytest.raises(ConfigurationError, match="no end"):
        len(over(SQUARES))


def test_the_verifier_comes_with_the_row() -> None:
    """The answer of a task scores 1 through the hook of slime, and nonsense does not."""
    source = over(CHAINS, {"type": "reasoning_gym", "task": "sudoku"}, label_key="label")
    samples = [group[0] for group in source.get_samples(6)]
    for sample in samples:
        sample.response = f"I think <answer>{sample.label}</answer>"
    assert asyncio.run(reasoning_gym_reward(None, samples)) == [1.0] * 6
    samples[0].response = "no idea"
    assert asyncio.run(reasoning_gym_reward(None, samples[0])) < 0.1
    with pytest.raises(GroupError, match="no 'reasoning_gym' with task"):
        score("4", {"task": "chain_sum"})


def test_preview_and_simulate_know_rows_without_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They show levels where there are no rows to count; --untrusted imports no generator."""
    config = tmp_path / "run.yaml"
    config.write_text(
        f"prompt_data: [{{type: reasoning_gym, task: chain_sum, levels: 4}}, {SQUARES}]\n"
        "data_source_weights: [1, 1]\nnum_rollout: 20\nrollout_batch_size: 8\n"
        "n_samples_per_prompt: 4\n"
        "data_source_curricula: {chain_sum: {type: time, complexity_warmup_steps: 10}}\n"
        "custom_rollout_log_function_path: " + HOOK + "\n",
        encoding="utf-8",
    )
    assert main(["preview", str(config), "--no-picture"]) == 0
    shown = capsys.readouterr().out
    assert "4 levels" in shown
    assert "25% > 100%" in shown
    assert shown.count("endless") == 3
    assert main(["simulate", str(config), "--learner", "ladder", "--no-picture"]) == 0
    capsys.readouterr()
    assert main(["preview", str(config), "--untrusted", "--no-picture"]) == 2
    assert "imports nothing" in capsys.readouterr().err


def test_inspect_knows_rows_without_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It shows no epochs where there are none."""
    source = over(SQUARES, CHAINS, save=str(tmp_path))
    source.get_samples(6)
    source.save(0)
    assert main(["inspect", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [line.split() for line in lines if line.startswith(("squares", "chain_sum"))]
    assert [words[1:4] for words in shown] == [["endless", "-", "3"]] * 2


def test_a_restart_says_where_rows_without_end_go_on(caplog: pytest.LogCaptureFixture) -> None:
    """The table of a changed mix speaks of levels, not of epochs."""
    state = over(SUMS, rollout_seed=1).state_dict()
    with caplog.at_level("INFO"):
        over(SUMS, rollout_seed=2, on_source_change="restart").load_state_dict(state)
    assert "walk 1 over its levels" in caplog.text


def test_a_package_ships_a_kind_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of an entry point is a type, with the settings of its class."""
    point = importlib.metadata.EntryPoint("sums", f"{HERE}:Sums", kinds.PROMPTS_GROUP)
    monkeypatch.setattr(kinds, "entry_points", lambda group: [point])
    (text,) = texts(over({"type": "sums", "terms": 5}, rollout_shuffle=False), 1)
    assert text == "sum of 5 numbers, no 0"
    with pytest.raises(ConfigurationError, match="did you mean terms"):
        over({"type": "sums", "term": 5})
