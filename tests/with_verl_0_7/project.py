"""What a user of verl has: a data file, a configuration, and what verl makes of the two."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers
from torchdata.stateful_dataloader import StatefulDataLoader
from transformers import PreTrainedTokenizerFast
from verl import DataProto
from verl.trainer.main_ppo import create_rl_dataset, create_rl_sampler
from verl.utils.dataset.rl_dataset import collate_fn

BATCH_SIZE = 8
COMPLEX_SOURCE = "logicif"
COMPLETION = [
    "data.sampler.class_path=pkg://verl_extensions.multi_source_sampler",
    "data.dataloader_num_workers=0",
]
"""What the documentation's examples leave to the reader."""


def make_rows(sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    """Rows in verl's schema, the sources in random order; harder ones have longer prompts.

    The scores of ``logicif`` are 0.00, 0.01, ... in random order; the other sources have none.
    ``extra_info.index`` is the number of the row.
    """
    rows: list[dict[str, Any]] = [
        {
            "data_source": name,
            "prompt": [{"role": "user", "content": " ".join(["word"] * (1 + number))}],
            "reward_model": {"style": "rule", "ground_truth": str(number)},
            "extra_info": {"complexity_score": number / 100} if name == COMPLEX_SOURCE else {},
        }
        for name, size in sizes.items()
        for number in range(size)
    ]
    random.Random(0).shuffle(rows)
    for index, row in enumerate(rows):
        row["extra_info"]["index"] = index
    return rows


def write_data(path: Path, sizes: Mapping[str, int]) -> Path:
    """A parquet file of ``make_rows``; gives its path."""
    return write_rows(path, make_rows(sizes))


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A parquet file; gives its path."""
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def make_tokenizer() -> Any:
    """One token per word, and a chat template of nothing but the words."""
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "word": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    untyped: Any = PreTrainedTokenizerFast
    tokenizer = untyped(tokenizer_object=words, unk_token="[UNK]")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    return tokenizer


def compose(data_file: Path, overrides: Sequence[str], config_file: Path | None = None) -> Any:
    """The configuration of a run, as verl's entry point gets it from Hydra.

    Args:
        data_file: To train on.
        overrides: The command line.
        config_file: A configuration of the user's own, which builds on verl's; None is verl's.
    """
    arguments = [
        f"data.train_files=[{data_file}]",
        f"data.val_files=[{data_file}]",
        f"data.train_batch_size={BATCH_SIZE}",
        *overrides,
    ]
    if config_file is None:
        with hydra.initialize_config_module("verl.trainer.config", version_base=None):
            return hydra.compose("ppo_trainer", arguments)
    with hydra.initialize_config_dir(str(config_file.parent), version_base=None):
        return hydra.compose(config_file.stem, arguments)


def write_config(path: Path, data_node: str) -> Path:
    """A user's configuration file whose ``data`` node is the YAML text; gives its path."""
    config = {
        "hydra": {"searchpath": ["pkg://verl.trainer.config"]},
        "defaults": ["ppo_trainer", "_self_"],
        "data": yaml.safe_load(data_node),
    }
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def make_loader(config: Any, tokenizer: Any) -> Any:
    """The training data loader, made as verl's trainer makes it."""
    dataset = create_rl_dataset(config.data.train_files, config.data, tokenizer, None)
    return StatefulDataLoader(
        dataset=dataset,
        batch_size=config.data.get("gen_batch_size", config.data.train_batch_size),
        num_workers=config.data.dataloader_num_workers,
        drop_last=True,
        collate_fn=collate_fn,
        sampler=create_rl_sampler(config.data, dataset),
    )


def rewards_of(rewards: Mapping[str, float]) -> Any:
    """A trained batch: two rows per source, each with the source's reward in two tokens."""
    sources = [name for name in rewards for _ in range(2)]
    scores = torch.tensor([[rewards[name] / 4, rewards[name] * 3 / 4] for name in sources])
    return DataProto.from_dict(
        tensors={"token_level_scores": scores},
        non_tensors={"data_source": np.array(sources, dtype=object)},
    )


def prompts(loader: Any) -> Iterator[tuple[list[str], list[Mapping[str, Any]]]]:
    """The sources, and the ``extra_info``, of each batch of a pass."""
    for batch in loader:
        yield batch["data_source"].tolist(), batch["extra_info"].tolist()
