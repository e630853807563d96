from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from curriculum_learning import (
    CheckpointError,
)
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.state.files import saved_rollouts
from tests.harness import (
    arguments,
    data_source,
)

THREE = {"math": 11, "code": 7, "chat": 5}


def test_fresh_starts(tmp_path: Path) -> None:
    """load(None), load(-1) or no folder is a fresh start; load() takes the newest state."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.load(None)
    source.load(-1)
    assert source.get_samples(1)[0][0].group_index == 0
    source.save(3)
    source.get_samples(4)
    source.save(12)
    assert saved_rollouts(Path(args.save)) == [3, 12]
    resumed = DataSource(args)
    resumed.load()
    assert resumed.get_samples(1)[0][0].group_index == 5
    for again in (DataSource(args), source):  # also one that has served already
        again.load(-1)
        assert again.get_samples(1)[0][0].group_index == 0
        assert again.source_status()["math"]["epoch"] == 0


def test_load_and_save_may_be_different_folders(tmp_path: Path) -> None:
    """A run may resume from one folder and save to another, as slime's do."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.get_samples(3)
    source.save(0)
    moved = argparse.Namespace(**{**vars(args), "load": args.save, "save": str(tmp_path / "new")})
    resumed = DataSource(moved)
    resumed.load(0)
    resumed.save(1)
    assert resumed.get_samples(1)[0][0].group_index == 3
    assert (tmp_path / "new" / "rollout" / "curriculum_learning_1.state").exists()


def test_without_a_folder_saving_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With save unset: one warning, and nothing else happens."""
    source = data_source(tmp_path, THREE, save=None)
    source.save(0)
    source.save(1)
    assert caplog.text.count("save is not set") == 1
    source.load(-1)
    with pytest.raises(CheckpointError, match="neither load nor save is set"):
        source.load(5)
    restarted = data_source(tmp_path, THREE, save=None, on_missing_state="restart")
    restarted.load(5)
    assert restarted.rollout_step == 6


def test_a_missing_state_is_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Resuming a rollout without a state is an error, or a warning with on_missing_state."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.get_samples(3)
    source.save(2)
    with pytest.raises(CheckpointError, match=r"for rollout 3,.*with a state there: \[2\]"):
        DataSource(args).load(3)
    restarted = data_source(tmp_path, THREE, on_missing_state="restart")
    restarted.load(3)
    assert "ALL PROMPTS ARE SERVED FROM THE BEGINNING" in caplog.text
    assert restarted.get_samples(1)[0][0].group_index == 0
    assert restarted.rollout_step == 4
