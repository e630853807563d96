"""Inputs of a run, made offline: a tokenizer, a tiny random model, rows whose reward is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import torch
from tokenizers import pre_tokenizers
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer
from trl import GRPOConfig, GRPOTrainer

from curriculum_learning.trl import CurriculumMixin

SOURCES = ("easy", "hard")
ROWS = 40
"""Rows of each source."""

_PAD, _END = "<|endoftext|>", "<|im_end|>"


class Trainer(CurriculumMixin, GRPOTrainer):  # type: ignore[misc]  # TRL has no types
    """What a user writes."""


def write_model(folder: Path) -> Path:
    """A tokenizer with one token per byte, and a model of some thousand parameters."""
    alphabet = (_PAD, _END, *sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokens = {token: number for number, token in enumerate(alphabet)}
    Qwen2Tokenizer(vocab=tokens, merges=[], pad_token=_PAD, eos_token=_END).save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokens),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        eos_token_id=tokens[_END],
        pad_token_id=tokens[_PAD],
        tie_word_embeddings=False,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


def rows(*sources: str) -> datasets.Dataset:
    """Rows of the sources; the prompt says which; the complexity of a row is its number."""
    return datasets.Dataset.from_list(
        [
            {
                "prompt": f"{source} {row}",
                "data_source": source,
                "row": row,
                "complexity_score": float(row),
            }
            for source in sources or SOURCES
            for row in range(ROWS)
        ]
    )


def reward(source: str, row: int, sample: int) -> float:
    """The reward of a sample stands in its row, so that it is the same in every run."""
    level = 0.9 if source == "easy" else 0.6
    return level + 0.01 * (row % 5) * (sample % 2)


class Rewards:
    """A reward function that keeps what it was asked for.

    Args:
        copies: Completions of each prompt.
    """

    __name__ = "recorded"

    def __init__(self, copies: int) -> None:
        self._copies = copies
        self.calls: list[tuple[int, list[str]]] = []
        """The global step of each call, and the prompt of each sample."""

    def __call__(
        self, prompts: list[str], data_source: list[str], row: list[int], **others: Any
    ) -> list[float]:
        """A reward for each sample."""
        self.calls.append((others["trainer_state"].global_step, list(prompts)))
        return [
            reward(source, number, place % self._copies)
            for place, (source, number) in enumerate(zip(data_source, row, strict=True))
        ]

    @property
    def blocks(self) -> list[list[str]]:
        """The prompts of each call, each prompt once."""
        return [prompts[:: self._copies] for _, prompts in self.calls]


def settings(folder: Path, **changes: Any) -> GRPOConfig:
    """Settings of a short run: 8 prompts of 2 completions a step."""
    values: dict[str, Any] = {
        "output_dir": str(folder / "run"),
        "per_device_train_batch_size": 16,
        "num_generations": 2,
        "max_completion_length": 2,
        "max_steps": 6,
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 3,
        **changes,
    }
    return GRPOConfig(**values)


def trainer(
    folder: Path, curriculum: Any, *, dataset: Any = None, evaluated: Any = None, **changes: Any
) -> tuple[Any, Rewards]:
    """A trainer on the inputs in ``folder``, and its reward function."""
    arguments = settings(folder, **changes)
    rewards = Rewards(arguments.num_generations)
    made = Trainer(
        model=str(folder),
        reward_funcs=rewards,
        args=arguments,
        train_dataset=rows() if dataset is None else dataset,
        eval_dataset=evaluated,
        curriculum=curriculum,
    )
    return made, rewards
