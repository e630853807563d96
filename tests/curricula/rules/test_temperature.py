from __future__ import annotations

import pytest

from curriculum_learning.curricula.rules.temperature import Temperature


@pytest.mark.parametrize(
    ("temperature", "shares"),
    [
        (1.0, [0.2, 0.8]),  # by size
        (2.0, [1 / 3, 2 / 3]),  # 10 to 20
        (0.5, [1 / 17, 16 / 17]),
        (1e9, [0.5, 0.5]),
        (0.01, [0.0, 1.0]),
    ],
)
def test_shares_by_the_formula(temperature: float, shares: list[float]) -> None:
    """Sources of 100 and 400 rows."""
    rule = Temperature({"a": 100, "b": 400}, temperature=temperature)
    assert list(rule.shares(0, {"a": 1.0, "b": 1.0}).values()) == pytest.approx(shares)
