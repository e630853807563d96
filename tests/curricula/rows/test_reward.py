from __future__ import annotations

import pytest

from curriculum_learning.curricula.rows.reward import RewardCurriculum
from tests.curricula.shipped import mean, reward_curriculum


def opens(curriculum: RewardCurriculum, reward: float | None) -> bool:
    """Whether an update of this mean reward opens a level."""
    level = curriculum.level
    curriculum.observe(mean(reward))
    return curriculum.level > level


def test_a_level_opens_by_the_rule() -> None:
    """Checks come min_batches updates after a level began, then every check_frequency."""
    curriculum = reward_curriculum(100, min_batches_per_level=3, check_frequency=2)
    opened = [opens(curriculum, reward) for reward in (9, 9, 9, 9, 9, 9, 0, 9, 0, 9, 9, 9)]
    # Levels begin after updates 3, 6 and 11; the checks at 9 found a reward of 0.
    assert [number for number, new in enumerate(opened, 1) if new] == [3, 6, 11]
    assert curriculum.open_rows(0) == 80


def test_the_average_goes_on_after_a_level() -> None:
    """The EMA starts at the first mean, skips updates without a sample, and is not reset."""
    curriculum = reward_curriculum(100, reward_alpha=0.5, reward_threshold=0.6)
    assert [opens(curriculum, reward) for reward in (None, 0.4, None, 1.0, 0.6, 0.4)] == [
        False, False, False, True, True, False,
    ]  # fmt: skip
    assert curriculum.ema.value == pytest.approx(0.525)


def test_the_last_level_is_the_last() -> None:
    """Beyond the final percentile nothing opens, and nothing is counted as opened."""
    curriculum = reward_curriculum(50)
    assert [opens(curriculum, 1.0) for _ in range(7)] == [True] * 4 + [False] * 3
    assert curriculum.open_rows(0) == 50
    assert [len(rows) for rows in curriculum.intervals()] == [10, 10, 10, 10, 10]


def test_a_level_that_does_not_exist_is_refused() -> None:
    """A state of another curriculum is not taken in."""
    curriculum = reward_curriculum(10)
    state = {**curriculum.state_dict(), "level": 5}
    with pytest.raises(ValueError, match="no level 5"):
        curriculum.load_state_dict(state)
