"""What is fed anything: each target takes data, and raises for a fault only.

An error of the library is an answer; any other exception is a fault.
"""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from curriculum_learning.commands.inspect import describe
from curriculum_learning.config.data_source import KEYS, check_config
from curriculum_learning.config.files import read_run_config
from curriculum_learning.config.plan import SourcePlan
from curriculum_learning.errors import CheckpointError, CurriculumLearningError, DataError
from curriculum_learning.prompts.prompts import Prompts
from curriculum_learning.state.checkpoint import read_state, write_state
from curriculum_learning.weight_scheduler import parse_weight
from curriculum_learning.weights.expression import compile_lambda
from tests.harness import data_source

numbers = (
    st.integers()
    | st.floats()
    | st.sampled_from([0, -1, 2**31, 2**53, 2**63, 2**64, 10**30, 10**400, 16**1000, 1e308])
)
plain = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)  # fmt: skip

_OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "<", "==", "and", "or", "if"]
_FUNCTIONS = ["min", "max", "abs", "round", "pow", "exp", "ldexp", "gamma", "math.cosh", "int"]
_ODD_LINES = (b"", b"[" * 3000, b'{"input": ' * 3000, b'{"input": "\\ud800"}', b"\xef\xbb\xbf{}")
_atoms = st.sampled_from(
    ["step", "1", "0", "0.5", "1e308", "9" * 400, "math.pi", "inf", "nan", "x", "'t'", "()", "[]"]
)
_pieces = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(_OPERATORS), inner).map(" ".join),
        st.tuples(st.sampled_from(["-", "not ", "+", "~", "*", "lambda: "]), inner).map("".join),
        st.tuples(
            st.sampled_from(_FUNCTIONS),
            st.lists(inner, max_size=3).map(", ".join),
        ).map(lambda call: f"{call[0]}({call[1]})"),
        inner.map(lambda text: f"({text})"),
        st.tuples(inner, inner, inner).map(lambda t: f"{t[0]} if {t[1]} else {t[2]}"),
        st.tuples(inner, st.integers(1, 600)).map(lambda t: "(-" * t[1] + t[0] + ")" * t[1]),
    ),
    max_leaves=8,
)  # fmt: skip
expressions = (
    _pieces.map(lambda text: f"lambda step: {text}")
    | st.tuples(st.text("step:lambda *()=,-1", max_size=40), _pieces).map(
        lambda t: f"lambda {t[0]}: {t[1]}"
    )
    | st.text(max_size=60)
)


def expression(text: str) -> None:
    """A text is refused with a ValueError, or gives a function that ends at once."""
    with contextlib.suppress(ValueError):
        compile_lambda(text)
    with contextlib.suppress(CurriculumLearningError):
        weight = parse_weight(text if "lambda" in text else f"lambda step: {text}", "s")
        for step in (0, 1, 10**6, 2**62):
            assert 0 <= weight(step) < math.inf


_lines = st.text(max_size=60) | plain.map(lambda value: json.dumps(value))
_values = st.dictionaries(
    st.sampled_from(KEYS),
    plain
    | st.sampled_from([["a.jsonl", "b.jsonl"], "a.jsonl", [1, 2], True, {"a": 1, "b": 2}])
    | expressions
    | st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("type", "schedule", "steps", "start", "end", "points"), plain)
    ),
    max_size=8,
)  # fmt: skip
configurations = (
    _values.map(lambda values: json.dumps(values, default=str))
    | st.lists(
        st.tuples(st.sampled_from([*KEYS, "a", "<<"]), st.sampled_from(["", "&a ", "*a", "!!int "]),
                  _lines).map(lambda t: f"{t[0]}: {t[1]}{t[2]}"),
        max_size=6,
    ).map("\n".join)
    | st.text(max_size=80)
)  # fmt: skip


def configuration(text: str) -> None:
    """A file is refused with a located error, or read; what it says is checked or refused."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(CurriculumLearningError):
        for name in ("run.yaml", "run.sh"):
            path = Path(folder, name)
            path.write_text(text, encoding="utf-8", errors="replace")
            with contextlib.suppress(CurriculumLearningError):
                run = read_run_config([str(path)])
                _, findings = check_config(run.values)
                for error in findings.errors:
                    run.place(error, ["a", "b"])
                    str(error)


_row = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("input", "label", "metadata", "tools", "data_source"), plain)
)
prompt_files = st.lists(
    _row.map(lambda row: json.dumps(row).encode())
    | st.binary(max_size=40)
    | st.sampled_from(_ODD_LINES),
    max_size=5,
).map(b"\n".join)  # fmt: skip


def prompt_file(content: bytes, kind: str = "jsonl") -> None:
    """A file is refused with a DataError, or every row of it can be served."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"rows.{kind}")
        path.write_bytes(content)
        for label in (None, "label"):
            source = SourcePlan(
                name="s", path=str(path), weight=parse_weight(1.0, "s"), label_key=label
            )
            try:
                prompts = Prompts(source)
            except DataError:
                continue
            assert len(prompts.read(range(len(prompts)))) == len(prompts) > 0
            with contextlib.suppress(DataError):
                prompts.scores("label")
            prompts.close()


damage = st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=3)), max_size=4)
_changes = st.lists(st.tuples(st.lists(st.integers(0, 20), max_size=6), plain), max_size=3)
states = st.tuples(damage, _changes)


def _example() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source = data_source(Path(folder), {"a": 5, "b": 4}, autosave=False)
        groups = source.get_samples(6)
        for sample in groups[0]:
            sample.tokens, sample.response = [1, 2, 3], "text"
        source.add_samples(groups[:2])
        source.save(0)
        source.close()
        return next(Path(folder).glob("save/rollout/*.state")).read_bytes()


_EXAMPLE = _example()


def state(case: tuple[list[tuple[int, bytes]], list[tuple[list[int], Any]]]) -> None:
    """A damaged or crafted state is one CheckpointError, or is loaded."""
    harm, changes = case
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "curriculum_learning_0.state")
        path.write_bytes(_EXAMPLE)
        if changes:
            content = read_state(path)
            for route, value in changes:
                _change(content, route, value)
            try:
                write_state(path, content)
            except CurriculumLearningError:
                return
        data = path.read_bytes()
        for place, piece in harm:
            place %= len(data)
            data = data[:place] + piece + data[place + 1 :]
        path.write_bytes(data)
        with contextlib.suppress(CheckpointError):
            describe(read_state(path))


def _change(node: Any, route: list[int], value: Any) -> None:
    """Replaces the value at the end of a route of places."""
    for step in route:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = keys[step % len(keys)] if keys else None
        if key is None:
            return
        inner = node[key]
        if not isinstance(inner, (dict, list)) or not inner or step == route[-1]:
            node[key] = value
            return
        node = inner


TARGETS: dict[str, tuple[Callable[[Any], None], Any]] = {
    "expressions": (expression, expressions),
    "configurations": (configuration, configurations),
    "prompt files": (prompt_file, prompt_files),
    "states": (state, states),
}
