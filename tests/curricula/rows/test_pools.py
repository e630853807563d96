from __future__ import annotations

import pytest

from curriculum_learning import ConfigurationError
from tests.curricula.shipped import Run


def test_weights_by_the_latest_mean() -> None:
    """Thresholds belong to the lower pool, and a row without a result has weight 1."""
    run = Run("pools", 6, hard=0.3, normal=2.0, easy=0.1)
    run.observe(
        [
            (0, [0.0, 0.0, 0.0, 1.0]), (1, [0.5, 0.6]), (2, [0.0, 1.0, 1.0, 1.0]),
            (3, [1.0, 1.0]), (4, [-9.0, 1.0]),
        ]
    )  # fmt: skip
    assert run.weights() == [0.3, 2.0, 2.0, 0.1, 0.3, 1.0]
    assert run.curriculum.metrics() == {
        "pool/hard": 2, "pool/normal": 2, "pool/easy": 1, "pool/unseen": 1,
    }  # fmt: skip


def test_only_the_latest_result_counts() -> None:
    """A row leaves its pool with one result."""
    run = Run("pools", 1)
    run.observe([(0, [1.0])] * 9 + [(0, [0.0])])
    assert run.weights() == [0.2]
    run.observe([(0, [0.5])])
    assert run.weights() == [1.0]


def test_pass_rates_from_before_the_run_count() -> None:
    """A row with an offline pass rate is in its pool from the start."""
    run = Run("pools", 4, priors=[0.0, 0.5, 1.0, float("nan")])
    assert run.weights() == [0.2, 1.0, 0.2, 1.0]


def test_thresholds_must_rise() -> None:
    """The error names source, key and value."""
    with pytest.raises(ConfigurationError, match="must be less than normal_up_to") as error:
        Run("pools", 1, hard_up_to=0.8)
    assert (error.value.source, error.value.key, error.value.value) == ("math", "hard_up_to", 0.8)
