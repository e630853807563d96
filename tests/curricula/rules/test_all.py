from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum_learning.curricula.base import SourceRule
from tests.curricula.shipped import REQUIRED, RULES, by_source, rewards
from tests.harness import check_resume

ROWS = {"easy": 40, "normal": 1, "hard": 100_000}
some_weights = st.fixed_dictionaries(
    {name: st.just(0.0) | st.floats(1e-6, 1e6) for name in ROWS}
).filter(lambda weights: any(weights.values()))
history = st.lists(
    st.dictionaries(st.sampled_from(list(ROWS)), st.lists(rewards, min_size=1, max_size=3)),
    max_size=6,
)


def make(name: str, rows: dict[str, int] | None = None) -> SourceRule:
    """A rule with the settings it needs."""
    return RULES[name](rows or ROWS, **REQUIRED.get(name, {}))


@pytest.mark.parametrize("name", RULES)
@given(history=history, weights=some_weights)
@settings(max_examples=60, deadline=None)
def test_shares_are_valid_whatever_comes(name: str, history: Any, weights: Any) -> None:
    """After any results all shares are finite, one is above 0, and a weight of 0 stays at 0."""
    rule = make(name)
    configured = dict(weights)
    for step, groups in enumerate([{}, *history]):
        rule.observe(by_source(groups, step), step + 1, weights)
        shares = dict(rule.shares(step, weights))
        assert set(shares) == set(ROWS)
        assert all(math.isfinite(share) and share >= 0 for share in shares.values())
        assert any(shares.values())
        assert all(shares[source] == 0 for source in ROWS if weights[source] == 0)
        numbers = [n for figures in rule.metrics().values() for n in figures.values()]
        assert all(map(math.isfinite, numbers))
    assert weights == configured


@pytest.mark.parametrize("name", RULES)
def test_weights_multiply_the_shares(name: str) -> None:
    """Where no limit binds, a source of double weight gets double its share at equal weights."""
    rule = RULES[name]({"a": 10**6, "b": 10**6}, **REQUIRED.get(name, {}))
    rule.observe(by_source({"a": [[0.0, 1.0]], "b": [[0.0, 0.0, 1.0]]}), 1, {})
    rule.observe(by_source({"a": [[1.0, 1.0]], "b": [[0.0, 1.0]]}), 2, {})
    equal, double = (rule.shares(5, {"a": a, "b": 1.0}) for a in (1.0, 2.0))
    ratio = 2 * equal["a"] / equal["b"]
    if name == "learning_progress":  # its floor goes by the weights as well, but in another sum
        assert equal["a"] / equal["b"] < double["a"] / double["b"]
    else:
        assert double["a"] / double["b"] == pytest.approx(ratio)


@pytest.mark.parametrize("name", RULES)
def test_resume_at_every_position(name: str, tmp_path: Path) -> None:
    """A run cut anywhere has the same shares for the rest of its history."""
    random = np.random.default_rng(3)
    history = [
        {
            source: [[float(r) for r in random.integers(0, 2, 4)] for _ in range(3)]
            for source in ROWS
            if random.random() < 0.7
        }
        for _ in range(12)
    ]
    weights = {"easy": 1.0, "normal": 2.0, "hard": 0.5}

    def advance(rule: SourceRule, step: int) -> Any:
        changed = rule.observe(by_source(history[step], step), step + 1, weights)
        return changed, dict(rule.shares(step, weights)), rule.metrics()

    check_resume(lambda: make(name), advance, 12, tmp_path)


@pytest.mark.parametrize("name", RULES)
def test_state_fits_other_sources(name: str) -> None:
    """A removed source is dropped, and a new one starts as in a new run."""
    old = make(name)
    old.observe(by_source({"easy": [[0.0, 1.0]], "hard": [[0.0, 0.0]]}), 1, {})
    rule = make(name, {"hard": 10, "new": 10})
    rule.load_state_dict(old.state_dict())
    shares = rule.shares(0, {"hard": 1.0, "new": 1.0})
    assert any(shares.values())
    rule.observe(by_source({"new": [[0.0, 1.0]]}), 2, {})
    assert set(rule.state_dict()) <= {"hard", "new"}
