from __future__ import annotations

import logging

import pytest

from curriculum_learning.samplers import (
    RewardCurriculumSampler,
    TimeCurriculumSampler,
)
from tests.engines.sampler_data import (
    Rows,
    config,
)


def test_only_open_rows_are_drawn() -> None:
    """Before the first update only the easiest rows of the complexity source come."""
    dataset = Rows({"logicif": 100, "iftrain": 100})
    sampler = TimeCurriculumSampler(dataset, config(20))
    of_source = [i for i, row in enumerate(dataset.rows) if row["data_source"] == "logicif"]
    easiest = sorted(of_source, key=lambda i: dataset.rows[i]["extra_info"]["complexity_score"])
    drawn = {row for row in sampler if row in set(of_source)}
    assert drawn == set(easiest[:30])


def test_time_opens_rows(caplog: pytest.LogCaptureFixture) -> None:
    """Rows of the complexity source open with the updates, and the documented lines are logged."""
    dataset = Rows({"logicif": 100, "iftrain": 100})
    with caplog.at_level(logging.INFO):
        sampler = TimeCurriculumSampler(dataset, config(20, complexity_warmup_steps=7))
        for number in range(9):
            assert sampler.get_stats()["open_share/logicif"] == min(30 + 10 * number, 100) / 100
            sampler.observe([], [])
    messages = [record.getMessage() for record in caplog.records]
    assert "[TimeCurriculumSampler] Complexity curriculum for 'logicif'" in messages
    assert "[TimeCurriculumSampler] Progress: 30% → 100% over 7 updates" in messages
    assert "[TimeCurriculumSampler] Complexity: 50% (50/100 items)" in messages
    assert messages[-1] == "[TimeCurriculumSampler] Complexity: 100% (100/100 items)"


def test_rewards_open_a_level(caplog: pytest.LogCaptureFixture) -> None:
    """A good enough average reward of the source opens the next interval and logs it."""
    dataset = Rows({"logicif": 1000, "iftrain": 10})
    with caplog.at_level(logging.INFO):
        sampler = RewardCurriculumSampler(
            dataset,
            config(20, reward_threshold=0.125, min_batches_per_level=2, check_frequency=3),
        )
        names = ["logicif", "iftrain", "logicif"]
        for _ in range(4):
            sampler.observe(names, [0.1, 0.9, 0.1])
        assert sampler.get_stats()["level"] == 0
        sampler.observe(names, [0.4, 0.0, 0.5])
    assert sampler.get_stats()["level"] == 1
    assert sampler.get_stats()["open_share/logicif"] == 0.37
    assert sampler.get_stats()["curriculum_reward_ema"] == pytest.approx(0.135)
    messages = [record.getMessage() for record in caplog.records]
    start = messages.index("[RewardCurriculumSampler] Complexity source: 'logicif'")
    assert messages[start + 1 : start + 3] == [
        "[RewardCurriculumSampler] Initial: 30%, Final: 100%",
        "[RewardCurriculumSampler] Intervals: 11 (1 initial + 10 progressive)",
    ]
    assert messages[start + 3].startswith("  Interval 0 (Initial 30%): 300 samples, [0.000, ")
    assert messages[start + 4].startswith("  Interval 1: 70 samples, [")
    assert messages[start + 14 :] == [
        "=" * 80,
        "[RewardCurriculumSampler] LEVEL UP! 0 → 1",
        "[RewardCurriculumSampler] Batch 5: Reward 0.135 >= 0.125",
        "[RewardCurriculumSampler] Samples: 300 → 370",
        "=" * 80,
    ]
