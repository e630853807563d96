"""GRPO by TRL on a language model, with a curriculum over the rungs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from curriculum_learning.trl import CurriculumMixin
from examples.llm import problems

CURRICULUM = Path("examples/llm/curriculum.yaml")
COMPLETIONS = 8
"""Of each prompt."""

SAVE_EVERY, SAVE_EVERY_ON_GPU = 5, 50
"""Steps; a checkpoint is 1.6 GB."""


class Trainer(CurriculumMixin, GRPOTrainer):  # type: ignore[misc]  # TRL has no types
    """TRL's trainer, whose prompts the curriculum chooses."""


class Bar(TrainerCallback):
    """A progress bar with the weight and the reward of each rung.

    Args:
        total: Steps of the run.
    """

    def __init__(self, total: int) -> None:
        self._bar = tqdm(total=total, dynamic_ncols=True)
        self._rewards: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer."""
        self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Called by the trainer."""
        logs = others["logs"]
        if "loss" not in logs:
            return
        shown = []
        for rung in problems.RUNGS:
            new = logs.get(f"curriculum/reward/{rung.name}")
            if new is not None:
                old = self._rewards.get(rung.name, new)
                self._rewards[rung.name] = 0.8 * old + 0.2 * new
            reward = self._rewards.get(rung.name)
            weight = logs[f"curriculum/weight/{rung.name}"]
            shown.append(f"{rung.name} {weight:.2f}/{'-' if reward is None else f'{reward:.2f}'}")
        self._bar.set_postfix_str("weight/reward " + ", ".join(shown), refresh=False)
        self._bar.update(state.global_step - self._bar.n)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer."""
        self._bar.close()


def make_trainer(
    model: Path, out: Path, *, steps: int, prompts: int, uniform: bool, seed: int
) -> Any:
    """Returns the trainer of a run.

    Args:
        model: The folder of the model.
        out: The folder of the checkpoints.
        steps: Of the run.
        prompts: Of a step.
        uniform: Mix the rungs in equal parts throughout.
        seed: Of the prompts and the samples.
    """
    keys = yaml.safe_load(CURRICULUM.read_text(encoding="utf-8"))
    if uniform:
        del keys["source_rule"]
    has_gpu = torch.cuda.is_available()
    trainer = Trainer(
        model=str(model),
        reward_funcs=problems.reward,
        args=GRPOConfig(
            output_dir=str(out),
            max_steps=steps,
            per_device_train_batch_size=prompts * COMPLETIONS,
            num_generations=COMPLETIONS,
            max_completion_length=problems.TOKENS,
            learning_rate=1e-5,
            lr_scheduler_type="constant",
            gradient_checkpointing=False,
            logging_steps=1,
            save_steps=SAVE_EVERY_ON_GPU if has_gpu else SAVE_EVERY,
            save_total_limit=2,
            use_cpu=not has_gpu,
            bf16=has_gpu,
            report_to="none",
            disable_tqdm=True,
            seed=seed,
        ),
        train_dataset=problems.training_rows(),
        curriculum=keys,
    )
    trainer.pop_callback(PrinterCallback)
    trainer.add_callback(Bar(steps))
    return trainer


def load(model: Path) -> tuple[Any, Any]:
    """Returns the model, on a GPU if there is one, and its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    made: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    return made.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer


@torch.no_grad()
def accuracy(model: Any, tokenizer: Any, count: int) -> dict[str, float]:
    """Returns the share of ``count`` held-out problems of each rung that its best guess solves."""
    model.eval()
    solved = {}
    for rung, all_held_out in problems.held_out().items():
        held_out = all_held_out[:count]
        prompts = [problems.prompt(expression) for expression, _ in held_out]
        batch = tokenizer(prompts, return_tensors="pt", padding=True).to(model.device)
        tokens = model.generate(**batch, do_sample=False, max_new_tokens=problems.TOKENS)
        answers = tokenizer.batch_decode(
            tokens[:, batch["input_ids"].shape[1] :], skip_special_tokens=True
        )
        scores = [
            problems.score(completion, answer)
            for completion, (_, answer) in zip(answers, held_out, strict=True)
        ]
        solved[rung] = sum(scores) / len(scores)
    return solved


def seconds_of_a_step(model: Any, tokenizer: Any, prompts: int) -> float:
    """Measures what a step takes, by one that changes nothing."""
    texts = [problems.prompt("12 + 34 - 56")] * prompts * COMPLETIONS
    batch = tokenizer(texts, return_tensors="pt").to(model.device)
    _step(model, tokenizer(texts[:1], return_tensors="pt").to(model.device), 1)  # it loads kernels
    began = time.perf_counter()
    _step(model, batch, problems.TOKENS)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _step(model: Any, batch: Any, count: int) -> None:
    """Samples ``count`` tokens for each prompt, and their gradients."""
    tokens = model.generate(**batch, do_sample=True, min_new_tokens=count, max_new_tokens=count)
    model.train()
    model(input_ids=tokens, logits_to_keep=count).logits.float().mean().backward()
    model.zero_grad()


def lines_of(history: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the lines of the trainer's log that are of a step."""
    return [line for line in history if "loss" in line]
