from __future__ import annotations

import pytest

from curriculum_learning.curricula.rules.learning_progress import LearningProgress
from tests.curricula.shipped import by_source

EQUAL = {"learns": 1.0, "stays": 1.0, "forgets": 1.0}


def test_shares_by_the_formula() -> None:
    """One reward rises from 0 to 1, one falls from 1 to 0, one stays; alpha is .5."""
    rule = LearningProgress(dict.fromkeys(EQUAL, 1), alpha=0.5)
    rule.observe(by_source({"learns": [[0.0]], "stays": [[0.5]], "forgets": [[1.0]]}), 1, EQUAL)
    assert rule.shares(0, EQUAL) == EQUAL  # one reward is no progress
    rule.observe(by_source({"learns": [[1.0]], "stays": [[0.5]], "forgets": [[0.0]]}), 2, EQUAL)
    # learns: fast .5, slow .25; forgets: fast .5, slow .75
    assert rule.metrics() == {
        "learns": {"rule_progress": 0.25},
        "stays": {"rule_progress": 0.0},
        "forgets": {"rule_progress": 0.25},
    }
    assert rule.shares(0, EQUAL) == pytest.approx(
        {"learns": 0.2 / 3 + 0.4, "stays": 0.2 / 3, "forgets": 0.2 / 3 + 0.4}
    )


def test_impossible_and_mastered_sources_keep_the_floor() -> None:
    """Sources whose reward does not move share the floor by their weights."""
    rule = LearningProgress({"impossible": 1, "mastered": 1, "learns": 1})
    weights = {"impossible": 1.0, "mastered": 3.0, "learns": 1.0}
    for update in range(50):
        results = {"impossible": [[0.0]], "mastered": [[1.0]], "learns": [[update / 50]]}
        rule.observe(by_source(results), update + 1, weights)
    assert rule.shares(0, weights) == pytest.approx(
        {"impossible": 0.04, "mastered": 0.12, "learns": 0.84}
    )
