"""The clock: the rollout step is the engine's rollout, not the number of requests."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)


class RolloutClock:
    """The step that schedules see.

    It is the larger of the last logged rollout + 1 and the rollout that the engine says it is in,
    and never decreases. Until an engine has told a rollout, and only then, the number of groups
    drawn // ``rollout_batch_size`` stands in; where rollouts will be logged it is 0 until then.

    Args:
        rollout_batch_size: Groups per rollout, or None where it is not known.
        logged: Whether the engine will log its rollouts.
        weights_vary: Whether the step changes anything, so that a warning is of use.
    """

    def __init__(
        self,
        rollout_batch_size: int | None,
        *,
        logged: bool,
        weights_vary: bool,
    ) -> None:
        self._rollout_batch_size = rollout_batch_size
        self._logged = logged
        self._to_warn = weights_vary
        self._step = 0
        self._told = False
        self._override: int | None = None

    def begun(self, rollout: int) -> None:
        """Moves on to the rollout that the engine is in, unless the step has been set."""
        if self._override is None:
            self._tell(rollout)

    def step(self, drawn: int) -> int:
        """Returns the step; ``drawn`` is the number of groups drawn so far."""
        if self._override is not None:
            return self._override
        if self._told or self._logged:
            return self._step
        if self._rollout_batch_size is None:
            self._warn("the steps stay at 0, because rollout_batch_size is not set either")
            return self._step
        step = max(drawn // self._rollout_batch_size, self._step)
        if step > 0:
            self._warn(
                "the groups drawn // rollout_batch_size stand in for it; over-sampling and "
                "filtered groups make that run ahead of the real rollouts"
            )
        return step

    def override(self, step: int) -> None:
        """Sets the step until the next rollout is logged."""
        self._override = step

    def rollout_logged(self, rollout_id: int) -> None:
        """Moves on to the rollout after ``rollout_id``."""
        self._override = None
        self._tell(rollout_id + 1)

    def _tell(self, rollout: int) -> None:
        self._step = max(self._step, rollout)
        self._told = True

    def _warn(self, what: str) -> None:
        if self._to_warn:
            self._to_warn = False
            logger.warning(
                "the engine has not told which rollout it is in: %s. Use "
                "curriculum_learning.custom_log.custom_rollout_log_function as the engine's "
                "rollout log function, or call set_rollout_step",
                what,
            )

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"step": self._step, "told": self._told, "override": self._override}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads what ``state_dict`` returned."""
        self._step, self._told, self._override = state["step"], state["told"], state["override"]
