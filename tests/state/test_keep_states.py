"""``keep_states`` removes old saved states, and nothing else."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from curriculum_learning import ConfigurationError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.custom_log import custom_rollout_log_function
from curriculum_learning.state.files import saved_rollouts, states_in
from tests.harness import arguments, data_source

SIZES = {"math": 40, "code": 30}


def save_all(source: DataSource, rollouts: range) -> None:
    """Saves the state of each rollout, with something drawn in it."""
    for rollout_id in rollouts:
        source.get_samples(1)
        source.save(rollout_id)


def test_the_newest_states_stay(tmp_path: Path) -> None:
    """Of each run the last ones can be loaded; by default all of them stay."""
    source = data_source(tmp_path, SIZES, keep_states=2)
    save_all(source, range(5))
    assert saved_rollouts(tmp_path / "save") == [3, 4]
    source.close()
    resumed = data_source(tmp_path, SIZES, keep_states=2)
    resumed.load()
    save_all(resumed, range(5, 7))
    assert saved_rollouts(tmp_path / "save") == [5, 6]
    resumed.close()
    everything = data_source(tmp_path, SIZES)
    everything.load()
    save_all(everything, range(7, 12))
    assert saved_rollouts(tmp_path / "save") == list(range(5, 12))


def test_a_state_saved_again_counts_as_new(tmp_path: Path) -> None:
    """The newest is the one written last, whatever its number is."""
    source = data_source(tmp_path, SIZES, keep_states=1)
    save_all(source, range(3))
    source.save(1)
    assert saved_rollouts(tmp_path / "save") == [1]


def test_states_of_another_run_stay(tmp_path: Path) -> None:
    """A run that began anew beside an older one removes its own states only."""
    first = data_source(tmp_path, SIZES)
    save_all(first, range(3))
    first.close()
    second = data_source(tmp_path, SIZES, keep_states=1, on_missing_state="restart")
    second.load(9)  # there is none: a new run, which is allowed to begin beside the old one
    kept = {state.path for state in states_in(tmp_path / "save")}
    save_all(second, range(10, 14))
    remaining = {state.path for state in states_in(tmp_path / "save")}
    assert {path for path in remaining - kept if path.suffix == ".state"} == {
        tmp_path / "save" / "rollout" / "curriculum_learning_13.state"
    }


def test_a_state_that_cannot_be_read_stays(tmp_path: Path) -> None:
    """Whose it is, is not known."""
    source = data_source(tmp_path, SIZES, keep_states=1)
    save_all(source, range(1))
    foreign = tmp_path / "save" / "rollout" / "curriculum_learning_90.state"
    foreign.write_bytes(b"something else")
    save_all(source, range(1, 4))
    assert saved_rollouts(tmp_path / "save") == [3, 90]


def test_autosaves_are_not_counted(tmp_path: Path) -> None:
    """The three newest autosaves stay as ever, and a saved state is not one of them."""
    args = arguments(tmp_path, SIZES, keep_states=1)
    source = DataSource(args)
    for rollout_id in range(5):
        custom_rollout_log_function(rollout_id, args, source.get_samples(1), {}, 1.0)
        source.save(rollout_id)
    source.close()
    autosaved = [state.rollout_id for state in states_in(tmp_path / "save") if state.autosaved]
    assert autosaved == [2, 3, 4]
    assert saved_rollouts(tmp_path / "save") == [4]


def test_what_cannot_be_removed_stops_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The new state is there; a warning says which file is left."""
    source = data_source(tmp_path, SIZES, keep_states=1)
    save_all(source, range(1))

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(f"not permitted: {os.fspath(path)}")

    monkeypatch.setattr(Path, "unlink", refuse)
    with caplog.at_level(logging.WARNING):
        save_all(source, range(1, 2))
    assert saved_rollouts(tmp_path / "save") == [0, 1]
    assert "an old state cannot be removed: not permitted" in caplog.text


def test_none_at_all_cannot_be_asked_for(tmp_path: Path) -> None:
    """At least the newest state stays."""
    with pytest.raises(ConfigurationError, match=r"keep_states \(0\) must be"):
        data_source(tmp_path, SIZES, keep_states=0)


def test_a_run_that_is_complete_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A resume after the last rollout warns, with both remedies; one before it does not."""
    source = data_source(tmp_path, SIZES, num_rollout=3)
    save_all(source, range(3))
    source.close()
    resumed = data_source(tmp_path, SIZES, num_rollout=3)
    resumed.load(1)
    assert "complete" not in caplog.text
    resumed.load()
    assert "the run is complete: rollout 2 is the last of num_rollout=3" in caplog.text
    assert f"to start afresh remove {tmp_path / 'save' / 'rollout'}" in caplog.text
