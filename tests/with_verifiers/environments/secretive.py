"""Tasks that are not whole when they are written."""

from __future__ import annotations

import verifiers.v1 as vf
from pydantic import Field

__all__ = ["SecretiveTaskset"]


class SecretiveData(vf.TaskData):
    """A task with a field that is left out."""

    key: str = Field("", exclude=True)


class SecretiveTask(vf.Task[SecretiveData]):
    """Rewards nothing."""


class SecretiveTaskset(vf.Taskset[SecretiveTask, vf.TasksetConfig]):
    """One task."""

    def load(self) -> list[SecretiveTask]:
        """Returns the task."""
        return [SecretiveTask(SecretiveData(prompt="guess", key="x"))]
