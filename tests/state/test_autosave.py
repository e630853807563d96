from __future__ import annotations

import argparse
import errno
import logging
import os
import threading
from pathlib import Path

import pytest

from curriculum_learning import CheckpointError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from tests.harness import arguments, as_data

SIZES = {"math": 40, "code": 30}


def run(args: argparse.Namespace, rollouts: range) -> DataSource:
    """A data source that has gone through some rollouts of 3 groups, one of which came back."""
    source = DataSource(args)
    source.load(rollouts.start - 1)
    for rollout_id in rollouts:
        groups = source.get_samples(3)
        source.add_samples(groups[2:])
        source.observe(groups[:2], rollout_id=rollout_id, fate="trained")
    return source


def files(args: argparse.Namespace) -> list[str]:
    """The state files there are."""
    return sorted(path.name for path in (Path(args.save) / "rollout").glob("*"))


def test_a_rollout_that_was_not_saved_is_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a crash before save(4), load(4) goes on from the end of rollout 4, and says so."""
    args = arguments(tmp_path, SIZES)
    source = run(args, range(5))
    expected = as_data(source.get_samples(6))
    source.close()
    assert files(args) == [f"curriculum_learning_{k}.autosave" for k in (2, 3, 4)]
    resumed = DataSource(args)
    with caplog.at_level(logging.INFO):
        resumed.load(4)
    assert "curriculum_learning_4.autosave, which was written when rollout 4 ended" in caplog.text
    assert as_data(resumed.get_samples(6)) == expected
    with pytest.raises(CheckpointError, match=r"rollout 0,.*\[2, 3, 4\]"):
        DataSource(args).load(0)


def test_without_a_number_only_saved_states_count(tmp_path: Path) -> None:
    """load() goes on after the last save: the engine's model is no newer than that."""
    args = arguments(tmp_path, SIZES)
    source = run(args, range(2))
    source.save(1)
    source.close()
    run(args, range(2, 5)).close()
    resumed = DataSource(args)
    resumed.load()
    assert resumed.rollout_step == 2
    never_saved = arguments(tmp_path, SIZES, save=str(tmp_path / "never"))
    run(never_saved, range(2)).close()
    fresh = DataSource(never_saved)
    fresh.load()
    assert fresh.rollout_step == 0
    fresh.load(1)  # still there
    assert fresh.rollout_step == 2


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    """With autosave: false, or without a folder, only save writes."""
    args = arguments(tmp_path, SIZES, autosave=False)
    run(args, range(3)).save(2)
    assert files(args) == ["curriculum_learning_2.state"]
    run(arguments(tmp_path, SIZES, save=None), range(3)).close()


def test_the_state_written_last_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A state that the engine saved is taken, unless a later branch came to the same rollout."""
    args = arguments(tmp_path, SIZES)
    run(args, range(6)).save(5)
    with caplog.at_level(logging.INFO):
        DataSource(args).load(5)
    assert "curriculum_learning_5.state" in caplog.text
    assert "autosave" not in caplog.text
    source = run(args, range(5, 6))  # again, from the end of rollout 4
    source.get_samples(1)
    source.close()
    with caplog.at_level(logging.INFO):
        DataSource(args).load(5)
    assert "curriculum_learning_5.autosave" in caplog.text


def test_what_comes_back_after_the_log_is_in_it(tmp_path: Path) -> None:
    """A group given back between the log and the next rollout belongs to the rollout logged."""
    args = arguments(tmp_path, SIZES)
    source = DataSource(args)
    groups = source.get_samples(3)
    source.observe(groups[:2], rollout_id=0, fate="trained")
    groups[2][0].tokens = [1, 2, 3]
    source.add_samples(groups[2:])
    source.get_samples(1)
    source.close()
    resumed = DataSource(args)
    resumed.load(0)
    assert resumed.get_buffer_length() == 1
    assert resumed.get_samples(1)[0][0].tokens == [1, 2, 3]


def test_no_thread_is_left(tmp_path: Path) -> None:
    """After close no thread runs, and all states are written."""
    before = threading.active_count()
    source = run(arguments(tmp_path, SIZES), range(20))
    source.close()
    assert threading.active_count() == before
    assert files(source.args)[-1] == "curriculum_learning_19.autosave"


def test_a_full_disk_is_said_and_does_not_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If a state cannot be written in the background the run goes on; save raises."""
    args = arguments(tmp_path, SIZES)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    source = run(args, range(2))
    with pytest.raises(CheckpointError, match="No space left"):
        source.save(1)
    assert "the state at the end of rollout 1 was not autosaved" in caplog.text
    assert files(args) == []
    monkeypatch.undo()
    source.save(1)
    assert files(args) == ["curriculum_learning_1.state"]
