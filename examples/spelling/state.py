"""The engine's half of a checkpoint: policy, optimizer and random state, written atomically.

The data source saves its own half. A rollout can be resumed from if both halves are there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch

from examples.spelling.policy import Policy

KEPT = 2
"""Rollouts whose state is kept; of older ones nothing is needed."""


class State(NamedTuple):
    """All that the engine carries from one rollout to the next."""

    policy: Policy
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    """Every random choice of the engine is drawn from it."""


def save_state(folder: Path, rollout_id: int, state: State) -> None:
    """Write the state; after a crash at any moment the file is there as a whole or not at all."""
    content = {
        "policy": state.policy.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "generator": state.generator.get_state(),
    }
    path = _path(folder, rollout_id)
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as file:
        torch.save(content, file)
        sync(file)
    os.replace(temporary, path)
    for old in saved_states(folder)[:-KEPT]:
        _path(folder, old).unlink()


def load_state(folder: Path, rollout_id: int, state: State) -> None:
    """Go to the state saved after ``rollout_id``, in place."""
    # weights_only: a file with anything but plain data in it is refused, not run
    content: dict[str, Any] = torch.load(_path(folder, rollout_id), weights_only=True)
    state.policy.load_state_dict(content["policy"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.generator.set_state(content["generator"])


def saved_states(folder: Path) -> list[int]:
    """The rollouts with a state in ``folder``, ascending; -1 is the one before the first."""
    return sorted(int(path.stem.removeprefix("policy_")) for path in folder.glob("policy_*.pt"))


def sync(file: BinaryIO) -> None:
    """Make sure that what was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def _path(folder: Path, rollout_id: int) -> Path:
    return folder / f"policy_{rollout_id}.pt"
