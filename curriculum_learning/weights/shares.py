"""Weights at one step, and their shares."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.errors import ScheduleError
from curriculum_learning.weights.schedules import Schedule

KEY = "data_source_weights"
"""The configuration key of the weights."""


def weights_at(schedules: Mapping[str, Schedule], step: int) -> dict[str, float]:
    """Returns the weight of each source at ``step``.

    Raises:
        ScheduleError: A schedule fails at this step, or all weights are 0.
    """
    weights = {name: schedule(step) for name, schedule in schedules.items()}
    refuse_all_zero(weights, step)
    return weights


def refuse_all_zero(weights: Mapping[str, float], step: int, key: str = KEY) -> None:
    """Refuses weights of which none is above 0.

    Raises:
        ScheduleError: They are those of ``step``.
    """
    if not any(weights.values()):
        raise ScheduleError(
            f"{key}: the weights of all sources ({', '.join(weights)}) are 0 at step {step}; "
            f"at least one must be > 0",
            key=key,
            value=dict(weights),
        )


def normalise(weights: Mapping[str, float]) -> dict[str, float]:
    """Returns shares: the weights, at least one of them > 0, divided by their sum."""
    largest = max(weights.values())  # dividing by it first keeps the sum finite
    total = math.fsum(weight / largest for weight in weights.values())
    return {name: weight / largest / total for name, weight in weights.items()}


def normalise_all(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns shares of many steps, of the shape of the weights: (sources, steps)."""
    relative = weights / weights.max(axis=0)
    shares: NDArray[np.float64] = relative / relative.sum(axis=0)
    return shares
