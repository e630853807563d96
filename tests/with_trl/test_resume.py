"""Runs that are killed, and resumed from the trainer's checkpoints."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from curriculum_learning.errors import CheckpointError
from curriculum_learning.trl import STATE_FILE
from tests.with_trl import inputs, life

KILLED = 6
"""The step at which a first life ends; its checkpoint is of step 4."""

CUT = ("train_runtime", "step_time")
"""Figures of the clock."""


class Run(NamedTuple):
    """What a run left behind."""

    blocks: list[list[str]]
    log: list[dict[str, Any]]
    """The lines of the training steps, without what depends on the clock."""


def of_trainer(trainer: Any, rewards: inputs.Rewards) -> Run:
    """The run of a trainer in this process."""
    return Run(rewards.blocks, _lines(trainer.state.log_history))


def _lines(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in line.items() if key not in CUT}
        for line in history
        if "loss" in line
    ]


@pytest.fixture(scope="module")
def whole(model: Path) -> Run:
    """The run that nobody interrupts."""
    trainer, rewards = inputs.trainer(model, life.CURRICULUM, max_steps=life.STEPS)
    trainer.train()
    return of_trainer(trainer, rewards)


def live(model: Path, out: Path, *, processes: int = 1, killed: int | None = None) -> Run | None:
    """One life of a run in processes of its own; None if it was killed."""
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command += ["-m"]
    command += ["tests.with_trl.life", str(model), str(out)]
    command += [] if killed is None else ["--killed", str(killed)]
    out.mkdir(exist_ok=True)
    for calls in out.glob("calls-*"):
        calls.unlink()
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if killed is not None:
        assert ended.returncode == (-signal.SIGKILL if processes == 1 else 1), ended.stderr
        assert f"checkpoint-{life.SAVED}" in [path.name for path in (out / "run").iterdir()]
        return None
    assert ended.returncode == 0, ended.stderr
    log = json.loads((out / "log.json").read_text(encoding="utf-8"))
    return Run(calls_of(out, processes), _lines(log))


def calls_of(out: Path, processes: int) -> list[list[str]]:
    """The prompts of each block, of all processes."""
    lines = [
        (out / f"calls-{rank}.jsonl").read_text(encoding="utf-8").splitlines()
        for rank in range(processes)
    ]
    blocks = []
    for parts in zip(*lines, strict=True):
        prompts = [prompt for part in parts for prompt in json.loads(part)[1]]
        blocks.append(prompts[::2])
    return blocks


def test_a_killed_run_goes_on_exactly(model: Path, tmp_path: Path, whole: Run) -> None:
    """Killed with SIGKILL and resumed, it has the prompts, losses and metrics of one life."""
    live(model, tmp_path / "out", killed=KILLED)
    second = live(model, tmp_path / "out")
    assert second is not None
    assert second.blocks == whole.blocks[life.SAVED :]
    assert second.log == whole.log


def test_two_processes_draw_what_one_draws(model: Path, tmp_path: Path, whole: Run) -> None:
    """So they do before and after a kill, and one process goes on where two were."""
    out = tmp_path / "out"
    live(model, out, processes=2, killed=KILLED)
    first = calls_of(out, 2)
    assert first == whole.blocks[: len(first)]
    assert len(first) == KILLED + 1
    shutil.copytree(out, tmp_path / "alone")
    for processes, folder in ((2, out), (1, tmp_path / "alone")):
        second = live(model, folder, processes=processes)
        assert second is not None
        assert second.blocks == whole.blocks[life.SAVED :]
        figures = [line for line in second.log if line["step"] > life.SAVED]
        assert len(figures) == life.STEPS - life.SAVED
        for line, expected in zip(figures, whole.log[life.SAVED :], strict=True):
            ours = {key for key in expected if key.startswith("curriculum/")}
            assert {key: line[key] for key in ours} == {key: expected[key] for key in ours}


ROWWISE = {
    "source_weights": {"easy": "lambda step: 1 + step", "hard": 2},
    "source_rule": {"type": "sec"},
    "source_curricula": {"easy": {"type": "learnability"}, "hard": {"type": "thompson"}},
}


@pytest.mark.parametrize("curriculum", [life.CURRICULUM, ROWWISE])
@pytest.mark.parametrize("saved", [1, 3, 4, 6])
def test_any_step_can_be_resumed_from(
    model: Path, tmp_path: Path, saved: int, curriculum: dict[str, Any]
) -> None:
    """Amid a block too: its prompts are generated for once more, and not counted twice."""
    shape = {"num_iterations": 2, "steps_per_generation": 2, "per_device_train_batch_size": 8}
    keys = {"max_steps": 12, "save_strategy": "steps", "save_steps": 1, **shape}
    keys["output_dir"] = str(tmp_path / "run")
    trainer, rewards = inputs.trainer(model, curriculum, **keys)
    trainer.train()
    resumed, later = inputs.trainer(model, curriculum, **keys)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / f"checkpoint-{saved}"))
    whole, rest = rewards.blocks, later.blocks
    assert len(whole) == 3
    assert rest == whole[saved // 4 :]
    state = [line for line in trainer.state.log_history if "curriculum/updates" in line][-1]
    ended = [line for line in resumed.state.log_history if "curriculum/updates" in line][-1]
    ours = [key for key in state if key.startswith("curriculum/")]
    assert {key: ended[key] for key in ours} == {key: state[key] for key in ours}


def test_a_checkpoint_that_does_not_fit_is_refused(model: Path, tmp_path: Path) -> None:
    """One without a curriculum, a damaged one, and one of other keys: nothing begins anew."""
    keys = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    keys["output_dir"] = str(tmp_path / "run")
    trainer, _ = inputs.trainer(model, life.CURRICULUM, **keys)
    trainer.train()
    checkpoint = tmp_path / "run" / "checkpoint-1"

    def resume(curriculum: Any) -> None:
        inputs.trainer(model, curriculum, **keys)[0].train(resume_from_checkpoint=str(checkpoint))

    with pytest.raises(CheckpointError, match="num_intervals"):
        resume({**life.CURRICULUM, "num_intervals": 5})
    state = checkpoint / STATE_FILE
    content = state.read_bytes()
    state.write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match="checksum"):
        resume(life.CURRICULUM)
    state.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        resume(life.CURRICULUM)
