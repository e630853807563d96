"""Rows with pictures: verl's own data set makes its messages of them, as the trainer draws."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import datasets.config
import hydra
import pytest

from curriculum_learning import verl_trainer
from tests.prompts.pictures import processor_in
from tests.with_verl_0_7 import pictures
from tests.with_verl_0_9 import inputs


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Parquet files that are read leave no copies in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield


def test_pictures_come_with_their_rows(tmp_path: Path) -> None:
    """A mixture of rows with and without pictures is exact, and no row is changed."""
    file = pictures.write_rows(tmp_path / "rows.parquet")
    model = inputs.write_model(tmp_path / "model")
    settings = [*inputs.settings(model, file), *pictures.SETTINGS, "data.train_batch_size=8"]
    with hydra.initialize_config_module("verl.trainer.config", version_base=None):
        trainer = verl_trainer.CurriculumTrainer(hydra.compose("ppo_trainer", settings))
    trainer._init_tokenizer()
    processor = processor_in(tmp_path / "processor")
    trainer.processor = processor
    trainer._init_dataloader()
    counts = [pictures.check_batch(batch, processor) for batch in trainer.train_dataloader]
    assert counts == [{"seen": 6, "read": 2}] * 5
