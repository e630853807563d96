"""A whole ``verl.trainer.main_ppo`` on a curriculum: trained, killed, and resumed."""

from __future__ import annotations

import numpy as np
import pytest

from tests.with_verl_0_9 import inputs
from tests.with_verl_0_9.lives import SOURCES, Life, source_of, two_lives

STEPS = 8
SAVED = 4
"""The step of the checkpoint that the second life starts from; the next one is that of the end."""
KILLED = 6
"""The first life is killed after this step, and long before the end."""

ALPHA = 0.5
UPDATES_PER_LEVEL = 3
SAMPLER = [
    "+data.sampler.class_name=RewardCurriculumSampler",
    "+data.sampler.complexity_source=hard",
    "+data.sampler.initial_complexity_percentile=30",
    "+data.sampler.num_intervals=3",
    "+data.sampler.reward_threshold=0.5",
    f"+data.sampler.min_batches_per_level={UPDATES_PER_LEVEL}",
    "+data.sampler.check_frequency=1",
    "+data.sampler.adaptive_weights=true",
    f"+data.sampler.alpha={ALPHA}",
    "+data.sampler.update_frequency=1",
    "+data.sampler.temperature=0.3",
]
OPEN_ROWS = [rows * inputs.ROWS // 90 for rows in (27, 48, 69, 90)]
"""Hard rows that are open at each level: 30 %, and then a third of the rest at a time."""


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Life, Life]:
    """A run that is killed after some steps beyond a checkpoint, and the same run started again."""
    settings = [
        *SAMPLER,
        f"trainer.total_training_steps={STEPS}",
        f"trainer.save_freq={SAVED}",
    ]
    return two_lives(tmp_path_factory.mktemp("run"), settings, KILLED)


def test_start_line_tells_mode_and_sampler(lives: tuple[Life, Life]) -> None:
    """One log line says that the mode is active, with which sampler, from which files."""
    (line,) = [line for line in lives[0].log.splitlines() if "Trainer mode" in line]
    assert "'curriculum'" in line
    assert "RewardCurriculumSampler" in line
    assert "verl_trainer.py" in line
    assert "samplers.py" in line


def test_policy_is_trained(lives: tuple[Life, Life]) -> None:
    """The weights of the policy change in every step."""
    assert all(metrics["actor/grad_norm"] > 0 for metrics in lives[0].metrics.values())


def test_rewards_move_the_weights(lives: tuple[Life, Life]) -> None:
    """The source of lower reward gets the higher weight as soon as there are rewards."""
    first = lives[0]
    assert [source_of(prompt) for prompt in first.prompts(1)] == ["easy", "easy", "hard", "hard"]
    for step in first.metrics:
        assert first.stats(step)["weight/hard"] > 0.6
    chosen = [source_of(prompt) for step in range(2, KILLED + 1) for prompt in first.prompts(step)]
    assert chosen.count("hard") > 0.6 * len(chosen)


def test_sampler_sees_every_sample_and_no_padding(lives: tuple[Life, Life]) -> None:
    """The averages of the sampler are those of the samples that verl wrote down."""
    first = lives[0]
    assert first.padding > 0
    averages: dict[str, float] = {}
    for step in range(1, KILLED + 1):
        for source in SOURCES:
            scores = [score for prompt, score in first.samples[step] if source_of(prompt) == source]
            if scores:
                mean = float(np.mean(scores))
                averages[source] = ALPHA * mean + (1 - ALPHA) * averages.get(source, mean)
        stats = first.stats(step)
        assert {source: stats[f"reward_ema/{source}"] for source in averages} == pytest.approx(
            averages
        )


def test_levels_open(lives: tuple[Life, Life]) -> None:
    """Levels open with the updates, and prompts come from what was open when they were chosen."""
    first = lives[0]
    levels = [0, *(first.stats(step)["level"] for step in range(1, KILLED + 1))]
    assert levels == [step // UPDATES_PER_LEVEL for step in range(KILLED + 1)]
    for step in range(1, KILLED + 1):
        hard = [int(prompt.split()[2]) for prompt in first.prompts(step) if "hard" in prompt]
        assert max(hard) < OPEN_ROWS[int(levels[step - 1])]


def test_resumed_run_repeats_the_killed_one(lives: tuple[Life, Life]) -> None:
    """After a kill the steps beyond the checkpoint have the same prompts, weights and levels."""
    first, second = lives
    assert STEPS not in first.metrics
    assert sorted(second.metrics) == list(range(SAVED + 1, STEPS + 1))
    for step in range(SAVED + 1, KILLED + 1):
        assert second.prompts(step) == first.prompts(step)
        assert second.stats(step) == first.stats(step)
