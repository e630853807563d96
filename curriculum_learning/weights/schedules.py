"""Schedules: the weight of one source as a function of the rollout step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Annotated

from annotated_types import Ge, Gt, Len

from curriculum_learning.errors import ScheduleError

Schedule = Callable[[int], float]
"""Takes the rollout step, >= 0; returns a finite number >= 0."""

Number = Annotated[float, Ge(0), "a finite number >= 0"]
Positive = Annotated[float, Gt(0), "a number above 0 (an exponential never reaches 0)"]
Steps = Annotated[int, Ge(1)]
Point = Annotated[Sequence[Number], Len(2, 2), "[step, weight], two finite numbers >= 0"]


class Constant:
    """The same weight at every step."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, rollout_step: int) -> float:
        """The weight."""
        return self.weight


def is_zero(schedule: Schedule) -> bool:
    """Whether a schedule is the constant 0."""
    return isinstance(schedule, Constant) and schedule.weight == 0


def linear(start: Number, end: Number, steps: Steps) -> Schedule:
    """From ``start`` at step 0 to ``end`` at step ``steps`` in a straight line, then flat."""
    return lambda rollout_step: _between(start, end, _progress(rollout_step, steps))


def cosine(start: Number, end: Number, steps: Steps) -> Schedule:
    """From ``start`` to ``end`` along half a cosine wave, slow at both ends, then flat."""
    return lambda rollout_step: _between(
        start, end, (1 - math.cos(math.pi * _progress(rollout_step, steps))) / 2
    )


def exponential(start: Positive, end: Positive, steps: Steps) -> Schedule:
    """From ``start`` to ``end`` by a constant factor per step, then flat; both must be > 0."""

    def weight(rollout_step: int) -> float:
        part = _progress(rollout_step, steps)
        return float(start ** (1 - part) * end**part)

    return weight


def levels(
    values: Annotated[Sequence[Number], Len(1), "a list of at least one number"], steps: Steps
) -> Schedule:
    """Each of ``values`` for an equal part of ``steps``, then the last one."""
    return lambda rollout_step: values[min(rollout_step * len(values) // steps, len(values) - 1)]


def piecewise(
    points: Annotated[Sequence[Point], Len(1), "a list of at least one [step, weight]"],
) -> Schedule:
    """Straight lines between ``points`` of [step, weight]; flat before the first, after the last.

    Raises:
        ScheduleError: The steps of the points do not increase.
    """
    for before, after in itertools.pairwise(points):
        if before[0] >= after[0]:
            raise ScheduleError(
                f"the steps of points must increase, and {after[0]:g} follows {before[0]:g}",
                key="points",
                value=after,
            )

    def weight(rollout_step: int) -> float:
        before = points[0]
        for after in points:
            if rollout_step <= after[0]:
                if after[0] == before[0]:
                    return after[1]
                part = (rollout_step - before[0]) / (after[0] - before[0])
                return _between(before[1], after[1], part)
            before = after
        return before[1]

    return weight


SHAPES: dict[str, Callable[..., Schedule]] = {
    shape.__name__: shape for shape in (linear, cosine, exponential, levels, piecewise)
}
"""The shapes that a configuration can name by ``schedule``; their arguments are its keys."""


def _progress(rollout_step: int, steps: int) -> float:
    return min(rollout_step / steps, 1.0)


def _between(start: float, end: float, part: float) -> float:
    # This form gives both ends exactly.
    return start * (1 - part) + end * part


_easy_to_hard = linear(0.9, 0.1, 200)
_hard_to_easy = linear(0.1, 0.9, 200)
_exponential_decay = exponential(0.9, 0.1, 200)
_exponential_warmup = exponential(0.1, 0.9, 200)
_level_increasing = levels((0.5, 0.6, 0.7, 0.8), 200)
_level_decreasing = levels((0.8, 0.7, 0.6, 0.5), 200)


def easy_to_hard(rollout_step: int) -> float:
    """0.9 at step 0 down to 0.1 at step 200 in a straight line, then 0.1."""
    return _easy_to_hard(rollout_step)


def hard_to_easy(rollout_step: int) -> float:
    """0.1 at step 0 up to 0.9 at step 200 in a straight line, then 0.9."""
    return _hard_to_easy(rollout_step)


def exponential_decay(rollout_step: int) -> float:
    """0.9 at step 0 down to 0.1 at step 200 by a constant factor per step, then 0.1."""
    return _exponential_decay(rollout_step)


def exponential_warmup(rollout_step: int) -> float:
    """0.1 at step 0 up to 0.9 at step 200 by a constant factor per step, then 0.9."""
    return _exponential_warmup(rollout_step)


def level_increasing(rollout_step: int) -> float:
    """0.5, 0.6, 0.7 and 0.8 for 50 steps each, then 0.8."""
    return _level_increasing(rollout_step)


def level_decreasing(rollout_step: int) -> float:
    """0.8, 0.7, 0.6 and 0.5 for 50 steps each, then 0.5."""
    return _level_decreasing(rollout_step)


NAMED: dict[str, Schedule] = {
    schedule.__name__: schedule
    for schedule in (
        easy_to_hard,
        hard_to_easy,
        exponential_decay,
        exponential_warmup,
        level_increasing,
        level_decreasing,
    )
}
"""The schedules that a configuration can name by dotted path."""
