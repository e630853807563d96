"""A few seconds of each fuzz target, and what the longer runs have found."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest

from tests.fuzz.targets import TARGETS, configuration, expression


@pytest.mark.parametrize("name", TARGETS)
def test_no_fault_is_found(name: str) -> None:
    """Whatever is fed in, the answer is one of the library's errors or a result."""
    target, inputs = TARGETS[name]

    @hypothesis.settings(max_examples=150, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck))  # fmt: skip  # noqa: E501 - one line
    @hypothesis.given(inputs)
    def run(data: Any) -> None:
        target(data)

    run()


@pytest.mark.parametrize(
    "text", ["lambda step=-----1: 1", f"lambda step={'-' * 1900}1: 1", f"lambda s: {'9' * 1900}"]
)
def test_expressions_that_were_faults(text: str) -> None:
    """Each once raised something else than an error of the library."""
    expression(text)


@pytest.mark.parametrize(
    "text",
    ["a: 2001-99-99", "a: !!bool x", "num_rollout: 0x" + "f" * 5000, "? [a]\n: b", "a: &a [*a]"],
)
def test_configurations_that_were_faults(text: str) -> None:
    """Each once raised something else than an error of the library."""
    configuration(text)
