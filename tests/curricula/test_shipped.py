from __future__ import annotations

import importlib
import inspect
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import annotated_types
import pytest

from curriculum_learning import curricula
from curriculum_learning.curricula import rows as row_package
from curriculum_learning.curricula import rules as rule_package
from tests.curricula.shipped import CLOSING, CURRICULA, REQUIRED, RULES, Run

ALL: dict[str, type[Any]] = {**CURRICULA, **RULES}
UNBOUNDED = {
    *("target_reward", "hard_up_to", "normal_up_to", "reward_threshold"),
    *("schedule", "focus_new_intervals"),
}
"""Settings in units of reward, which any number may be, and choices."""


def test_everything_is_shipped() -> None:
    """Each file of rows/ and rules/ is named by a type of its own name."""
    assert curricula.CURRICULA == CURRICULA
    assert curricula.RULES == RULES


@pytest.mark.parametrize("name", ALL)
def test_module_says_where_it_comes_from_and_when_to_use_it(name: str) -> None:
    """Each module names its source, what it needs, when to use it and when not."""
    package = row_package if name in CURRICULA else rule_package
    text = importlib.import_module(f"{package.__name__}.{name}").__doc__
    assert text is not None
    assert "arXiv " in text or "github.com/" in text or "verl_extensions" in text
    for start in ("\nSource: ", "\nIt needs ", "\nUse it ", "\nDo not use it "):
        assert start in text, start


@pytest.mark.parametrize("name", ALL)
def test_settings_are_keywords_with_bounds_and_a_line_each(name: str) -> None:
    """Every setting is keyword-only, documented, and a number among them has bounds."""
    kind = ALL[name]
    hints = get_type_hints(kind.__init__, include_extras=True)
    first, *settings = list(inspect.signature(kind).parameters.values())
    assert first.name == "rows"
    for setting in settings:
        assert setting.kind is inspect.Parameter.KEYWORD_ONLY
        assert f"        {setting.name}: " in str(kind.__doc__)
        assert (setting.default is inspect.Parameter.empty) == (
            setting.name in REQUIRED.get(name, {})
        )
        if setting.name not in UNBOUNDED:
            assert get_origin(hints[setting.name]) is Annotated
            assert any(
                isinstance(part, annotated_types.BaseMetadata)
                for part in get_args(hints[setting.name])
            )


@pytest.mark.parametrize("name", CURRICULA)
def test_curriculum_without_results_treats_equal_rows_alike(name: str) -> None:
    """Rows of equal complexity without a result come equally often, except by lots."""
    run = Run(name, 8, scores=[3.0] * 8)
    before = run.curriculum.weights(0)
    if name not in ("thompson", *CLOSING):
        assert before.tolist() == [1.0] * 8
    run.observe([])
    assert run.curriculum.weights(0) is before


@pytest.mark.parametrize("name", RULES)
def test_rule_without_results_keeps_its_shares(name: str) -> None:
    """An update without a finished group changes no share, and equal sources stay equal."""
    rule = RULES[name]({"a": 10, "b": 10}, **REQUIRED.get(name, {}))
    weights = {"a": 0.5, "b": 0.5}
    step = 10  # halfway through the schedule of easy_to_hard
    before = dict(rule.shares(step, weights))
    assert before["a"] == pytest.approx(before["b"])
    assert rule.observe({}, 1, weights) is False
    assert rule.shares(step, weights) == before
