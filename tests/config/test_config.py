from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from curriculum_learning import ConfigurationError, ScheduleError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from tests.harness import arguments, name_of, prompt_files


def test_the_same_configuration_in_any_form(tmp_path: Path) -> None:
    """A namespace, a mapping, an OmegaConf node and a bare object give the same groups."""
    values = vars(arguments(tmp_path, {"a": 5, "b": 5}, data_source_weights=[0.3, "lambda s: 0.7"]))
    forms = (
        argparse.Namespace(**values),
        dict(values),
        OmegaConf.create(values),
        type("Args", (), dict(values)),
    )
    served = [[group[0].prompt for group in DataSource(form).get_samples(20)] for form in forms]
    assert served == [served[0]] * 4


def test_weights_by_name(tmp_path: Path) -> None:
    """Weights given by name reach their sources whatever the order."""
    args = arguments(tmp_path, {"a": 5, "b": 5}, data_source_weights={"b": 0.0, "a": 1.0})
    assert {name_of(group) for group in DataSource(args).get_samples(5)} == {"a"}


def test_names_come_from_files_or_from_the_configuration(tmp_path: Path) -> None:
    """A source is named by its file's stem, slice or not, or by prompt_data_source_names."""
    (path,) = prompt_files(tmp_path, {"math": 5})
    assert name_of(DataSource({"prompt_data": f"{path}@[1:3]"}).get_samples(1)[0]) == "math"
    source = DataSource({"prompt_data": [Path(path)], "prompt_data_source_names": ["gsm8k"]})
    assert name_of(source.get_samples(1)[0]) == "gsm8k"


@pytest.mark.parametrize(
    ("changes", "key", "piece"),
    [
        ({"prompt_data": None}, "prompt_data", "must be a path"),
        ({"prompt_data": []}, "prompt_data", "must be a path"),
        ({"prompt_data": {"a": "b"}}, "prompt_data", "must be a path"),
        ({"prompt_data": ["a.jsonl", 5]}, "prompt_data", "prompt_data[1] (5) must be a path"),
        ({"prompt_data_source_names": ["a"]}, "prompt_data_source_names", "1 names for 2"),
        ({"prompt_data_source_names": ["a", ""]}, "prompt_data_source_names", "must be a name"),
        ({"prompt_data_source_names": ["a", "a"]}, "prompt_data_source_names", "named 'a'"),
        ({"data_source_weights": None}, "data_source_weights", "is not set: give a list of 2"),
        ({"data_source_weights": [1]}, "data_source_weights", "has 1 weights for 2 sources"),
        ({"data_source_weights": "0.5"}, "data_source_weights", "neither a list nor a mapping"),
        ({"data_source_weights": {"a": 1}}, "data_source_weights", "no weight for 'b'"),
        ({"data_source_weights": {"a": 1, "b": 1, "c": 1}}, "data_source_weights", "names 'c'"),
        ({"data_source_weights": [1, -1]}, "data_source_weights", "source 'b'"),
        ({"data_source_weights": [0, 0]}, "data_source_weights", "0 at step 0"),
        ({"data_source_weights": [1, "lambda s: 2 - s / 400"]}, "data_source_weights", "step 801"),
        ({"data_source_weights": [0, "lambda s: max(0, 9 - s)"]}, "data_source_weights", "step 9"),
        ({"data_source_wieghts": [1, 1]}, "data_source_wieghts", "mean data_source_weights"),
        ({"prompt_data_names": ["a"]}, "prompt_data_names", "not a key"),
        ({"rollout_shuffle": "yes"}, "rollout_shuffle", "true or false"),
        ({"rollout_global_dataset": 1}, "rollout_global_dataset", "true or false"),
        ({"rollout_seed": "a"}, "rollout_seed", "whole number"),
        ({"rollout_seed": True}, "rollout_seed", "whole number"),
        ({"n_samples_per_prompt": 0}, "n_samples_per_prompt", ">= 1"),
        ({"n_samples_per_prompt": 1.5}, "n_samples_per_prompt", "whole number"),
        ({"rollout_batch_size": -1}, "rollout_batch_size", ">= 1"),
        ({"num_rollout": -1}, "num_rollout", "from 0 to"),
        ({"rollout_max_prompt_len": 0}, "rollout_max_prompt_len", ">= 1"),
        ({"input_key": ["a"]}, "input_key", "one entry per source"),
        ({"input_key": ["a", None]}, "input_key", "source 'b'"),
        ({"input_key": {"c": "x"}}, "input_key", "names 'c', which is no source"),
        ({"label_key": 5}, "label_key", "must be a text, or null"),
        ({"apply_chat_template": "yes"}, "apply_chat_template", "must be true or false"),
        ({"apply_chat_template_kwargs": [1]}, "apply_chat_template_kwargs", "mapping"),
        ({"multimodal_keys": {"picture": "images"}}, "multimodal_keys", "image, video or audio"),
        ({"buffer_filter_path": "nosuch.module.f"}, "buffer_filter_path", "no module nosuch"),
        ({"buffer_filter_path": 5}, "buffer_filter_path", "dotted path"),
        ({"on_missing_state": "ignore"}, "on_missing_state", "'error' or 'restart'"),
        ({"save": 5}, "save", "folder"),
        ({"save": ""}, "save", "folder"),
        ({"max_in_flight_rollouts": 0}, "max_in_flight_rollouts", ">= 1"),
        (
            {"prompt_data_source_names": ["a", "b\ud800"]},
            "prompt_data_source_names",
            "printable characters",
        ),
    ],
)
def test_a_bad_value_is_named(
    tmp_path: Path, changes: dict[str, Any], key: str, piece: str
) -> None:
    """A configuration that cannot be meant is one ValueError with key, value and remedy."""
    args = arguments(tmp_path, {"a": 5, "b": 5}, **changes)
    with pytest.raises(ConfigurationError) as raised:
        DataSource(args)
    assert key in str(raised.value)
    assert piece in str(raised.value)
    assert raised.value.key == key


def test_schedules_are_tried_over_the_whole_run(tmp_path: Path) -> None:
    """With num_rollout known a schedule need only hold for these steps, and must for all."""
    weights = [1, "lambda step: 2 - step / 50"]
    DataSource(arguments(tmp_path, {"a": 5, "b": 5}, data_source_weights=weights, num_rollout=100))
    # An asynchronous engine draws ahead for one rollout more.
    with pytest.raises(ScheduleError, match="step 101"):
        DataSource(
            arguments(tmp_path, {"a": 5, "b": 5}, data_source_weights=weights, num_rollout=101)
        )
    with pytest.raises(ScheduleError, match="step 101"):
        DataSource(
            arguments(tmp_path, {"a": 5, "b": 5}, data_source_weights=weights, num_rollout=102)
        )
    late = [1, "lambda step: 1 / (5000 - step)"]
    with pytest.raises(ScheduleError, match="step 5000"):
        DataSource(
            arguments(tmp_path, {"a": 5, "b": 5}, data_source_weights=late, num_rollout=6000)
        )


def test_numpy_numbers_are_numbers(tmp_path: Path) -> None:
    """Counts and weights may come out of numpy."""
    ramp = {"schedule": "linear", "start": np.float64(0), "end": 1, "steps": np.int64(5)}
    args = arguments(
        tmp_path,
        {"a": 5, "b": 5},
        n_samples_per_prompt=np.int64(3),
        rollout_seed=np.int32(1),
        data_source_weights=[np.float32(0.5), ramp],
    )
    source = DataSource(args)
    source.set_rollout_step(np.int64(5))
    assert [len(group) for group in source.get_samples(np.int64(2))] == [3, 3]
    source.observe([], rollout_id=np.int64(7), fate="trained")
    assert source.rollout_step == 8
    assert type(source.rollout_step) is int


def test_the_working_directory_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths mean what they meant when the data source was made."""
    prompt_files(tmp_path, {"math": 50})
    monkeypatch.chdir(tmp_path)
    source = DataSource({"prompt_data": "math.jsonl", "save": "states"})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    source.get_samples(3)
    source.save(0)
    assert (tmp_path / "states" / "rollout").exists()
