"""Real training by TRL on curricula: which prompts come, and what the curriculum is told."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import TrainerCallback
from trl import RLOOConfig, RLOOTrainer

from curriculum_learning import samplers
from curriculum_learning.errors import ConfigurationError, DataError
from curriculum_learning.trl import CurriculumMixin
from tests.with_trl import inputs, life

PROMPTS = 8
"""Of a block, where nothing else is said."""


def expected_blocks(count: int, curriculum: Mapping[str, Any] = life.CURRICULUM) -> list[list[str]]:
    """What a plain loop draws that reports the rewards of each batch.

    Iterating gives a batch from its end.
    """
    dataset, copies = inputs.rows(), range(2)
    kind = getattr(samplers, curriculum.get("class_name", "MultiSourceSampler"))
    config = {"train_batch_size": PROMPTS, "seed": 3, "sampler": curriculum}
    sampler = kind(dataset, config)
    sampler.reports_after_save = False
    endless = itertools.chain.from_iterable(itertools.repeat(sampler))
    blocks = []
    for _ in range(count):
        numbers = list(itertools.islice(endless, PROMPTS))[::-1]
        drawn = [dataset[number] for number in numbers]
        blocks.append([row["prompt"] for row in drawn])
        sampler.observe(
            [row["data_source"] for row in drawn for _ in copies],
            np.array(
                [
                    inputs.reward(row["data_source"], row["row"], at)
                    for row in drawn
                    for at in copies
                ],
                dtype=np.float32,
            ),
            [number for number in numbers for _ in copies],
            [place for place in range(PROMPTS) for _ in copies],
        )
    return blocks


@pytest.mark.parametrize("weights", [{"easy": 3, "hard": 1}, {"easy": 1, "hard": 0.37}])
def test_the_mixture_is_exact(model: Path, weights: dict[str, float]) -> None:
    """After each block each source is less than one prompt off its share."""
    trainer, rewards = inputs.trainer(model, {"source_weights": weights}, max_steps=12)
    trainer.train()
    assert len(rewards.blocks) == 12
    counts: Counter[str] = Counter()
    for block in rewards.blocks:
        counts.update(prompt.split()[0] for prompt in block)
        for source, weight in weights.items():
            share = weight / sum(weights.values())
            assert abs(counts[source] - share * counts.total()) < 1
    seen = Counter(itertools.chain.from_iterable(rewards.blocks))
    hard = [prompt for prompt in seen if prompt.startswith("hard")]
    assert all(seen[prompt] == 1 for prompt in hard)


def test_the_samples_of_a_group_lie_together(model: Path) -> None:
    """Each prompt of a block comes as often as it has completions, one after the other."""
    trainer, rewards = inputs.trainer(model, {}, num_generations=4, max_steps=2)
    trainer.train()
    for _, prompts in rewards.calls:
        assert [len(list(same)) for _, same in itertools.groupby(prompts)] == [4] * 4


@pytest.mark.parametrize(
    ("changes", "blocks"),
    [
        ({}, 10),
        ({"gradient_accumulation_steps": 2, "per_device_train_batch_size": 8}, 10),
        # several steps on one block
        ({"steps_per_generation": 2, "per_device_train_batch_size": 8}, 5),
        ({"num_iterations": 2}, 5),
        # several blocks for one step
        ({"gradient_accumulation_steps": 2, "steps_per_generation": 1}, 20),
        ({"dataloader_num_workers": 1}, 10),
    ],
)
def test_rewards_reach_the_curriculum_before_the_next_block(
    model: Path, changes: dict[str, Any], blocks: int
) -> None:
    """However TRL buffers, the prompts are those of a loop that reports after each block."""
    trainer, rewards = inputs.trainer(model, life.CURRICULUM, max_steps=10, **changes)
    trainer.train()
    expected = expected_blocks(blocks)
    assert rewards.blocks == expected
    opened_later = {f"hard {row}" for row in range(inputs.ROWS * 3 // 10, inputs.ROWS)}
    assert opened_later & {*itertools.chain.from_iterable(expected)}


@pytest.mark.parametrize(
    "curriculum",
    [
        {"source_rule": {"type": "sec"}},
        {"source_rule": {"type": "learning_progress", "alpha": 0.5}},
        {"source_curricula": {"easy": {"type": "learnability"}, "hard": {"type": "replay"}}},
        {"source_curricula": {"hard": {"type": "thompson"}}, "adaptive_weights": True},
    ],
)
def test_rules_and_row_curricula_learn(model: Path, curriculum: dict[str, Any]) -> None:
    """Rules see the groups, and row curricula the rows: as in a loop that reports all of it."""
    trainer, rewards = inputs.trainer(model, curriculum, max_steps=10)
    trainer.train()
    assert rewards.blocks == expected_blocks(10, curriculum)
    assert rewards.blocks != expected_blocks(10, {})


@pytest.mark.parametrize("changes", [{}, {"num_iterations": 3}])
def test_weights_follow_the_global_step(model: Path, changes: dict[str, Any]) -> None:
    """A weight may be an expression of the step, whatever the steps that a block is used for."""
    weights = {"easy": "lambda step: max(8 - step, 0)", "hard": "lambda step: min(step, 8)"}
    trainer, rewards = inputs.trainer(model, {"source_weights": weights}, max_steps=9, **changes)
    trainer.train()
    for (step, _), block in zip(rewards.calls, rewards.blocks, strict=True):
        assert sum(prompt.startswith("hard") for prompt in block) == step


@pytest.mark.parametrize("changes", [{}, {"num_iterations": 3}])
def test_schedules_follow_the_global_step(model: Path, changes: dict[str, Any]) -> None:
    """A block is drawn from the rows that are open at the step whose completions it is for."""
    curriculum = {
        "class_name": "TimeCurriculumSampler",
        "complexity_source": "hard",
        "source_weights": {"easy": 0, "hard": 1},
        "initial_complexity_percentile": 10,
        "complexity_warmup_steps": 9,
    }
    trainer, rewards = inputs.trainer(model, curriculum, max_steps=12, **changes)
    trainer.train()
    assert [step for step, _ in rewards.calls] == [*range(0, 12, changes.get("num_iterations", 1))]
    for (step, _), block in zip(rewards.calls, rewards.blocks, strict=True):
        opened = math.floor(inputs.ROWS * min(10 + 10 * step, 100) / 100)
        rows = [int(prompt.split()[1]) for prompt in block]
        assert max(rows) < opened
        # All open rows come before one comes again.
        assert len(set(rows)) >= min(opened, PROMPTS) / 2


def test_metrics_of_each_source_are_in_the_log(model: Path) -> None:
    """Share, reward and the groups with a signal stand beside TRL's own figures."""
    trainer, _ = inputs.trainer(model, {"source_weights": {"easy": 3, "hard": 1}})
    trainer.train()
    lines = [line for line in trainer.state.log_history if "loss" in line]
    assert len(lines) == 6
    for number, line in enumerate(lines, start=1):
        assert line["curriculum/weight/easy"] == 0.75
        assert line["curriculum/updates"] == number
        assert 0.9 <= line["curriculum/reward/easy"] <= 0.94
        mean = 0.75 * line["curriculum/reward/easy"] + 0.25 * line["curriculum/reward/hard"]
        assert line["reward"] == pytest.approx(mean)
        signal = 0.75 * line["curriculum/signal/easy"] + 0.25 * line["curriculum/signal/hard"]
        assert line["frac_reward_zero_std"] == pytest.approx(1 - signal)


def test_weighted_reward_functions_are_one_reward(model: Path) -> None:
    """What TRL trains on is what the curriculum sees; a sample without any reward is left out."""

    def sometimes(prompts: list[str], **_: Any) -> list[float | None]:
        return [None if place % 2 else 1.0 for place in range(len(prompts))]

    def never(prompts: list[str], **_: Any) -> list[float | None]:
        return [None for _ in prompts]

    trainer = inputs.Trainer(
        model=str(model),
        reward_funcs=[sometimes, never],
        args=inputs.settings(model, reward_weights=[0.25, 9], max_steps=2),
        train_dataset=inputs.rows(),
        curriculum={},
    )
    trainer.train()
    for line in trainer.state.log_history[:2]:
        assert line["curriculum/reward/easy"] == line["curriculum/reward/hard"] == 0.25


def test_evaluation_is_not_the_curriculum_s(model: Path) -> None:
    """Evaluation takes its own prompts, and its rewards decide nothing."""
    trainer, rewards = inputs.trainer(
        model,
        life.CURRICULUM,
        evaluated=inputs.rows("hard").select(range(4)),
        max_steps=6,
        eval_strategy="steps",
        eval_steps=2,
        per_device_eval_batch_size=8,
    )
    trainer.train()
    trained = [block for block in rewards.blocks if len(block) == PROMPTS]
    assert len(rewards.blocks) == len(trained) + 3
    assert trained == expected_blocks(6)


def test_epochs_have_the_length_of_the_data(model: Path) -> None:
    """Without max_steps the trainer takes as many steps as the rows of weighted sources last."""
    for weights, steps in (({"easy": 1, "hard": 1}, 10), ({"easy": 0, "hard": 1}, 5)):
        trainer, rewards = inputs.trainer(
            model, {"source_weights": weights}, max_steps=-1, num_train_epochs=1
        )
        trainer.train()
        assert trainer.state.global_step == len(rewards.blocks) == steps
        assert trainer.state.epoch == 1


class LeaveOneOut(CurriculumMixin, RLOOTrainer):  # type: ignore[misc]  # TRL has no types
    """Another trainer that takes its prompts in the same way."""


def test_rloo_takes_a_curriculum(model: Path) -> None:
    """The mixin fits TRL's other trainer with rewards."""
    rewards = inputs.Rewards(2)
    given = inputs.settings(model, max_steps=4).to_dict()
    keys = ["output_dir", "per_device_train_batch_size", "num_generations", "max_steps", "seed"]
    keys += ["max_completion_length", "use_cpu", "bf16", "report_to", "save_strategy"]
    trainer = LeaveOneOut(
        model=str(model),
        reward_funcs=rewards,
        args=RLOOConfig(**{key: given[key] for key in keys}),
        train_dataset=inputs.rows(),
        curriculum=life.CURRICULUM,
    )
    trainer.train()
    assert rewards.blocks == expected_blocks(4)


def test_the_column_of_the_source_has_any_name(model: Path, tmp_path: Path) -> None:
    """A file names the column; nothing else changes, and reward functions see it as it is."""
    config = tmp_path / "sources.yaml"
    config.write_text("source_column: topic\nsource_weights: {easy: 1, hard: 1}\n")
    renamed = inputs.rows().rename_column("data_source", "topic")
    seen = set()

    def topics(prompts: list[str], topic: list[str], **_: Any) -> list[float]:
        seen.update(topic)
        return [1.0 for _ in prompts]

    trainer = inputs.Trainer(
        model=str(model),
        reward_funcs=topics,
        args=inputs.settings(model, max_steps=1),
        train_dataset=renamed,
        curriculum=config,
    )
    trainer.train()
    assert seen == {"easy", "hard"}


def test_what_does_not_fit_is_said_at_the_start(model: Path) -> None:
    """Wrong keys, names, columns and kinds of data are errors that say what to set."""
    for curriculum, error, piece in (
        ({"source_weights": {"easy": 1}}, ConfigurationError, "hard"),
        ({"sorce_weights": {}}, ConfigurationError, "did you mean source_weights"),
        ({"class_name": "Sampler"}, ConfigurationError, "MultiSourceSampler"),
        ({"source_column": "topic"}, DataError, "topic"),
    ):
        with pytest.raises(error, match=piece):
            inputs.trainer(model, curriculum)
    with pytest.raises(DataError, match="must be a Dataset"):
        inputs.trainer(model, {}, dataset=inputs.rows().to_iterable_dataset())


@pytest.mark.parametrize("method", ["_generate_and_score_completions", "_calculate_rewards"])
def test_a_trainer_that_passes_the_curriculum_by_is_stopped(model: Path, method: str) -> None:
    """Where TRL no longer calls a method that the mixin extends, the first step is an error."""
    trainer, _ = inputs.trainer(model, {})
    setattr(trainer, method, getattr(super(CurriculumMixin, trainer), method))
    with pytest.raises(RuntimeError, match=f"did not call {method}"):
        trainer.train()
    assert trainer.state.global_step == 0


class Stop(TrainerCallback):
    """Ends the training after a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer."""
        control.should_training_stop = state.global_step == self._step


def test_a_second_call_of_train_goes_on(model: Path) -> None:
    """What was drawn is not drawn again when the same trainer trains again."""
    trainer, rewards = inputs.trainer(model, life.CURRICULUM, max_steps=8)
    trainer.add_callback(Stop(3))
    trainer.train()
    assert rewards.blocks == expected_blocks(3)
    trainer.train()
    assert rewards.blocks == expected_blocks(6)


def test_the_program_of_the_documentation_runs(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What docs/trl.md shows trains, with a model that is here and a few steps."""
    page = Path(__file__).parents[2] / "docs" / "trl.md"
    (program,) = re.findall(r"```py\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    program = program.replace("your/model", str(model))
    program = program.replace("max_steps=100", "max_steps=2, use_cpu=True, bf16=False")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(program, "docs/trl.md", "exec"), names)
    history = names["trainer"].state.log_history
    assert history[-1]["step"] == 2
    assert names["trainer"].curriculum.get_stats()["updates"] == 2
