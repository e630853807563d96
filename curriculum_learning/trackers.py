"""Curves while training, for engines that have no trackers of their own.

``data_source_metrics_callback`` takes the functions ``tensorboard`` and ``wandb`` by dotted path,
or an object of ``TensorBoard`` or ``WandB`` with settings of your own.
"""

from __future__ import annotations

import atexit
import importlib
import numbers
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curriculum_learning.errors import ConfigurationError

FOLDER = "runs"
"""Where ``tensorboard`` writes unless TENSORBOARD_DIR is set."""

_X_AXIS = "rollout/step"
_FLUSH_SECONDS = 5
"""A killed run loses at most this much of its curves."""


class TensorBoard:
    """Writes event files.

    Args:
        folder: Where to write; each run has its own.
        first_rollout: Hides what an earlier, killed run wrote for this rollout and later ones.

    Raises:
        ConfigurationError: tensorboardX is not installed, or the folder cannot be written.
    """

    def __init__(self, folder: str | Path, *, first_rollout: int = 0) -> None:
        writer = _load("tensorboardX", "tensorboard")
        try:
            self._writer = writer.SummaryWriter(
                str(folder),
                purge_step=first_rollout or None,
                flush_secs=_FLUSH_SECONDS,
                # Names have the second of the start: a quick resume must not overwrite a file.
                filename_suffix=f".{first_rollout}",
            )
        except OSError as error:
            raise ConfigurationError(
                f"the curves for TensorBoard cannot be written to {folder}: {error}; set "
                f"TENSORBOARD_DIR, or give TensorBoard another folder",
                key="TENSORBOARD_DIR",
                value=str(folder),
            ) from error

    def __call__(self, metrics: Mapping[str, Any], rollout_id: int) -> None:
        """Writes the metrics of a rollout."""
        for name, value in _numbers(metrics).items():
            self._writer.add_scalar(name, value, rollout_id)

    def close(self) -> None:
        """Finishes the files."""
        self._writer.close()


class WandB:
    """Logs to Weights & Biases; offline if WANDB_MODE is ``offline``.

    Args:
        settings: Arguments of ``wandb.init``; ignored if a run has begun already.

    Raises:
        ConfigurationError: wandb is not installed.
    """

    def __init__(self, **settings: Any) -> None:
        module = _load("wandb", "wandb")
        self._run = module.run or module.init(**settings)
        # Needs an axis of its own: W&B's step can only grow, and a resumed run goes back.
        self._run.define_metric(_X_AXIS)
        self._run.define_metric("*", step_metric=_X_AXIS)

    def __call__(self, metrics: Mapping[str, Any], rollout_id: int) -> None:
        """Logs the metrics of a rollout."""
        self._run.log({**_numbers(metrics), _X_AXIS: rollout_id})

    def close(self) -> None:
        """Finishes the run."""
        self._run.finish()


def tensorboard(metrics: Mapping[str, Any], rollout_id: int) -> None:
    """Writes the metrics of a rollout to the folder TENSORBOARD_DIR, or to ``runs``."""
    if "tensorboard" not in _made:
        folder = os.environ.get("TENSORBOARD_DIR", FOLDER)
        made = _made["tensorboard"] = TensorBoard(folder, first_rollout=rollout_id)
        atexit.register(made.close)  # nobody else can close it
    _made["tensorboard"](metrics, rollout_id)


def wandb(metrics: Mapping[str, Any], rollout_id: int) -> None:
    """Logs the metrics of a rollout to W&B, set up by its environment variables."""
    if "wandb" not in _made:
        _made["wandb"] = WandB()
    _made["wandb"](metrics, rollout_id)


_made: dict[str, TensorBoard | WandB] = {}


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value) for name, value in metrics.items() if isinstance(value, numbers.Real)
    }


def _load(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigurationError(
            f"data_source_metrics_callback: {module} is not installed; "
            f"pip install 'curriculum_learning[{extra}]'",
            key="data_source_metrics_callback",
        ) from None
