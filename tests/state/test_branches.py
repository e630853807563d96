"""Whose states lie in a folder, and what becomes of those that a run supersedes."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import pytest

from curriculum_learning import CheckpointError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.custom_log import custom_rollout_log_function
from curriculum_learning.state.checkpoint import stamp_of
from tests.harness import arguments

SIZES = {"math": 40, "code": 30}


def train(source: DataSource, *rollouts: int, save: bool = False) -> None:
    """Rollouts of 3 groups, each logged, and saved if wanted."""
    for rollout_id in rollouts:
        groups = source.get_samples(3)
        source.observe(groups[:2], rollout_id=rollout_id, fate="trained")
        if save:
            source.save(rollout_id)


def trained(args: argparse.Namespace, last: int, *, save: bool = False) -> None:
    """A run that has come to the end of rollout ``last``, and has ended."""
    source = DataSource(args)
    train(source, *range(last + 1), save=save)
    source.close()


def files(args: argparse.Namespace) -> dict[str, bytes]:
    """The states in the folder."""
    folder = Path(args.save) / "rollout"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def aside(args: argparse.Namespace) -> list[str]:
    """The states that were set aside."""
    folder = Path(args.save) / "rollout"
    return sorted(path.name for path in folder.glob("superseded-*/*"))


@pytest.mark.parametrize("rollout_id", [None, 2, -1])
def test_looking_at_states_changes_nothing(tmp_path: Path, rollout_id: int | None) -> None:
    """Whatever is loaded and served, the folder is as it was until something is written."""
    args = arguments(tmp_path, SIZES)
    trained(args, 4)
    source = DataSource(args)
    source.load(1 + 1)
    source.save(2)
    source.close()
    before = files(args)
    looking = DataSource(args)
    looking.load(rollout_id)
    looking.get_samples(5)
    looking.observe(looking.get_samples(2), fate="trained")
    looking.close()
    assert files(args) == before


def test_a_resumed_run_sets_aside_what_it_supersedes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """States of later rollouts are moved at the first write, and removed after three rollouts."""
    args = arguments(tmp_path, SIZES)
    trained(args, 5, save=True)
    source = DataSource(args)
    source.load(3)
    assert aside(args) == []
    train(source, 4)
    source.save(4)
    gone = [f"curriculum_learning_{n}.{kind}" for n in (4, 5) for kind in ("autosave", "state")]
    assert aside(args) == gone
    assert "superseded" in caplog.text
    with pytest.raises(CheckpointError, match=r"rollout 5.*\[0, 1, 2, 3, 4\].*set aside"):
        DataSource(args).load(5)
    train(source, 5, save=True)
    assert aside(args) == gone
    train(source, 6, save=True)
    assert aside(args) == []
    assert not list((Path(args.save) / "rollout").glob("superseded*"))
    source.close()
    resumed = DataSource(args)
    resumed.load()
    assert resumed.rollout_step == 7


def test_a_branch_may_be_cut_more_than_once(tmp_path: Path) -> None:
    """Each resume keeps what it supersedes apart from what an earlier one has set aside."""
    args = arguments(tmp_path, SIZES)
    trained(args, 3, save=True)
    for _ in range(3):
        source = DataSource(args)
        source.load(1)
        train(source, 2, save=True)
        source.close()
    states = [name for name in aside(args) if name.endswith(".state")]
    assert states == [f"curriculum_learning_{n}.state" for n in (2, 2, 2, 3)]


def test_a_fresh_run_does_not_write_over_another_one(tmp_path: Path) -> None:
    """It stops before the log has changed anything, or at its save, and says how to go on."""
    args = arguments(tmp_path, SIZES)
    trained(args, 2, save=True)
    before = files(args)
    for load in (False, True):
        fresh = DataSource(args)
        if load:
            fresh.load(-1)
        groups = fresh.get_samples(3)
        state = fresh.state_dict()
        pattern = (
            r"states of another run \(rollouts 0, 1, 2\).*load\(.*save to another folder.*move"
        )
        with pytest.raises(CheckpointError, match=pattern):
            custom_rollout_log_function(0, args, groups, {}, 1.0)
        with pytest.raises(CheckpointError, match=pattern):
            fresh.save(0)
        assert fresh.state_dict() == state
        fresh.close()
    assert files(args) == before
    source = DataSource(args)
    source.load()
    train(source, 3, save=True)


def test_a_job_that_dies_before_its_first_save_can_be_started_again(tmp_path: Path) -> None:
    """An engine that asked for a state and found none begins anew; autosaves are set aside."""
    args = arguments(tmp_path, SIZES)
    trained(args, 1)
    for rollout_id in (None, -1):
        source = DataSource(args)
        source.load(rollout_id)
        train(source, 0)
        source.close()
        assert "curriculum_learning_1.autosave" in aside(args)
        assert list(files(args)) == ["curriculum_learning_0.autosave"]
    never_asked = DataSource(args)
    with pytest.raises(CheckpointError, match="another run"):
        train(never_asked, 0)
    never_asked.close()
    restarted = DataSource(argparse.Namespace(**vars(args), on_missing_state="restart"))
    restarted.load(7)
    train(restarted, 8, save=True)
    restarted.close()
    assert sorted(files(args)) == [
        f"curriculum_learning_8.{kind}" for kind in ("autosave", "state")
    ]


def test_a_lower_rollout_of_a_run_removes_nothing(tmp_path: Path) -> None:
    """A run that logs rollout 0 again keeps its later states, and the newest ones count."""
    args = arguments(tmp_path, SIZES, autosave=False)
    source = DataSource(args)
    train(source, 0, 1, 2, 3, save=True)
    train(source, 0, save=True)
    source.close()
    assert len(files(args)) == 4
    resumed = DataSource(args)
    resumed.load()
    assert resumed.get_samples(1)[0][0].group_index == 2
    args.autosave = True
    args.save = str(tmp_path / "automatic")
    source = DataSource(args)
    train(source, 5, 6, 7, 0)
    source.close()
    assert sorted(files(args)) == [f"curriculum_learning_{n}.autosave" for n in (0, 6, 7)]


def test_a_clock_that_goes_back_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The newest state is the one written last, whatever the clock says; a warning tells."""
    args = arguments(tmp_path, SIZES, autosave=False)
    now = time.time_ns()
    source = DataSource(args)
    for hours, rollout_id in enumerate((3, 4, 5)):
        monkeypatch.setattr(time, "time_ns", lambda hours=hours: now - hours * 3600 * 10**9)
        train(source, rollout_id, save=True)
    source.close()
    resumed = DataSource(args)
    resumed.load()
    assert resumed.rollout_step == 6
    assert "the clock has been set back" in caplog.text
    resumed.observe([], rollout_id=6, fate="trained")
    resumed.save(6)
    folder = Path(args.save) / "rollout"
    stamps = [stamp_of(folder / f"curriculum_learning_{n}.state") for n in (3, 4, 5, 6)]
    assert [stamp and stamp.counter for stamp in stamps] == [1, 2, 3, 4]
    assert len({stamp.run for stamp in stamps if stamp}) == 1


@pytest.mark.parametrize("newer", ["state", "autosave"])
@pytest.mark.parametrize("damage", ["header", "body", "cut"])
def test_an_intact_twin_stands_in_for_a_damaged_state(
    tmp_path: Path, newer: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two states of a rollout the intact one is taken, with a warning that names the other."""
    args = arguments(tmp_path, SIZES)
    source = DataSource(args)
    if newer == "state":
        train(source, 0, save=True)
    else:
        train(source, 0)
        source.save(0)
        source.observe([], rollout_id=0, fate="trained")
    source.close()
    path = Path(args.save) / "rollout" / f"curriculum_learning_0.{newer}"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[-9:]
    else:
        content[15 if damage == "header" else -40] ^= 255
    path.write_bytes(content)
    for rollout_id in (0, None) if newer == "state" else (0,):
        resumed = DataSource(args)
        resumed.load(rollout_id)
        assert f"{path} " in caplog.text
        assert "The other state of rollout 0 is intact" in caplog.text
        assert resumed.get_samples(1)[0][0].group_index == 2
        caplog.clear()
    for other in path.parent.iterdir():
        other.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match=r"damaged|format"):
        DataSource(args).load(0)


def test_a_load_folder_without_a_state_is_an_error(tmp_path: Path) -> None:
    """A path that was named to be resumed from has a state, or load() says that it has none."""
    args = arguments(tmp_path, SIZES, load=str(tmp_path / "nowhere"))
    with pytest.raises(CheckpointError, match=r"load is .*nowhere, and there is no saved state"):
        DataSource(args).load()
    source = DataSource(args)
    source.load(-1)  # the engine says that it starts anew
    assert source.get_samples(1)[0][0].group_index == 0
    old = arguments(tmp_path, SIZES, save=str(tmp_path / "old"))
    trained(old, 1)
    args.load = old.save
    with pytest.raises(CheckpointError, match=r"autosaved ones of rollouts \[0, 1\]"):
        DataSource(args).load()
    DataSource(args).load(1)
    args.on_missing_state = "restart"
    DataSource(args).load()
    same = arguments(tmp_path, SIZES, load=str(tmp_path / "new"), save=str(tmp_path / "new"))
    DataSource(same).load()


def test_a_run_may_go_on_in_another_folder_and_come_back(tmp_path: Path) -> None:
    """The id of a run goes with its states: its own folder takes it back, another's does not."""
    args = arguments(tmp_path, SIZES)
    trained(args, 1, save=True)
    away = argparse.Namespace(**{**vars(args), "load": args.save, "save": str(tmp_path / "away")})
    source = DataSource(away)
    source.load(1)
    train(source, 2, save=True)
    source.close()
    back = DataSource(argparse.Namespace(**{**vars(args), "load": away.save}))
    back.load(2)
    train(back, 3, save=True)
    back.close()
    other = arguments(tmp_path, SIZES, save=str(tmp_path / "other"))
    trained(other, 0, save=True)
    stranger = DataSource(argparse.Namespace(**{**vars(other), "load": args.save}))
    stranger.load(3)
    with pytest.raises(CheckpointError, match="another run"):
        train(stranger, 4)


def test_what_killed_writers_leave_is_removed(tmp_path: Path) -> None:
    """Half-written files of this program go at the next write; others stay."""
    args = arguments(tmp_path, SIZES)
    folder = Path(args.save) / "rollout"
    folder.mkdir(parents=True)
    ours = folder / ".curriculum_learning_3.state.0123456789abcdef.tmp"
    theirs = folder / ".model.tmp"
    for path in (ours, theirs):
        path.write_bytes(b"half")
    os.utime(ours, (0, 0))
    trained(args, 0)
    assert not ours.exists()
    assert theirs.exists()
