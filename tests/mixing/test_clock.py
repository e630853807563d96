from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import ConfigurationError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from tests.harness import (
    data_source,
    interrupt,
)

THREE = {"math": 40, "code": 70, "chat": 25}


def varying(folder: Path, **changes: Any) -> DataSource:
    """A source whose weights change with every step."""
    weights = [{"schedule": "linear", "start": 0, "end": 1, "steps": 1000}, 1]
    return data_source(folder, {"a": 50, "b": 50}, data_source_weights=weights, **changes)


def test_20_calls_per_rollout_move_the_schedule_one_step(tmp_path: Path) -> None:
    """The step follows the logged rollouts, whatever the number of calls."""
    source = varying(
        tmp_path,
        custom_rollout_log_function_path=(
            "curriculum_learning.custom_log.custom_rollout_log_function"
        ),
    )
    for rollout_id in range(30):
        groups = [group for _ in range(20) for group in source.get_samples(3)]
        steps = {sample.metadata["data_source_rollout_step"] for g in groups for sample in g}
        assert steps == {rollout_id} == {source.rollout_step}
        source.observe(groups, fate="finished")
        source.observe(groups, rollout_id=rollout_id, fate="trained")


def test_the_step_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step follows slime's rollout if slime is loaded; an evaluation changes nothing."""
    source = varying(tmp_path)
    module = types.ModuleType("slime.rollout.sample_hooks")
    monkeypatch.setitem(sys.modules, "slime.rollout.sample_hooks", module)
    for rollout_id in range(40, 60):
        module._current_rollout_id = rollout_id  # type: ignore[attr-defined]  # slime's own name
        assert source.rollout_step == rollout_id
        group = source.get_samples(300)[0]
        assert source.rollout_step == rollout_id
        source.observe(group, rollout_id=rollout_id, fate="trained")
        assert source.rollout_step == rollout_id + 1
        module._current_rollout_id = rollout_id - 3  # type: ignore[attr-defined]  # an evaluation
        assert source.rollout_step == rollout_id + 1


def test_what_slime_said_of_an_earlier_run_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run in the process begins at step 0, though slime's module names a late rollout."""
    module = types.ModuleType("slime.rollout.sample_hooks")
    module._current_rollout_id = 70  # type: ignore[attr-defined]  # slime's own name
    monkeypatch.setitem(sys.modules, "slime.rollout.sample_hooks", module)
    source = varying(tmp_path)
    assert source.get_samples(1)[0][0].metadata["data_source_rollout_step"] == 0
    module._current_rollout_id = 1  # type: ignore[attr-defined]  # slime's own name
    assert source.rollout_step == 1
    module._current_rollout_id = 70  # type: ignore[attr-defined]  # the new run has come this far
    assert source.rollout_step == 70


def test_without_an_engine_drawn_groups_stand_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Until a rollout is reported, the step of a draw is groups drawn // rollout_batch_size."""
    source = varying(tmp_path, rollout_batch_size=4)
    groups = source.get_samples(10)
    assert [group[0].metadata["data_source_rollout_step"] for group in groups] == [
        0, 0, 0, 0, 1, 1, 1, 1, 2, 2,
    ]  # fmt: skip
    source.add_samples([interrupt(group) for group in groups[:3]])
    source.get_samples(3)
    assert source.rollout_step == 2
    source.get_samples(50)
    assert caplog.text.count("has not told which rollout") == 1
    source.observe([], rollout_id=3, fate="trained")
    assert source.rollout_step == 4
    source.get_samples(50)
    assert source.rollout_step == 4


def test_without_a_batch_size_either_a_warning_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning names schedules that cannot move; constant weights need no step."""
    source = varying(tmp_path, rollout_batch_size=None)
    source.get_samples(40)
    assert caplog.text.count("rollout_batch_size is not set") == 1
    source.close()
    caplog.clear()
    data_source(tmp_path, THREE, rollout_batch_size=None).get_samples(40)
    assert not caplog.records


def test_set_rollout_step_holds_until_the_next_log(tmp_path: Path) -> None:
    """An explicit step, also a lower one, holds until a rollout is logged."""
    source = varying(tmp_path)
    source.observe([], rollout_id=9, fate="trained")
    source.set_rollout_step(3)
    source.get_samples(100)
    assert source.rollout_step == 3
    source.observe([], fate="trained")
    assert source.rollout_step == 3
    source.observe([], rollout_id=10, fate="trained")
    assert source.rollout_step == 11
    source.observe([], rollout_id=2, fate="trained")
    assert source.rollout_step == 11
    for bad in (-1, 1.5, True, "1"):
        with pytest.raises(ConfigurationError, match="set_rollout_step"):
            source.set_rollout_step(bad)  # type: ignore[arg-type]  # that is the test


def test_a_log_function_of_somebody_else_reports_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a foreign log function the schedule moves, and no trained group is served again."""
    source = varying(
        tmp_path, custom_rollout_log_function_path="tests.engine.keeps", rollout_batch_size=4
    )
    source.get_samples(80)
    assert source.rollout_step == 20
    assert "has not told which rollout" in caplog.text
    resumed = varying(
        tmp_path, custom_rollout_log_function_path="tests.engine.keeps", rollout_batch_size=4
    )
    resumed.load_state_dict(source.state_dict())
    assert resumed.get_samples(1)[0][0].group_index == 80
