from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curriculum_learning import ScheduleError, parse_weight, weight_scheduler
from curriculum_learning.weights.schedules import NAMED
from curriculum_learning.weights.shares import normalise, weights_at


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("easy_to_hard", 0.9, 0.1),
        ("hard_to_easy", 0.1, 0.9),
        ("exponential_decay", 0.9, 0.1),
        ("exponential_warmup", 0.1, 0.9),
        ("level_increasing", 0.5, 0.8),
        ("level_decreasing", 0.8, 0.5),
    ],
)
def test_named_schedules_go_from_start_to_end_in_200_steps(
    name: str, start: float, end: float
) -> None:
    """Each named schedule has exactly its documented ends, never turns back, and then is flat."""
    schedule = NAMED[name]
    values = [schedule(step) for step in range(400)]
    assert values[0] == pytest.approx(start, abs=1e-12)
    assert values[200:] == [pytest.approx(end, abs=1e-12)] * 200
    assert values == sorted(values, reverse=end < start)


@pytest.mark.parametrize("name", ["exponential_decay", "exponential_warmup"])
def test_exponential_schedules_are_strictly_monotone_and_smooth(name: str) -> None:
    """They change at every one of the 200 steps, by a constant factor."""
    values = [NAMED[name](step) for step in range(201)]
    factors = [after / before for before, after in itertools.pairwise(values)]
    assert factors == [pytest.approx(factors[0], rel=1e-9)] * 200
    assert factors[0] != 1


def test_levels_last_50_steps_each() -> None:
    """The level schedules hold each of their four values for 50 steps."""
    values = [weight_scheduler.level_increasing(step) for step in range(250)]
    assert values == [0.5] * 50 + [0.6] * 50 + [0.7] * 50 + [0.8] * 100
    assert [weight_scheduler.level_decreasing(s) for s in (0, 49, 50, 149, 150, 999)] == [
        0.8, 0.8, 0.7, 0.6, 0.5, 0.5,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, {0: 0.5, 900: 0.5}),
        (3, {0: 3.0}),
        (0, {0: 0.0}),
        ("lambda step: 0.9 - 0.8 * min(step / 200, 1.0)", {0: 0.9, 100: 0.5, 500: 0.1}),
        ("lambda s: 1 if s < 10 else 2", {9: 1, 10: 2}),
        ("lambda step: (step > 3) * 2 + 1", {3: 1, 4: 3}),
        ("lambda step: not step > 3 and 5 or 2", {3: 5, 4: 2}),
        ("lambda step: math.exp(-step / 10)", {0: 1.0, 10: math.exp(-1)}),
        ("lambda step: exp(-step / 10) + pi - math.pi", {0: 1.0, 10: math.exp(-1)}),
        ("lambda step: 0.99 ** step", {100: 0.99**100}),
        ("lambda step: 2 ** -step", {10: 2**-10}),
        ("lambda step: 0.5 ** ((step - 100) / 50)", {0: 4, 100: 1}),
        ("lambda step: 2 ** (1 if step < 5 else 3)", {0: 2, 5: 8}),
        ("lambda step: 1.5 ** sin(step)", {0: 1}),
        ("lambda step: 2 ** max(-step, -3)", {1: 0.5, 9: 0.125}),
        ("lambda step: 2 ** min(step / 10, 3)", {10: 2, 500: 8}),
        ("lambda step: (step / 10) ** 2 + pow(step, 0.5)", {100: 110}),
        ("lambda exp: math.exp(0) + exp ** 2", {3: 10}),
        ("lambda pow: pow ** 2", {3: 9}),
        ("lambda step: round(step / 3, 1)", {1: 0.3}),
        ("  lambda step: 1  ", {0: 1}),
        ("examples.curriculum_learning.weight_scheduler.easy_to_hard", {0: 0.9, 200: 0.1}),
        ("curriculum_learning.weight_scheduler.hard_to_easy", {0: 0.1, 100: 0.5}),
        ({"schedule": "linear", "start": 1, "end": 0, "steps": 4}, {0: 1, 1: 0.75, 4: 0, 9: 0}),
        ({"schedule": "cosine", "start": 0, "end": 1, "steps": 4}, {0: 0, 2: 0.5, 4: 1, 9: 1}),
        ({"schedule": "exponential", "start": 1, "end": 16, "steps": 4}, {0: 1, 1: 2, 4: 16}),
        ({"schedule": "levels", "values": [1, 2, 3], "steps": 9}, {2: 1, 3: 2, 8: 3, 99: 3}),
        (
            {"schedule": "piecewise", "points": [[10, 1], [20, 2], [30, 0]]},
            {0: 1, 10: 1, 15: 1.5, 25: 1, 30: 0, 99: 0},
        ),
    ],
)  # fmt: skip
def test_every_form_of_a_weight(value: object, expected: dict[int, float]) -> None:
    """Numbers, lambdas, dotted paths and mappings give the weights they say."""
    weight = parse_weight(value, "math")
    assert {step: weight(step) for step in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "piece"),
    [
        (True, "True"), (None, "None"), (10**400, "finite"),
        ({"schedule": "levels", "values": [10**400], "steps": 5}, "finite"), (-1, ">= 0"),
        (math.nan, "finite"), (math.inf, "finite"),
        ([0.5], "mapping"), ("", "lambda"), ("0.5", "lambda"), ("hard", "lambda"),
        ("lambda step:", "valid Python"), ("lambda: 1", "exactly one"),
        ("lambda a, b: 1", "a, b"), ("lambda a=1: 1", "a=1"), ("lambda *a: 1", "*a"),
        ("lambda **a: 1", "**a"), ("lambda *, a: 1", "*, a"), ("lambda a, /: 1", "a, /"),
        ("lambda step: __import__('os')", "__import__"), ("lambda step: open(step)", "open"),
        ("lambda step: step.real", "step.real"), ("lambda step: math.inf.real", "math.inf.real"),
        ("lambda step: step[0]", "step[0]"), ("lambda step: [1][0]", "[1]"),
        ("lambda step: max(x for x in (1, 2))", "for x"), ("lambda step: 'a'", "'a'"),
        ("lambda step: True", "True"), ("lambda step: 1j", "1j"), ("lambda step: other", "other"),
        ("lambda step: (y := 1)", "y := 1"), ("lambda step: 1 << step", "1 << step"),
        ("lambda step: step >> 1", "step >> 1"), ("lambda step: step @ 2", "step @ 2"),
        ("lambda step: step | 1", "step | 1"), ("lambda step: ~step", "~step"),
        ("lambda step: step is 1", "step is 1"), ("lambda step: step in (1,)", "step in"),
        ("lambda step: step ** step", "step ** step"), ("lambda step: 2 ** step", "2 ** step"),
        ("lambda step: 0.5 ** -step", "0.5 ** -step"), ("lambda step: 2 ** (0 - -step)", "2 **"),
        ("lambda step: 2 ** abs(-step)", "abs"), ("lambda step: 2 ** (step / -0.5 * -1)", "2 **"),
        ("lambda step: 2 ** min(step, 1e6)", "1000000"),
        ("lambda step: math.min(1, 2)", "math.min"),
        ("lambda step: pow(2, step)", "pow(2, step)"), ("lambda step: math.pow(9, step)", "pow"),
        ("lambda step: 9 ** 9 ** 9", "9 ** 9 ** 9"), ("lambda step: step ** 1000", "step ** 1000"),
        ("lambda step: pow(2, 3, 5)", "pow(2, 3, 5)"), ("lambda step: math.comb(9, 2)", "comb"),
        ("lambda step: factorial(9)", "factorial"), ("lambda step: math.gcd(4, 2)", "gcd"),
        ("lambda step: math.fsum([1])", "fsum"), ("lambda step: math.prod(1)", "prod"),
        ("lambda step: sum([step])", "sum"), ("lambda step: (lambda: 1)()", "lambda"),
        ("lambda step: round(step, ndigits=1)", "ndigits"), ("lambda step: max(*[1])", "*[1]"),
        ("lambda math: math.exp(1)", "math.exp"), ("lambda step: f'{step}'", "f'"),
        ("lambda step: eval('1')", "eval"), ("lambda step: math.__class__", "__class__"),
        ("lambda step: " + "(" * 400 + "1" + ")" * 400, ""),
        ("lambda step: 1" + "+1" * 2000, "2000"),
        ("lambda step: " + "-" * 1900 + "1", ""),
        ("nosuch.module.f", "no module nosuch.module"),
        ("curriculum_learning.weight_scheduler.easy_to_hrad", "easy_to_hard"),
        ("math.pi", "not a function"),
        ({"schedule": "linear", "start": 1, "end": 0}, "steps of source 'math' is required"),
        ({"schedule": "linear", "start": 1, "end": 0, "steps": 4, "stop": 1}, "(1) is not a known"),
        ({"schedule": "linear", "start": 1, "end": -1, "steps": 4}, "end"),
        ({"schedule": "linear", "start": 1, "end": True, "steps": 4}, "end"),
        ({"schedule": "linear", "start": 1, "end": 0, "steps": 0}, "steps"),
        ({"schedule": "linear", "start": 1, "end": 0, "steps": 1.5}, "steps"),
        ({"schedule": "exponential", "start": 1, "end": 0, "steps": 4}, "never reaches 0"),
        ({"schedule": "levels", "values": [], "steps": 4}, "values"),
        ({"schedule": "levels", "values": "ab", "steps": 4}, "values"),
        ({"schedule": "piecewise", "points": []}, "points"),
        ({"schedule": "piecewise", "points": [[1, 2, 3]]}, "[step, weight]"),
        ({"schedule": "piecewise", "points": [[5, 1], [5, 2]]}, "increase"),
        ({"schedule": "sine"}, "mean cosine?"), ({}, "schedule"), ({"start": 1}, "schedule"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_the_piece_shown(value: object, piece: str) -> None:
    """A weight that cannot be read is one ValueError that names the source and the piece."""
    with pytest.raises(ScheduleError) as raised:
        parse_weight(value, "math")
    assert "'math'" in str(raised.value)
    assert piece in str(raised.value)
    assert raised.value.source == "math"
    assert raised.value.key == "data_source_weights"
    assert raised.value.value is value or raised.value.value == value


@pytest.mark.parametrize(
    ("text", "step", "piece"),
    [
        ("lambda step: 1 / (step - 3)", 3, "ZeroDivisionError"),
        ("lambda step: 2 - step", 3, "-1"),
        ("lambda step: nan", 0, "nan"),
        ("lambda step: inf", 0, "inf"),
        ("lambda step: step > 1", 1, "False"),
        ("lambda step: math.exp(step)", 1000, "OverflowError"),
        ("lambda step: (step + 1e300) ** 2", 1, "OverflowError"),
        ("lambda step: min(step)", 1, "TypeError"),
        ("lambda step: floor(exp(700)) * floor(exp(700))", 0, "OverflowError"),
        ("sys.exit", 3, "SystemExit"),
        ("lambda step: (0 - 8) ** 0.5", 0, "not a real number"),
    ],
)
def test_a_schedule_that_fails_names_source_and_step(text: str, step: int, piece: str) -> None:
    """Raising, NaN, infinity, a negative or a boolean is an error with source and step."""
    weight = parse_weight(text, "math")
    with pytest.raises(ScheduleError) as raised:
        weight(step)
    assert "'math'" in str(raised.value)
    assert f"step {step}" in str(raised.value)
    assert piece in str(raised.value)


@given(st.text(max_size=60))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    """Whatever follows "lambda step:" is a schedule or a ScheduleError."""
    try:
        weight = parse_weight(f"lambda step: {text}", "fuzz")
        weight(3)
    except ScheduleError:
        pass


def test_a_function_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dotted path finds a module of the working directory, which need not be on sys.path."""
    (tmp_path / "my_schedules.py").write_text(
        "def ramp(rollout_step: int) -> float:\n    return rollout_step / 10\n"
    )
    (tmp_path / "broken_schedules.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != ""])
    before = list(sys.path)
    assert parse_weight("my_schedules.ramp", "math")(5) == 0.5
    assert sys.path == before
    with pytest.raises(ScheduleError, match="a_module_that_is_not_there"):
        parse_weight("broken_schedules.ramp", "math")


def test_a_broken_module_of_the_documented_name_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the user has a module at the documented path, that one counts, errors included."""
    folder = tmp_path / "examples" / "curriculum_learning"
    folder.mkdir(parents=True)
    (folder / "weight_scheduler.py").write_text("def other(step: int) -> int:\n    return 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for end in ("", ".curriculum_learning", ".curriculum_learning.weight_scheduler"):
        monkeypatch.setitem(sys.modules, f"examples{end}", None)
        del sys.modules[f"examples{end}"]  # what the test imports is gone after it
    with pytest.raises(ScheduleError, match="no function easy_to_hard"):
        parse_weight("examples.curriculum_learning.weight_scheduler.easy_to_hard", "math")
    assert parse_weight("examples.curriculum_learning.weight_scheduler.other", "math")(3) == 1


def test_shares_are_the_weights_made_to_sum_to_one() -> None:
    """Shares are normalised weights; all weights 0 is an error that names the step."""
    schedules = {name: parse_weight(w, name) for name, w in {"a": 3, "b": "lambda s: 1"}.items()}
    assert normalise(weights_at(schedules, 0)) == {"a": 0.75, "b": 0.25}
    schedules = {"a": parse_weight("lambda step: max(0, 5 - step)", "a")}
    with pytest.raises(ScheduleError, match="step 5"):
        weights_at(schedules, 5)
