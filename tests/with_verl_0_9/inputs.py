"""Inputs of a whole run, made offline: a tokenizer, a tiny random model, two sources of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import torch
from tokenizers import pre_tokenizers
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

ROWS = 40
"""Rows of each source."""

_PAD, _END = "<|endoftext|>", "<|im_end|>"
_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ' ' + message['content'] + ' ' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant ' }}{% endif %}"
)


def write_model(folder: Path) -> Path:
    """A tokenizer with one token per byte, and a model of some thousand parameters."""
    alphabet = (_PAD, _END, *sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokens = {token: number for number, token in enumerate(alphabet)}
    Qwen2Tokenizer(
        vocab=tokens, merges=[], pad_token=_PAD, eos_token=_END, chat_template=_TEMPLATE
    ).save_pretrained(folder)
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


def reward(source: str, row: int) -> float:
    """What a row is worth: easy rows more than others, and each a little different."""
    return 0.9 - 0.01 * (row % 5) if source == "easy" else 0.6 + 0.01 * (row % 7)


def write_rows(path: Path, *sources: str) -> None:
    """A parquet file with rows of the sources; the complexity of a row is its number."""
    rows: list[dict[str, Any]] = [
        {
            "data_source": source,
            "prompt": [{"role": "user", "content": f"{source} {row}"}],
            "reward_model": {"style": "rule", "ground_truth": str(reward(source, row))},
            "extra_info": {"index": row, "complexity_score": float(row)},
        }
        for source in sources
        for row in range(ROWS)
    ]
    datasets.Dataset.from_list(rows).to_parquet(path)


def settings(model: Path, *files: Path) -> list[str]:
    """The command line for what ``write_model`` and ``write_rows`` left behind."""
    return [
        "algorithm.adv_estimator=grpo",
        f"data.train_files=[{','.join(map(str, files))}]",
        f"data.val_files={files[0]}",
        "data.train_batch_size=4",
        "data.max_prompt_length=32",
        "data.max_response_length=4",
        f"actor_rollout_ref.model.path={model}",
        "actor_rollout_ref.model.use_remove_padding=False",
        "actor_rollout_ref.model.enable_gradient_checkpointing=False",
        "+actor_rollout_ref.model.override_config.attn_implementation=eager",
        "actor_rollout_ref.actor.strategy=fsdp2",
        "actor_rollout_ref.actor.ppo_mini_batch_size=4",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=8",
        "actor_rollout_ref.actor.use_torch_compile=False",
        "actor_rollout_ref.actor.entropy_coeff=0.01",
        "actor_rollout_ref.rollout.name=cpu",
        "actor_rollout_ref.rollout.n=2",
        "actor_rollout_ref.rollout.tensor_model_parallel_size=1",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=8",
        "actor_rollout_ref.rollout.agent.num_workers=1",
        "actor_rollout_ref.rollout.free_cache_engine=False",
        "reward.num_workers=1",
        "reward.custom_reward_function.path=pkg://tests.with_verl_0_9.cpu_rollout",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
        "+ray_kwargs.ray_init.address=local",
        "+ray_kwargs.ray_init.num_gpus=1",
        "+ray_kwargs.ray_init.include_dashboard=False",
        "ray_kwargs.ray_init.num_cpus=8",
        "trainer.device=cpu",
        "trainer.n_gpus_per_node=1",
        "trainer.logger=[file]",
        "trainer.val_before_train=False",
        "trainer.v1.trainer_mode=curriculum",
    ]
