"""``sampler.config``: samplers read the file that configures slime's data source."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from curriculum_learning import ConfigurationError, ScheduleError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.samplers import MultiSourceSampler, TimeCurriculumSampler
from tests.engines.sampler_data import Rows, batches_of, config
from tests.harness import name_of, prompt_files

SIZES = {"math": 40, "code": 60, "chat": 50}
FILE: dict[str, Any] = {
    "prompt_data": ["nowhere/math.jsonl", "nowhere/code.jsonl", "nowhere/talk.parquet@[:50]"],
    "prompt_data_source_names": ["math", "code", "chat"],
    "data_source_weights": [
        0.3,
        "lambda step: 0.5 + step / 10",
        {"schedule": "linear", "start": 1, "end": 0, "steps": 4},
    ],
    "data_source_curricula": {"code": {"type": "time", "complexity_warmup_steps": 4}},
    "data_source_reward_caps": [0.9, None, "lambda step: max(0.5, 0.8 - step / 10)"],
    "data_source_rule": {"type": "temperature", "temperature": 2},
    "rollout_seed": 11,
    "max_oversampling": 2,
    # what samplers have no use for
    "apply_chat_template": True,
    "n_samples_per_prompt": 8,
    "custom_rollout_log_function_path": "nowhere.at.all",
}
IN_NODE: dict[str, Any] = {
    "source_weights": dict(zip(SIZES, FILE["data_source_weights"], strict=True)),
    "source_curricula": FILE["data_source_curricula"],
    "source_reward_caps": dict(zip(SIZES, FILE["data_source_reward_caps"], strict=True)),
    "source_rule": FILE["data_source_rule"],
    "seed": 11,
    "max_oversampling": 2,
}


def _write(folder: Path, **changes: Any) -> str:
    values = {key: value for key, value in {**FILE, **changes}.items() if value is not ...}
    (path := folder / "sources.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return str(path)


def _run(sampler: MultiSourceSampler, dataset: Rows) -> list[list[int]]:
    """The batches of a pass, each reported."""
    got = []
    for batch in batches_of_steps(sampler):
        got.append(batch)
        sampler.observe(dataset.names(batch), [0.5] * len(batch), batch)
    return got


def batches_of_steps(sampler: MultiSourceSampler) -> Any:
    """The batches of a pass, each drawn when it is asked for."""
    rows = iter(sampler)
    return zip(*[rows] * 10, strict=True)


def test_a_file_is_the_same_as_the_keys_of_the_node(tmp_path: Path) -> None:
    """Weights of every form, curricula, caps, rule and seed: batches and figures are the same."""
    dataset = Rows(SIZES)
    file = MultiSourceSampler(dataset, config(10, config=_write(tmp_path)))
    node = MultiSourceSampler(dataset, config(10, **IN_NODE))
    assert _run(file, dataset) == _run(node, dataset)
    assert file.get_stats() == node.get_stats()
    assert file.config.max_oversampling == node.config.max_oversampling == 2
    assert file.state_dict()["identity"] == node.state_dict()["identity"]
    empty: dict[str, Any] = {"source_weights": {}, "source_rule": None, "adaptive_weights": False}
    same = MultiSourceSampler(dataset, config(10, config=_write(tmp_path), **empty))
    assert same.get_stats() == MultiSourceSampler(dataset, config(10, **IN_NODE)).get_stats()


def test_slime_and_the_samplers_mix_alike(tmp_path: Path) -> None:
    """The data source and a sampler draw as many rows of each source from one file."""
    paths = prompt_files(tmp_path, SIZES)
    path = _write(
        tmp_path, prompt_data=paths, apply_chat_template=False, data_source_curricula=...,
        custom_rollout_log_function_path=...,
    )  # fmt: skip
    source = DataSource(yaml.safe_load(Path(path).read_text()))
    dataset = Rows(SIZES)
    sampler = MultiSourceSampler(dataset, config(10, config=path))
    for step, batch in enumerate(batches_of_steps(sampler)):
        source.set_rollout_step(step)
        groups = source.get_samples(10)
        assert Counter(map(name_of, groups)) == Counter(dataset.names(list(batch)))
        sampler.observe(dataset.names(list(batch)), [0.5] * 10)


@pytest.mark.parametrize("names", [{}, {"prompt_data_source_names": ...}])
def test_prompt_data_is_not_needed(tmp_path: Path, names: dict[str, Any]) -> None:
    """A file without paths names its sources by their names, or by the weights."""
    by_name = dict(zip(SIZES, FILE["data_source_weights"], strict=True))
    if names:
        names = {**names, "data_source_weights": by_name, "data_source_reward_caps": 0.5}
    dataset = Rows(SIZES)
    path = _write(tmp_path, prompt_data=..., **names)
    sampler = MultiSourceSampler(dataset, config(10, config=path))
    assert set(sampler.get_stats()) >= {f"weight/{name}" for name in SIZES}


def test_adaptive_weights_and_a_seed_of_the_node(tmp_path: Path, caplog: Any) -> None:
    """``data_source_adaptive`` is adaptive_weights; a seed of the node goes before the file's."""
    path = _write(
        tmp_path, data_source_rule=..., data_source_adaptive={"temperature": 0.3},
        data_source_weights=[1, 1, 1],
    )  # fmt: skip
    dataset = Rows(SIZES)
    with caplog.at_level("INFO"):
        sampler = MultiSourceSampler(dataset, config(10, config=path, seed=5))
    assert "Mode: adaptive" in caplog.text
    assert "temp=0.3" in caplog.text
    assert sampler.config.seed == 5
    other = MultiSourceSampler(dataset, config(10, config=path))
    assert batches_of(sampler, 10) != batches_of(other, 10)


@pytest.mark.parametrize(
    ("changes", "keys", "pieces", "key"),
    [
        ({}, {"source_weights": {"math": 1}}, ["sampler.config are both"], "source_weights"),
        ({}, {"adaptive_weights": True}, ["sampler.config are both"], "adaptive_weights"),
        ({}, {"sampling_strategy": "proportional"}, ["no effect"], "source_weights"),
        ({"data_source_wieghts": 1}, {}, ["data_source_wieghts", "did you mean"], "config"),
        (
            {"data_source_weights": [1, "lambda step: max(3 - step, -1)", 1]},
            {},
            ["sources.yaml:11", "'code'", "at step 4"],
            "config",
        ),
        ({"data_source_reward_caps": [1, "high", 1]}, {}, ["sources.yaml:", "'high'"], "config"),
        ({"prompt_data_source_names": ["math", "code", "x"]}, {}, ["'x'", "'chat'"], "config"),
    ],
)
def test_what_is_wrong_in_a_file_is_placed(
    tmp_path: Path, changes: dict[str, Any], keys: dict[str, Any], pieces: list[str], key: str
) -> None:
    """An error names the file, the line, the source and the value; two places for a key are one."""
    path = _write(tmp_path, **changes)
    with pytest.raises(ConfigurationError) as raised:
        MultiSourceSampler(Rows(SIZES), config(10, config=path, **keys))
    assert all(piece in str(raised.value) for piece in pieces), raised.value
    assert raised.value.key == f"sampler.{key}"


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """A file that is missing, or none of YAML, is named."""
    for path in (str(tmp_path / "nowhere.yaml"), "sources.txt", ""):
        with pytest.raises(ConfigurationError) as raised:
            MultiSourceSampler(Rows(SIZES), config(10, config=path))
        assert raised.value.key == "sampler.config"


def test_the_sampler_s_own_curriculum_stands_beside_the_file(tmp_path: Path) -> None:
    """A sampler with a curriculum of its own takes it for a source that the file leaves alone."""
    dataset = Rows(SIZES)
    path = _write(tmp_path)
    sampler = TimeCurriculumSampler(dataset, config(10, config=path, complexity_source="math"))
    assert sampler.get_stats()["open_share/math"] == pytest.approx(0.3)
    assert sampler.get_stats()["open_share/code"] == pytest.approx(0.3)
    with pytest.raises(ConfigurationError, match="the sampler itself has its curriculum"):
        TimeCurriculumSampler(dataset, config(10, config=path, complexity_source="code"))


def test_a_schedule_error_stays_one(tmp_path: Path) -> None:
    """A weight that cannot be read is a ScheduleError, wherever it stands."""
    path = _write(tmp_path, data_source_weights=[1, "lambda step: open('x')", 1])
    with pytest.raises(ScheduleError, match="code"):
        MultiSourceSampler(Rows(SIZES), config(10, config=path))
