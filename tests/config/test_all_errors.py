"""All errors of a configuration at once, the same in a run and in ``preview``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum_learning import ConfigurationError, ScheduleError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.__main__ import main
from curriculum_learning.config.data_source import KEYS, check_config
from curriculum_learning.config.plan import DataSourcePlan
from curriculum_learning.config.samplers import check_sampler_config, keys_of_sampler
from curriculum_learning.curricula.rows.reward import RewardCurriculum
from curriculum_learning.samplers import RewardCurriculumSampler
from tests.harness import arguments

TIME: dict[str, Any] = {"type": "time"}
LOG = "curriculum_learning.custom_log.custom_rollout_log_function"


def refusal(folder: Path, **changes: Any) -> ConfigurationError:
    """The error of a data source over a and b."""
    with pytest.raises(ConfigurationError) as raised:
        DataSource(arguments(folder, {"a": 5, "b": 5}, **changes))
    return raised.value


def lines(error: ConfigurationError) -> list[str]:
    """The errors that an error lists."""
    first, *listed = str(error).splitlines()
    if not listed:
        return [first]
    assert first == f"the configuration has {len(listed)} errors:"
    return [line.removeprefix("- ") for line in listed]


@pytest.mark.parametrize(
    ("changes", "beginnings"),
    [
        (
            {"data_source_reward_caps": [-1, "half"]},
            ["data_source_reward_caps of source 'a' (-1)", "data_source_reward_caps of source 'b'"],
        ),
        (
            {"data_source_curricula": {"a": {"type": "tmie"}, "b": {**TIME, "warmup": 1}}},
            [
                "data_source_curricula.type of source 'a' ('tmie') is not a curriculum; did you "
                "mean time?",
                "data_source_curricula.warmup of source 'b' (1) is not a known key",
            ],
        ),
        (
            {"data_source_curricula": [None, {"type": "reward", "num_intervals": 0}]},
            [
                "data_source_curricula.reward_threshold of source 'b' is required",
                "data_source_curricula.num_intervals of source 'b' (0) must be a whole number "
                "from 1 to 100000",
            ],
        ),
        (
            {"data_source_adaptive": {"alpha": 0, "temprature": 1}},
            [
                "data_source_adaptive.alpha (0) must be a number above 0 and at most 1",
                "data_source_adaptive.temprature (1) is not a known key; did you mean temperature?",
            ],
        ),
        (
            {"input_key": 5, "label_key": {"a": 1}, "rollout_shuffle": "yes"},
            ["input_key (5) must be a text", "label_key of source 'a' (1)", "rollout_shuffle"],
        ),
        (
            {"rollout_batch_size": 0, "rollout_max_prompt_len": 10},
            ["rollout_batch_size (0)", "rollout_max_prompt_len needs a tokenizer"],
        ),
        (
            {"data_source_weights": [-1, {"schedule": "linear", "start": "x", "steps": 0}]},
            [
                "data_source_weights of source 'a' (-1)",
                "data_source_weights.end of source 'b' is required",
                "data_source_weights.start of source 'b' ('x')",
                "data_source_weights.steps of source 'b' (0)",
            ],
        ),
        (
            {"data_source_weights": ["lambda s: 1 / (s - 3)", "lambda s: 3 - s"]},
            ["data_source_weights of source 'a'", "data_source_weights of source 'b'"],
        ),
        (
            {"ray_service": {"prefetch": -1, "nmae": "x", "name": "a b"}},
            ["ray_service.prefetch (-1)", "ray_service.nmae ('x')", "ray_service.name ('a b')"],
        ),
        (
            {"ray_service": {"prefetch": 9, "max_leased_groups": 8}},
            ["ray_service.prefetch (9) must be at most max_leased_groups (8)"],
        ),
    ],
)
def test_a_run_is_told_all_errors_at_once(
    tmp_path: Path, changes: dict[str, Any], beginnings: list[str]
) -> None:
    """One error lists them all, with the attributes of the first, and shows no whole mapping."""
    error = refusal(tmp_path, **changes)
    found = lines(error)
    assert len(found) == len(beginnings), found
    for line, beginning in zip(found, beginnings, strict=True):
        assert line.startswith(beginning)
    assert beginnings[0].startswith(str(error.key))
    assert "{" not in str(error)


@pytest.mark.parametrize("paths", [None, [], ["a.jsonl", 5], ["a.jsonl", "b.jsonl"], {"a": 1}])
@pytest.mark.parametrize("names", [None, "a", ["a"], ["a", "a"], ["a", ""], [1, 2, 3], {"a": "b"}])
@pytest.mark.parametrize("weights", [None, [-1], [-1, 1, 1], {"a": -1}, -1])
def test_sources_that_are_not_known_hide_no_error(paths: Any, names: Any, weights: Any) -> None:
    """Whatever is wrong with paths and names, other keys are read, also those by source."""
    values = {"prompt_data": paths, "prompt_data_source_names": names, "autosave": 1}
    with pytest.raises(ConfigurationError) as raised:
        DataSource({**values, "data_source_weights": weights, "input_key": ["x", 5]})
    found = lines(raised.value)
    assert any(line.startswith("autosave (1)") for line in found)
    assert weights is None or any(line.startswith("data_source_weights") for line in found)
    assert any(line.startswith("input_key") for line in found)


def test_the_first_error_gives_its_attributes(tmp_path: Path) -> None:
    """Class, source, key, value and place are those of the first."""
    error = refusal(tmp_path, data_source_weights=[1, -1], rollout_seed="x")
    assert type(error) is ScheduleError
    assert (error.source, error.key, error.value) == ("b", "data_source_weights", -1)
    error = refusal(tmp_path, data_source_curricula={"b": {**TIME, "complexity_warmup_steps": 0}})
    assert (error.source, error.key, error.value) == ("b", "data_source_curricula", 0)
    assert error.path == ("b", "complexity_warmup_steps")


def test_a_mapping_by_source_may_leave_sources_out(tmp_path: Path) -> None:
    """A source that is not named has the default; weights have none."""
    args = arguments(
        tmp_path,
        {"a": 5, "b": 5},
        input_key={"a": "input"},
        data_source_reward_caps={"b": 0.9},
    )
    config = DataSource(args).config
    assert [source.input_key for source in config.sources] == ["input", "input"]
    assert [source.reward_cap is None for source in config.sources] == [True, False]
    error = refusal(tmp_path, data_source_curricula={"olymp": TIME})
    assert "names 'olymp', which is no source; the sources are a, b" in str(error)
    assert "no weight for 'b'" in str(refusal(tmp_path, data_source_weights={"a": 1}))


def test_keys_that_do_not_go_together_are_one_located_error(tmp_path: Path) -> None:
    """The constructor of a curriculum refuses them, with source and key."""
    keys = {"initial_complexity_percentile": 80, "final_complexity_percentile": 20}
    error = refusal(tmp_path, data_source_curricula={"a": {**TIME, **keys}})
    assert str(error) == (
        "data_source_curricula.initial_complexity_percentile of source 'a' (80) must not be above "
        "final_complexity_percentile (20)"
    )


def test_a_sampler_is_told_all_errors_at_once() -> None:
    """Keys of the sampler, its curriculum, adaptive weights and the batch in one error."""
    node = {"alpha": 2, "num_intervals": 0, "sampling_strategy": "even", "intial": 5}
    with pytest.raises(ConfigurationError) as raised:
        RewardCurriculumSampler([], {"train_batch_size": 0, "sampler": node})
    assert {line.split(" ")[0] for line in lines(raised.value)} == {
        "train_batch_size", "sampler.alpha", "sampler.num_intervals", "sampler.sampling_strategy",
        "sampler.intial", "sampler.reward_threshold",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({}, None),
        ({"save": 5}, "save"),
        ({"save": ""}, "save"),
        ({"load": [1]}, "load"),
        ({"autosave": "yes please"}, "autosave"),
        ({"dynamic_sampling_filter_path": "nosuch.filter"}, "dynamic_sampling_filter_path"),
        ({"custom_rollout_log_function_path": "nosuch.log"}, "custom_rollout_log_function_path"),
        ({"custom_rollout_log_function_path": LOG}, None),
        ({"rollout_all_samples_process_path": "math.pi"}, "rollout_all_samples_process_path"),
        ({"buffer_filter_path": "nosuch.module.f"}, "buffer_filter_path"),
        ({"ray_service": {"nmae": "x"}}, "ray_service"),
        ({"data_source_cache": 5}, "data_source_cache"),
        ({"tool_key": None, "label_key": None, "rollout_seed": None}, None),
        ({"reward_key": 5}, "reward_key"),
        ({"dump_details": 5}, "dump_details"),
    ],
)
def test_preview_and_the_run_accept_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], key: str | None
) -> None:
    """Whatever one of them refuses the other does too, with the same message."""
    values = {**vars(arguments(tmp_path, {"a": 5, "b": 5})), **changes}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    main(["preview", str(path), "--steps", "5", "--json"])
    shown = json.loads(capsys.readouterr().out)["errors"]
    assert [error["key"] for error in shown] == ([] if key is None else [key])
    if key is None:
        DataSource(values).close()
    else:
        with pytest.raises(ConfigurationError) as raised:
            DataSource(values)
        assert shown[0]["message"] == f"{shown[0]['place']}: {raised.value}"
        assert shown[0]["place"].startswith(f"{path}:")


def test_an_unknown_sampler_hides_no_other_error(capsys: pytest.CaptureFixture[str]) -> None:
    """class_name, the batch, keys and files are all told."""
    arguments = ["data.sampler.class_name=MultiSuorceSampler", "data.train_batch_size=0"]
    main(["preview", *arguments, "data.sampler.alpha=7", "data.train_files=5", "--json"])
    errors = json.loads(capsys.readouterr().out)["errors"]
    assert [error["key"] for error in errors] == [
        "sampler.class_name", "train_batch_size", "sampler.alpha", "train_files",
    ]  # fmt: skip
    assert "did you mean MultiSourceSampler?" in errors[0]["message"]


def test_the_line_of_a_piece_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In values of several lines the error names the line of the wrong entry."""
    path = tmp_path / "run.yaml"
    path.write_text(
        "data_source_weights:\n  a: 1\n  b:\n    schedule: piecewise\n    points:\n"
        "      - [0, 1]\n      - [5, -1]\n"
        "data_source_curricula:\n  a:\n    type: time\n    complexity_warmup_steps: 0\n"
        "ray_service:\n  name: x\n  prefetch: -1\n",
        encoding="utf-8",
    )
    main(["preview", str(path), "--rows", "a=5,b=5", "--json"])
    places = [error["place"] for error in json.loads(capsys.readouterr().out)["errors"]]
    assert places == [f"{path}:{line}" for line in (7, 11, 14)]


LEAVES = st.none() | st.booleans() | st.integers(-500, 500) | st.floats() | st.text(max_size=5)
NAMES = st.sampled_from(
    ["a", "b", "type", "schedule", "time", "reward", "linear", "steps", "alpha"]
)
VALUES = st.recursive(
    LEAVES | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | LEAVES, inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
def test_no_configuration_raises_anything_else(changes: dict[str, Any]) -> None:
    """Whatever the values are, they are read or refused."""
    values = {"prompt_data": ["a.jsonl", "b.jsonl"], "data_source_weights": [1, 1]}
    plan, findings = check_config({**values, "num_rollout": 3, **changes})
    assert isinstance(plan, DataSourcePlan)
    assert all(isinstance(error, ConfigurationError) for error in findings.errors)


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.sampled_from(sorted(keys_of_sampler(RewardCurriculum))), VALUES))
def test_no_sampler_node_raises_anything_else(node: dict[str, Any]) -> None:
    """Whatever the values are, they are read or refused."""
    data = {"train_batch_size": 4, "sampler": node}
    plan, findings = check_sampler_config(data, RewardCurriculum)
    assert (plan is None) == bool(findings.errors)


def test_no_private_name_is_suggested(tmp_path: Path) -> None:
    """Neither of a module nor of a class."""
    message = str(refusal(tmp_path, buffer_filter_path="curriculum_learning.custom_log.as_json"))
    assert "_as_json" not in message
