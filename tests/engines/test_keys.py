from __future__ import annotations

from typing import Any

import pytest

from curriculum_learning import (
    ConfigurationError,
    DataError,
)
from curriculum_learning.config.samplers import keys_of_sampler
from curriculum_learning.samplers import (
    MultiSourceSampler,
    RewardCurriculumSampler,
    TimeCurriculumSampler,
)
from tests.engines.sampler_data import (
    Rows,
    config,
)


@pytest.mark.parametrize(
    ("kind", "keys", "key", "piece"),
    [
        (MultiSourceSampler, {"source_weights": {"logicif": 1}}, "source_weights", "'iftrain'"),
        (MultiSourceSampler, {"source_weights": {"logicif": 1, "iftrain": 1, "x": 1}},
         "source_weights", "'x'"),
        (MultiSourceSampler, {"source_weights": {"logicif": -1, "iftrain": 1}},
         "sampler.source_weights", ">= 0"),
        (MultiSourceSampler, {"source_weights": {"logicif": 0, "iftrain": 0}},
         "sampler.source_weights", "above 0"),
        (MultiSourceSampler, {"source_weights": [1, 1]}, "sampler.source_weights", "mapping"),
        (MultiSourceSampler,
         {"source_weights": {"logicif": 4, "iftrain": 1}, "adaptive_weights": True},
         "sampler.source_weights", "max_source_ratio"),
        (MultiSourceSampler, {"sampling_strategy": "uniform"},
         "sampler.sampling_strategy", "proportional"),
        (MultiSourceSampler,
         {"sampling_strategy": "proportional", "source_weights": {"logicif": 1, "iftrain": 1}},
         "sampler.source_weights", "no effect"),
        (MultiSourceSampler, {"adaptive_weights": 1},
         "sampler.adaptive_weights", "true or false"),
        (MultiSourceSampler, {"alpha": 0}, "sampler.alpha", "above 0"),
        (MultiSourceSampler, {"alpha": 1.5}, "sampler.alpha", "at most 1"),
        (MultiSourceSampler, {"temperature": 0}, "sampler.temperature", "above 0"),
        (MultiSourceSampler, {"temperature": float("nan")}, "sampler.temperature", "above 0"),
        (MultiSourceSampler, {"max_source_ratio": 0.5}, "sampler.max_source_ratio", ">= 1"),
        (MultiSourceSampler, {"update_frequency": 0}, "sampler.update_frequency", ">= 1"),
        (MultiSourceSampler, {"update_frequncy": 5},
         "sampler.update_frequncy", "mean update_frequency"),
        (MultiSourceSampler, {"seed": -1}, "sampler.seed", ">= 0"),
        (MultiSourceSampler, {"journal": ""}, "sampler.journal", "a file"),
        (TimeCurriculumSampler, {"complexity_source": "math"},
         "complexity_source", "'logicif', 'iftrain'"),
        (TimeCurriculumSampler, {"initial_complexity_percentile": 101},
         "sampler.initial_complexity_percentile", "0 to 100"),
        (TimeCurriculumSampler,
         {"initial_complexity_percentile": 50, "final_complexity_percentile": 40},
         "sampler.initial_complexity_percentile", "(40)"),
        (TimeCurriculumSampler, {"complexity_warmup_steps": 0},
         "sampler.complexity_warmup_steps", ">= 1"),
        (RewardCurriculumSampler, {}, "sampler.reward_threshold", "is required"),
        (RewardCurriculumSampler, {"reward_threshold": "high"},
         "sampler.reward_threshold", "finite number"),
        (RewardCurriculumSampler, {"reward_threshold": 1, "num_intervals": 0},
         "sampler.num_intervals", "from 1 to"),
        (RewardCurriculumSampler, {"reward_threshold": 1, "interval_decay": 2},
         "sampler.interval_decay", "0 to 1"),
        (RewardCurriculumSampler, {"reward_threshold": 1, "check_frequency": 0},
         "sampler.check_frequency", ">= 1"),
    ],
)  # fmt: skip
def test_a_bad_key_is_named(
    kind: type[MultiSourceSampler], keys: dict[str, Any], key: str, piece: str
) -> None:
    """A key that is missing, unknown or out of range is one error with key, value and remedy."""
    with pytest.raises(ConfigurationError) as raised:
        kind(Rows({"logicif": 40, "iftrain": 30}), config(8, **keys))
    assert piece in str(raised.value)
    assert raised.value.key == key


def test_batches_must_fit_the_data() -> None:
    """A batch that is missing, or larger than the data, is an error."""
    dataset = Rows({"a": 20})
    with pytest.raises(ConfigurationError, match="train_batch_size"):
        MultiSourceSampler(dataset, {"sampler": {}})
    with pytest.raises(DataError, match="fewer rows than one batch of 21"):
        MultiSourceSampler(dataset, config(21))


def test_a_key_of_another_sampler_is_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    """A key that this class does not use is a warning, not silence."""
    MultiSourceSampler(Rows({"a": 20}), config(8, reward_threshold=0.5))
    assert "sampler.reward_threshold (0.5) has no effect" in caplog.text


def test_every_documented_default() -> None:
    """Each key has its documented default."""
    reward = keys_of_sampler(RewardCurriculumSampler.curriculum_type)
    time = keys_of_sampler(TimeCurriculumSampler.curriculum_type)
    common = {
        "sampling_strategy": "weighted", "source_weights": {}, "adaptive_weights": False,
        "alpha": 0.1, "update_frequency": 5, "temperature": 1.0, "max_source_ratio": 3.0,
        "complexity_source": "logicif", "initial_complexity_percentile": 30,
        "final_complexity_percentile": 100,
    }  # fmt: skip
    for key, value in common.items():
        assert reward[key].default == time[key].default == value
    assert time["complexity_warmup_steps"].default == 100
    by_reward = {
        "num_intervals": 10, "reward_alpha": 0.1, "min_batches_per_level": 10,
        "check_frequency": 3, "focus_new_intervals": False, "interval_decay": 0.5,
    }  # fmt: skip
    assert {key: reward[key].default for key in by_reward} == by_reward
