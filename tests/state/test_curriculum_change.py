"""What a resume keeps of curricula and source rules when they, or the rows, are others."""

from __future__ import annotations

import itertools
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curriculum_learning import CheckpointError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from tests.curricula.faces import (
    CURRICULUM_CASES,
    again,
    data_source,
    rollout,
    rows_of_data,
    sampler,
    statistics,
    update,
)

KINDS = {"none": None, **{n: c for n, c in CURRICULUM_CASES.items() if n != "focused"}}
LEARNS = {"math": CURRICULUM_CASES["learnability"]}


def learned(source: DataSource) -> DataSource:
    """After five rollouts."""
    for number in range(5):
        rollout(source, number)
    return source


def counts(state: Any, name: str = "math") -> list[int]:
    """The results of each row in a state."""
    return [int(n) for n in np.frombuffer(statistics(state, name)["counts"], dtype=np.uint32)]


@pytest.mark.parametrize(("old", "new"), [*itertools.product(KINDS, KINDS)])
def test_any_curriculum_may_follow_any_other(old: str, new: str, tmp_path: Path) -> None:
    """The place in the epoch and the statistics stay; a curriculum of another kind starts anew."""
    before = learned(data_source(tmp_path, data_source_curricula={"math": KINDS[old]}))
    state = before.state_dict()
    after = again(before, data_source_curricula={"math": KINDS[new]})
    fresh = after.state_dict()["mixture"]["sources"]["math"]
    after.load_state_dict(state)
    found, saved = (each["mixture"]["sources"]["math"] for each in (after.state_dict(), state))
    assert found["order_name"] == saved["order_name"]
    # Rows that were looked up have no place in another order.
    assert found["epoch"] - saved["epoch"] == (new == "none" and bool(saved.get("sparse")))
    if old != "none" and new != "none":
        assert found["statistics"] == saved["statistics"]
    if new not in ("none", old):
        assert found["curriculum"] == fresh["curriculum"]
    elif new == old != "none":
        assert found["curriculum"] == saved["curriculum"]
    rollout(after, 5)


def test_statistics_survive_growth(tmp_path: Path) -> None:
    """Rows that a file has gained are unseen; the others keep their results."""
    before = learned(data_source(tmp_path, data_source_curricula=LEARNS))
    state = before.state_dict()
    with open(tmp_path / "math.jsonl", "a", encoding="utf-8") as file:
        for row in range(3):
            file.write(json.dumps({"input": f"new {row}", "metadata": {}}) + "\n")
    grown = again(before)
    grown.load_state_dict(state)
    assert counts(grown.state_dict()) == [*counts(state), 0, 0, 0]
    assert max(counts(state)) > 0
    for number in range(5, 12):
        rollout(grown, number)
    assert all(counts(grown.state_dict())[-3:])


def test_statistics_survive_another_name(tmp_path: Path) -> None:
    """With renamed_from, and results that wait for the end of a rollout keep their row."""
    before = learned(data_source(tmp_path, data_source_curricula=LEARNS))
    groups = before.get_samples(4)
    for sample in (sample for group in groups for sample in group):
        sample.reward = 1.0
    before.observe(groups, fate="finished")
    state = before.state_dict()
    renamed = again(
        before, prompt_data_source_names=["maths", "code"], renamed_from={"maths": "math"},
        data_source_curricula={"maths": LEARNS["math"]}, data_source_weights=[1, 1],
    )  # fmt: skip
    renamed.load_state_dict(state)
    assert counts(renamed.state_dict(), "maths") == counts(state)
    waiting = {(n, row) for n, row, *_ in renamed.state_dict()["feedback"]["results"]}
    saved = {(n, row) for n, row, *_ in state["feedback"]["results"]}
    assert waiting == {(n.replace("math", "maths"), row) for n, row in saved}
    assert all(row is not None for _, row in waiting)


@pytest.mark.parametrize(("old", "new"), [("focused", "learnability"), ("none", "focused")])
def test_positions_of_intervals_do_not_fit(old: str, new: str, tmp_path: Path) -> None:
    """To or from focused intervals a source begins its next epoch, if restart allows it."""
    kinds = {**KINDS, "focused": CURRICULUM_CASES["focused"]}
    before = learned(data_source(tmp_path, data_source_curricula={"math": kinds[old]}))
    state, changes = before.state_dict(), {"data_source_curricula": {"math": kinds[new]}}
    with pytest.raises(CheckpointError, match=r"'math'.*its curriculum is another.*restart"):
        again(before, **changes).load_state_dict(state)
    after = again(before, **changes, on_source_change="restart")
    after.load_state_dict(state)
    if old != "none":
        assert statistics(after.state_dict(), "math") == statistics(state, "math")
    rollout(after, 5)


def test_another_order_keeps_what_was_learned(tmp_path: Path) -> None:
    """With another seed the rows are the same: statistics and curricula stay."""
    before = learned(data_source(tmp_path, data_source_curricula={"math": KINDS["pools"]}))
    state = before.state_dict()
    after = again(before, rollout_seed=7, on_source_change="restart")
    after.load_state_dict(state)
    for key in ("statistics", "curriculum"):
        expected = state["mixture"]["sources"]["math"][key]
        assert after.state_dict()["mixture"]["sources"]["math"][key] == expected


def test_other_rows_forget_what_was_learned(tmp_path: Path) -> None:
    """Of a file that was changed no row's result counts any more."""
    before = learned(data_source(tmp_path, data_source_curricula={"math": KINDS["pools"]}))
    state = before.state_dict()
    (tmp_path / "math.jsonl").write_text('{"input": "other", "metadata": {}}\n' * 14)
    after = again(before, on_source_change="restart")
    fresh = after.state_dict()["mixture"]["sources"]["math"]
    after.load_state_dict(state)
    found = after.state_dict()["mixture"]["sources"]["math"]
    assert (found["statistics"], found["curriculum"]) == (fresh["statistics"], fresh["curriculum"])
    rollout(after, 5)


def test_the_change_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line says whose curriculum is another."""
    before = learned(data_source(tmp_path, data_source_curricula=LEARNS))
    after = again(before, data_source_curricula={"math": KINDS["pools"]})
    with caplog.at_level(logging.WARNING):
        after.load_state_dict(before.state_dict())
    (line,) = [line for line in caplog.text.splitlines() if line.startswith("math")]
    assert "another curriculum" in line
    assert "another curriculum" not in caplog.text.replace(line, "")


@pytest.mark.parametrize("old", [None, {"type": "sec"}, {"type": "dump"}])
@pytest.mark.parametrize("new", [None, {"type": "sec"}, {"type": "learning_progress"}])
def test_any_rule_may_follow_any_other(old: Any, new: Any, tmp_path: Path) -> None:
    """A rule of another kind starts anew."""
    before = learned(data_source(tmp_path, data_source_rule=old, data_source_curricula=LEARNS))
    state = before.state_dict()
    after = again(before, data_source_rule=new)
    fresh = after.state_dict()["mixture"]["rule"]
    after.load_state_dict(state)
    expected = state["mixture"]["rule"] if old == new else fresh
    assert after.state_dict()["mixture"]["rule"] == expected
    rollout(after, 5)


def test_curricula_of_a_sampler_may_change(tmp_path: Path) -> None:
    """As in the data source; a reward curriculum of another shape is refused."""
    dataset = rows_of_data()

    def make(curriculum: Any) -> Any:
        return sampler(dataset, source_curricula={"math": curriculum})

    for old, new in itertools.permutations(("none", "learnability", "pools", "reward"), 2):
        before = make(KINDS[old])
        for number in range(4):
            update(dataset, before, number)
        after = make(KINDS[new])
        after.load_state_dict(before.state_dict())
        if "none" not in (old, new):
            kept, saved = (statistics(each.state_dict(), "math") for each in (after, before))
            assert kept == saved
        update(dataset, after, 4)
    other = make({**CURRICULUM_CASES["reward"], "num_intervals": 3})
    with pytest.raises(CheckpointError, match="num_intervals"):
        other.load_state_dict(make(KINDS["reward"]).state_dict())
