"""Reads one weight of a configuration: a number, a lambda, a dotted path, or a named shape."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from curriculum_learning.errors import ScheduleError
from curriculum_learning.weights.dotted_path import NoModuleError, load_callable
from curriculum_learning.weights.expression import compile_lambda
from curriculum_learning.weights.schedules import (
    NAMED,
    Constant,
    Schedule,
    cosine,
    exponential,
    levels,
    linear,
    piecewise,
)

KEY = "data_source_weights"

_FORMS = (
    "a number >= 0, a text 'lambda step: ...', the dotted path of a function "
    "(package.module.function), or a mapping with 'schedule' and its parameters"
)
_DOCUMENTED_MODULE = "examples.curriculum_learning.weight_scheduler"


def parse_weight(
    value: object, source_name: str, *, key: str = KEY, noun: str = "weight"
) -> Schedule:
    """Read one weight of a configuration, or another number that follows the rollout step.

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
    reader = _Reader(source_name, key, noun)
    if isinstance(value, str):
        text = value.strip()
        # A dotted path has no space in it; whatever has one was meant to be a lambda.
        is_path = all(part.isidentifier() for part in text.split(".")) and "." in text
        schedule = reader.function_at(text) if is_path else reader.expression(text)
    elif isinstance(value, Mapping):
        schedule = reader.named(value)
    else:
        if not _is_number(value):
            raise reader.error(value, f"it is a {type(value).__name__}; a {noun} is {_FORMS}")
        return Constant(reader.number(value, value, f"a {noun}"))
    return _checked(schedule, source_name, key, value, noun)


def _checked(
    schedule: Callable[[int], Any], source: str, key: str, value: object, noun: str
) -> Schedule:
    """``schedule``, with every result checked."""

    def weight(rollout_step: int) -> float:
        def error(problem: str) -> ScheduleError:
            return ScheduleError(
                f"{key} of source '{source}': {value!r} {problem} at step {rollout_step}; "
                f"a {noun} is a finite number >= 0",
                source=source,
                key=key,
                value=value,
            )

        try:
            result = schedule(rollout_step)
            number = float(result) if _is_number(result) else None
        except (Exception, SystemExit) as raised:
            raise error(f"raises {type(raised).__name__}: {raised}") from raised
        if number is None:
            raise error(f"gives {result!r}, which is no number,")
        if not 0 <= number < math.inf:
            raise error(f"gives {result!r}")
        return number

    return weight


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


class _Reader:
    """Reads the forms of one source's weight; its errors name the source."""

    def __init__(self, source: str, key: str, noun: str) -> None:
        self.source = source
        self.key = key
        self.noun = noun

    def error(self, value: object, problem: str) -> ScheduleError:
        return ScheduleError(
            f"{self.key} of source '{self.source}': {value!r}: {problem}",
            source=self.source,
            key=self.key,
            value=value,
        )

    def number(self, item: object, whole: object, what: str) -> float:
        """``item``, which is ``what`` of the configured value ``whole``."""
        if not _is_number(item):
            raise self.error(whole, f"{what} must be a number, not {item!r}")
        try:
            number = float(item)  # type: ignore[arg-type]  # a real number, just checked
        except OverflowError:
            number = math.inf
        if not 0 <= number < math.inf:
            raise self.error(whole, f"{what} must be finite and >= 0, not {item!r}")
        return number

    def expression(self, text: str) -> Callable[[int], Any]:
        if not text.startswith("lambda"):
            raise self.error(text, f"a {self.noun} is {_FORMS}")
        try:
            return compile_lambda(text)
        except ValueError as error:
            raise self.error(text, str(error)) from None

    def function_at(self, path: str) -> Callable[[int], Any]:
        try:
            return load_callable(path)
        except NoModuleError as error:
            # Configurations written for the example's own folder work without that folder.
            module, _, name = path.rpartition(".")
            if module == _DOCUMENTED_MODULE and name in NAMED:
                return NAMED[name]
            raise self.error(path, str(error)) from None
        except (Exception, SystemExit) as error:
            problem = str(error) if type(error) is ValueError else f"importing it raises {error!r}"
            raise self.error(path, problem) from error

    def named(self, value: Mapping[Any, Any]) -> Schedule:
        shapes = {
            "linear": {"start", "end", "steps"},
            "cosine": {"start", "end", "steps"},
            "exponential": {"start", "end", "steps"},
            "levels": {"values", "steps"},
            "piecewise": {"points"},
        }
        name = value.get("schedule")
        if not isinstance(name, str) or name not in shapes:
            raise self.error(value, f"'schedule' must be one of {', '.join(shapes)}")
        given = {key for key in value if key != "schedule"}
        if given != shapes[name]:
            raise self.error(
                value,
                f"schedule {name} takes exactly {', '.join(sorted(shapes[name]))}"
                + _difference("missing", shapes[name] - given)
                + _difference("unknown", given - shapes[name]),
            )
        if name == "piecewise":
            return piecewise(self._points(value))
        steps = value["steps"]
        if not isinstance(steps, numbers.Integral) or isinstance(steps, bool) or steps < 1:
            raise self.error(value, f"steps must be a whole number >= 1, not {steps!r}")
        steps = int(steps)
        if name == "levels":
            values = value["values"]
            if not _is_list(values) or not values:
                raise self.error(value, "values must be a list of at least one number")
            return levels([self.number(item, value, "each of values") for item in values], steps)
        start, end = (self.number(value[key], value, key) for key in ("start", "end"))
        if name == "exponential" and not (start > 0 and end > 0):
            raise self.error(value, "an exponential never reaches 0; start and end must be > 0")
        return {"linear": linear, "cosine": cosine, "exponential": exponential}[name](
            start, end, steps
        )

    def _points(self, value: Mapping[Any, Any]) -> list[tuple[float, float]]:
        points = value["points"]
        if not _is_list(points) or not points:
            raise self.error(value, "points must be a list of at least one [step, weight]")
        read: list[tuple[float, float]] = []
        for point in points:
            if not _is_list(point) or len(point) != 2:
                raise self.error(value, f"a point is [step, weight], not {point!r}")
            step, weight = (self.number(item, value, "each number of points") for item in point)
            if read and step <= read[-1][0]:
                raise self.error(value, "the steps of points must increase")
            read.append((step, weight))
        return read


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _difference(word: str, names: set[Any]) -> str:
    return f"; {word}: {', '.join(sorted(map(str, names)))}" if names else ""
