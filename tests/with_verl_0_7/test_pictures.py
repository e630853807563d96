"""Rows with pictures: verl's own data set makes its messages of them, as the sampler draws."""

from __future__ import annotations

from pathlib import Path

from torchdata.stateful_dataloader import StatefulDataLoader
from verl.trainer.main_ppo import create_rl_dataset, create_rl_sampler
from verl.utils.dataset.rl_dataset import collate_fn

from tests.prompts.pictures import processor_in
from tests.with_verl_0_7 import pictures
from tests.with_verl_0_7.project import BATCH_SIZE, COMPLETION, compose


def test_pictures_come_with_their_rows(tmp_path: Path) -> None:
    """A mixture of rows with and without pictures is exact, and no row is changed."""
    file = pictures.write_rows(tmp_path / "train.parquet")
    processor = processor_in(tmp_path)
    data = compose(file, [*COMPLETION, *pictures.SETTINGS]).data
    dataset = create_rl_dataset(data.train_files, data, processor.tokenizer, processor)
    sampler = create_rl_sampler(data, dataset)
    loader = StatefulDataLoader(
        dataset, BATCH_SIZE, sampler=sampler, drop_last=True, collate_fn=collate_fn
    )
    counts = [pictures.check_batch(batch, processor) for batch in loader]
    assert counts == [{"seen": 6, "read": 2}] * 5
