from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from curriculum_learning import ConfigurationError, trackers
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.custom_log import custom_rollout_log_function
from tests.harness import prompt_files

ROOT = Path(__file__).parent.parent


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    """The scalars in event files, by name and step."""
    found = {}
    for path in sorted(folder.glob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                found[value.tag, event.step] = value.simple_value
    return found


def train(folder: Path, callback: str) -> None:
    """A plain loop of two rollouts, its tracker named by dotted path."""
    config = {
        "prompt_data": prompt_files(folder, {"a": 4, "b": 4}),
        "data_source_weights": [1, 3],
        "data_source_metrics_callback": callback,
    }
    source = DataSource(config)
    for rollout_id in range(2):
        groups = source.get_samples(4)
        custom_rollout_log_function(rollout_id, config, groups, {"note": "text"}, 1.0)


def test_tensorboard_by_dotted_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metrics of each rollout are in the event files, at their steps."""
    monkeypatch.setenv("TENSORBOARD_DIR", str(tmp_path / "curves"))
    monkeypatch.setattr(trackers, "_made", {})
    train(tmp_path, "curriculum_learning.trackers.tensorboard")
    trackers._made["tensorboard"].close()
    found = scalars(tmp_path / "curves")
    assert found["rollout/a/weight", 0] == pytest.approx(0.25)
    assert found["rollout/b/trained_share", 1] == pytest.approx(0.75)
    assert ("note", 0) not in found


def test_what_a_killed_run_wrote_is_hidden(tmp_path: Path) -> None:
    """A resumed run says from which rollout on its curves count."""
    for first, value in ((0, 1.0), (3, 2.0)):
        tracker = trackers.TensorBoard(tmp_path, first_rollout=first)
        tracker({"x": value}, first)
        tracker.close()
    assert scalars(tmp_path) == {("x", 0): 1.0, ("x", 3): 2.0}


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """It names the folder, and what to set."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="set TENSORBOARD_DIR"):
        trackers.TensorBoard(tmp_path / "file" / "curves")


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network the run is written to the folder, to be synchronised later."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setattr(trackers, "_made", {})
    train(tmp_path, "curriculum_learning.trackers.wandb")
    made = trackers._made["wandb"]
    made.close()
    wandb.teardown()  # W&B's own process writes the file; this waits for its end
    (run,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert b"rollout/a/weight" in run.read_bytes()


def test_a_loop_need_not_close_its_tracker(tmp_path: Path) -> None:
    """What a tracker named by dotted path was given is there when the process has ended."""
    program = (
        "from curriculum_learning.trackers import tensorboard\n"
        "for rollout_id in range(50): tensorboard({'x': rollout_id}, rollout_id)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TENSORBOARD_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=tmp_path)
    assert scalars(tmp_path) == {("x", rollout_id): rollout_id for rollout_id in range(50)}
