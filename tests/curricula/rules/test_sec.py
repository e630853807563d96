from __future__ import annotations

import pytest

from curriculum_learning.curricula.rules.sec import Sec
from tests.curricula.shipped import by_source

EQUAL = {"a": 1.0, "b": 1.0}


def test_shares_by_the_formula() -> None:
    """One right of four has a mean advantage of .866, groups without signal have 0."""
    rule = Sec({"a": 1, "b": 1})
    assert rule.observe(by_source({"a": [[0.0, 0.0, 0.0, 1.0]], "b": [[1.0, 1.0]]}), 1, EQUAL)
    # Q = .5 * .8660254; exp(Q) = 1.541897
    assert rule.metrics()["a"]["rule_value"] == pytest.approx(0.4330127)
    assert rule.shares(0, EQUAL) == pytest.approx({"a": 0.6065930, "b": 0.3934070}, abs=1e-6)
    assert rule.shares(0, {"a": 2.0, "b": 1.0})["a"] == pytest.approx(0.7551294, abs=1e-6)
    # All samples of an update count alike: 4 of .8660254 and 2 of 0 give .5773503.
    rule.observe(by_source({"a": [[0.0, 0.0, 0.0, 1.0], [1.0, 1.0]]}), 2, EQUAL)
    assert rule.metrics()["a"]["rule_value"] == pytest.approx(0.5051815)


def test_a_source_without_results_keeps_its_value() -> None:
    """Only the sources of an update move."""
    rule = Sec({"a": 1, "b": 1})
    rule.observe(by_source({"a": [[0.0, 1.0]]}), 1, EQUAL)
    rule.observe(by_source({"b": [[0.0, 1.0]]}), 2, EQUAL)
    assert rule.shares(0, EQUAL) == {"a": 0.5, "b": 0.5}


def test_no_source_starves() -> None:
    """A source that cannot be learned keeps exp(-1 / temperature) of its weight."""
    rule = Sec({"a": 1, "b": 1}, temperature=0.5)
    for update in range(100):
        rule.observe(by_source({"a": [[0.0, 1.0]], "b": [[0.0, 0.0]]}), update + 1, EQUAL)
    shares = rule.shares(0, EQUAL)
    assert shares["b"] / shares["a"] == pytest.approx(0.1353353)  # exp(-2)
