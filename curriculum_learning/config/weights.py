"""Reads one weight of a configuration: a number, a lambda, a dotted path, or a named shape."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.config.dotted_path import NoModuleError, load_callable
from curriculum_learning.config.keys import read_choice, read_value
from curriculum_learning.config.plain import plain
from curriculum_learning.config.problems import Findings, Problem, Problems, shown
from curriculum_learning.errors import ScheduleError
from curriculum_learning.weights.expression import compile_lambda
from curriculum_learning.weights.schedules import NAMED, SHAPES, Constant, Number, Schedule
from curriculum_learning.weights.shares import KEY

_FORMS = (
    "a number >= 0, a text 'lambda step: ...', the dotted path of a function "
    "(package.module.function), or a mapping with 'schedule' and its parameters"
)
_PART = 4096
"""Steps."""
_DOCUMENTED_MODULE = "examples.curriculum_learning.weight_scheduler"


def parse_weight(
    value: object, source_name: str, *, key: str = KEY, noun: str = "weight"
) -> Schedule:
    """Reads one weight of a configuration, or another number that follows the rollout step.

    Args:
        value: A number >= 0; a text ``lambda step: ...`` (its grammar is that of
            ``weights.expression``); the dotted path of a function of the rollout
            step; or a mapping that names a schedule with all its parameters:
            ``{schedule: linear | cosine | exponential, start, end, steps}``,
            ``{schedule: levels, values, steps}`` or
            ``{schedule: piecewise, points: [[step, weight], ...]}``.
        source_name: The source, for error messages.
        key: The configuration key, for error messages.
        noun: What the number is, for error messages.

    Returns:
        A function of the rollout step. It raises ScheduleError, naming the source and the step,
        where the schedule raises or gives something else than a finite number >= 0.

    Raises:
        ScheduleError: The value is none of these. It names the source and shows what is wrong.
    """
    findings = Findings()
    schedule, problems = read_weight(plain(value), noun)
    whole = [problem._replace(value=value) for problem in problems]
    findings.add(key, whole, source=source_name, kind=ScheduleError)
    findings.raise_all()
    assert schedule is not None
    return checked(schedule, value, source_name, key=key, noun=noun)


def checked(
    schedule: Callable[[int], Any], value: object, source: str, *, key: str, noun: str
) -> Schedule:
    """Returns a schedule that checks every result; a constant was checked when it was read."""
    if isinstance(schedule, Constant):
        return schedule
    return CheckedSchedule(schedule, value, source, key, noun)


def read_weight(value: Any, noun: str) -> tuple[Callable[[int], Any] | None, Problems]:
    """Reads any form of a weight; the results are not checked yet."""
    if isinstance(value, str):
        text = value.strip()
        # A dotted path has no space in it; whatever has one was meant to be a lambda.
        is_path = all(part.isidentifier() for part in text.split(".")) and "." in text
        if not is_path and not text.startswith("lambda"):
            return None, [Problem((), value, f" {shown(value)}: a {noun} is {_FORMS}")]
        try:
            return _function_at(text) if is_path else compile_lambda(text), []
        except ValueError as error:
            return None, [Problem((), value, f" {shown(value)}: {error}")]
    if isinstance(value, Mapping):
        recipe, problems = read_choice("schedule", SHAPES, "schedule", value)
        return (None if recipe is None else recipe.make()), problems
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None, [Problem((), value, f" {shown(value)}: a {noun} is {_FORMS}")]
    number, problems = read_value(Number, value)
    return None if problems else Constant(number), problems


def _function_at(path: str) -> Callable[[int], Any]:
    try:
        return load_callable(path)
    except NoModuleError:
        # Configurations written for the example's own folder work without that folder.
        module, _, name = path.rpartition(".")
        if module == _DOCUMENTED_MODULE and name in NAMED:
            return NAMED[name]
        raise


@dataclasses.dataclass(frozen=True)
class CheckedSchedule:
    """A schedule of one source that checks every result."""

    function: Callable[[int], Any]
    configured: Any
    """What the configuration says."""
    source: str
    key: str
    noun: str
    """What the result is."""

    def __call__(self, rollout_step: int) -> float:
        """Returns the number at a step.

        Raises:
            ScheduleError: The schedule raises, or gives no finite number >= 0.
        """
        try:
            result = self.function(rollout_step)
            is_number = isinstance(result, numbers.Real) and not isinstance(result, bool)
            number = float(result) if is_number else math.nan
        except (Exception, SystemExit) as raised:
            problem = f"raises {type(raised).__name__}: {raised}"
            raise self._error(problem, rollout_step) from raised
        if not 0 <= number < math.inf:
            problem = f"gives {result!r}" if is_number else f"gives {result!r}, which is no number,"
            raise self._error(problem, rollout_step)
        return number

    def over(self, steps: range) -> NDArray[np.float64]:
        """Returns the numbers at many steps, shape (len(steps),); raises as a call does."""
        function = self.function
        try:
            results = [function(step) for step in steps]
            found = np.array(results, dtype=np.float64)
        except (Exception, SystemExit):
            results, found = [None], np.empty(0)
        are_numbers = {int, float}.issuperset(map(type, results))
        if are_numbers and ((found >= 0) & (found < math.inf)).all():
            return found
        # One by one, to name the step, and for numbers of other types.
        return np.array([self(step) for step in steps])

    def _error(self, problem: str, step: int) -> ScheduleError:
        return ScheduleError(
            f"{self.key} of source '{self.source}' {shown(self.configured)} {problem} at step "
            f"{step}; a {self.noun} is a finite number >= 0",
            source=self.source,
            key=self.key,
            value=self.configured,
        )


def numbers_over(schedule: Schedule, steps: range) -> NDArray[np.float64]:
    """Returns what a schedule gives at many steps, shape (len(steps),); raises as a call does."""
    if isinstance(schedule, Constant):
        return np.full(len(steps), schedule.weight, dtype=np.float64)
    if isinstance(schedule, CheckedSchedule):
        return schedule.over(steps)
    return np.array([schedule(step) for step in steps])


def in_parts(steps: range) -> list[range]:
    """Divides steps into parts whose numbers are worked out together."""
    return [steps[start : start + _PART] for start in range(0, len(steps), _PART)]
