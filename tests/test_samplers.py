from __future__ import annotations

import logging
from collections import Counter

import pytest
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

import verl_extensions
import verl_extensions.multi_source_sampler
from curriculum_learning import samplers
from curriculum_learning.samplers import (
    CurriculumMultiSourceSampler,
    MultiSourceSampler,
    RewardCurriculumSampler,
    RewardGatedCurriculumSampler,
    TimeCurriculumSampler,
)
from tests.engines.sampler_data import (
    Rows,
    config,
)


def test_all_names_are_found_under_both_paths() -> None:
    """Existing configurations find the samplers, by their old names too."""
    for module in (verl_extensions, verl_extensions.multi_source_sampler):
        assert module.MultiSourceSampler is MultiSourceSampler
        assert module.TimeCurriculumSampler is CurriculumMultiSourceSampler
        assert module.CurriculumMultiSourceSampler is TimeCurriculumSampler
        assert module.RewardCurriculumSampler is RewardGatedCurriculumSampler
        assert module.RewardGatedCurriculumSampler is RewardCurriculumSampler


def test_plain_loaders_and_configurations_will_do() -> None:
    """A plain torch DataLoader and an OmegaConf node work, with no verl installed."""
    dataset = Rows({"logicif": 40, "iftrain": 40}, scores=False)
    node = OmegaConf.create(config(8, source_weights={"logicif": 1.0, "iftrain": 3.0}))
    OmegaConf.set_struct(node, True)
    sampler = MultiSourceSampler(data_source=dataset, data_config=node)
    loader = DataLoader(
        dataset, batch_size=8, sampler=sampler, drop_last=True,
        collate_fn=lambda rows: [row["data_source"] for row in rows],
    )  # fmt: skip
    assert [Counter(batch) for batch in loader] == [{"logicif": 2, "iftrain": 6}] * 10


def test_the_file_that_runs_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The first line says which file the samplers come from, because another may shadow it."""
    with caplog.at_level(logging.INFO):
        MultiSourceSampler(Rows({"a": 20}), config(8))
    assert caplog.records[0].getMessage() == (
        f"[MultiSourceSampler] running from {samplers.__file__}"
    )
