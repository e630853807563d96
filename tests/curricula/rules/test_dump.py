from __future__ import annotations

import pytest

from curriculum_learning.curricula.rules.dump import Dump
from tests.curricula.shipped import by_source

EQUAL = {"a": 1.0, "b": 1.0}


def test_shares_by_the_formula() -> None:
    """One group of advantages 1, three groups of advantages 0."""
    rule = Dump({"a": 1, "b": 1}, temperature=1.0)
    rule.observe(by_source({"a": [[0.0, 1.0]], "b": [[1.0, 1.0]] * 3}), 1, EQUAL)
    # 1 + sqrt(2 ln 5 / 2) and sqrt(2 ln 5 / 4)
    assert rule.metrics() == {
        "a": {"rule_upper_bound": pytest.approx(2.2686362)},
        "b": {"rule_upper_bound": pytest.approx(0.8970613)},
    }
    # exp(1.3715749) = 3.941553
    assert rule.shares(0, EQUAL) == pytest.approx({"a": 0.7976344, "b": 0.2023656}, abs=1e-6)


def test_only_the_window_counts() -> None:
    """Advantages that have left the window are forgotten, groups are not."""
    rule = Dump({"a": 1, "b": 1}, window=4)
    rule.observe(by_source({"a": [[0.0, 1.0]] * 5}), 1, EQUAL)
    rule.observe(by_source({"a": [[1.0, 1.0]]}), 2, EQUAL)
    # 2 samples of 1 and 2 of 0; 6 groups: .5 + sqrt(2 ln 7 / 7)
    assert rule.metrics()["a"]["rule_upper_bound"] == pytest.approx(1.2456369)


def test_a_neglected_source_is_tried_again() -> None:
    """The bound of a source without results rises with the groups of the others."""
    rule = Dump({"a": 1, "b": 1})
    shares = []
    for update in range(1, 6):
        rule.observe(by_source({"a": [[0.0, 1.0]] * 3**update}), update, EQUAL)
        shares.append(rule.shares(0, EQUAL)["b"])
    assert shares == sorted(shares)
    assert shares[-1] > 0.99
