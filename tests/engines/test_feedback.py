from __future__ import annotations

import itertools
import logging
import types
from collections import Counter

import numpy as np
import pytest
import torch

from curriculum_learning import (
    DataError,
)
from curriculum_learning.samplers import (
    MultiSourceSampler,
    TimeCurriculumSampler,
)
from tests.engines.sampler_data import (
    Rows,
    config,
)


def test_rewards_move_adaptive_weights(caplog: pytest.LogCaptureFixture) -> None:
    """The source with the lower reward gets more rows, and the documented lines are logged."""
    dataset = Rows({"iftrain": 200, "logicif": 200})
    with caplog.at_level(logging.INFO):
        sampler = MultiSourceSampler(
            dataset,
            config(512 // 8, adaptive_weights=True, alpha=0.1, temperature=0.3, update_frequency=2,
                   source_weights={"iftrain": 1.0, "logicif": 1.0}),
        )  # fmt: skip
        rows = iter(sampler)
        for _ in range(2):
            batch = list(itertools.islice(rows, 64))
            names = dataset.names(batch)
            assert Counter(names) == {"iftrain": 32, "logicif": 32}
            sampler.observe(names, [10.25 if name == "iftrain" else 10.19 for name in names])
        later = dataset.names(list(itertools.islice(rows, 128)))
    share = 1 / (1 + np.exp(-0.06 / 0.3))
    assert abs(Counter(later)["logicif"] - 128 * share) < 1
    assert [record.getMessage() for record in caplog.records[1:]] == [
        "[MultiSourceSampler] Strategy: weighted, Mode: adaptive, Sources: 2, Batch size: 64",
        "[MultiSourceSampler] Adaptive: alpha=0.1, update_freq=2, temp=0.3",
        "[MultiSourceSampler] Weight bounds: [25.0%, 75.0%]",
        "  iftrain: 200 samples (weight: 0.500)",
        "  logicif: 200 samples (weight: 0.500)",
        "",
        "[MultiSourceSampler] Batch 2 - Weight adjustment:",
        "  iftrain: reward_ema= 10.25, weight=0.450 (45.0%)",
        "  logicif: reward_ema= 10.19, weight=0.550 (55.0%)",
        "  Actual max/min ratio: 1.22x",
    ]
    stats = sampler.get_stats()
    assert stats["weight/logicif"] == pytest.approx(share)
    assert stats["reward_ema/iftrain"] == pytest.approx(10.25)
    assert stats["updates"] == 2


def test_update_reads_verls_batches(caplog: pytest.LogCaptureFixture) -> None:
    """Token scores are summed per row; values that are not finite are skipped and counted."""
    dataset = Rows({"a": 50, "b": 50})
    sampler = MultiSourceSampler(dataset, config(adaptive_weights=True))
    scores = torch.tensor(
        [[0.0, 1.0], [0.5, 0.25], [float("nan"), 1], [0, 3]], dtype=torch.bfloat16
    )
    batch = types.SimpleNamespace(
        batch={"token_level_scores": scores},
        non_tensor_batch={"data_source": np.array(["a", "b", "a", "a"], dtype=object)},
    )
    sampler.update(batch=batch)
    stats = sampler.get_stats()
    assert (stats["reward_ema/a"], stats["reward_ema/b"]) == (2.0, 0.75)
    assert "1 of 4 rewards" in caplog.text
    del batch.batch["token_level_scores"]
    with pytest.raises(DataError, match="token_level_scores"):
        sampler.update(batch)
    with pytest.raises(DataError, match=r"""rewards of \["'c'"\]"""):
        sampler.observe(["a", "c"], [1, 2])
    with pytest.raises(DataError, match="one reward per row"):
        sampler.observe(["a"], [1, 2])


def test_odd_batches_of_rewards() -> None:
    """Tensors of any type, nested ones, and huge rewards are accepted."""
    sampler = MultiSourceSampler(Rows({"a": 50, "b": 50}), config(adaptive_weights=True))
    sampler.observe(["a", "a", "b"], torch.tensor([1, 2, 3], dtype=torch.bfloat16))
    sampler.observe(["a", "a"], [1e308, 1e308])
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    sampler.update(
        types.SimpleNamespace(
            batch={"token_level_scores": nested},
            non_tensor_batch={"data_source": np.array(["b", "b"], dtype=object)},
        )
    )
    assert sampler.get_stats()["reward_ema/b"] == pytest.approx(0.9 * 3 + 0.1 * 2.5)
    with pytest.raises(DataError, match="rewards of"):
        sampler.observe([1], [1.0])  # type: ignore[list-item]  # that is the test


def test_drawing_ahead_of_rewards_is_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    """If workers draw batches before the rewards are known, one warning says so."""
    dataset = Rows({"logicif": 40, "iftrain": 40})
    sampler = TimeCurriculumSampler(dataset, config(8))
    list(itertools.islice(sampler, 24))
    for _ in range(2):
        sampler.observe(["logicif"], [1.0])
    assert caplog.text.count("num_workers=0") == 1
