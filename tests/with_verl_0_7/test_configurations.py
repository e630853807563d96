"""The documented configurations, through verl's own Hydra, data set, sampler hook and loader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from verl.experimental.dataset.sampler import AbstractCurriculumSampler
from verl.trainer.main_ppo import create_rl_dataset

import verl_extensions
from tests.with_verl_0_7 import documented
from tests.with_verl_0_7.project import (
    BATCH_SIZE,
    COMPLETION,
    COMPLEX_SOURCE,
    compose,
    make_loader,
    make_rows,
    prompts,
    rewards_of,
    write_config,
    write_data,
    write_rows,
)

_SIZE = 60
"""Rows per source."""


def _parse(command_line: list[str]) -> dict[str, Any]:
    """The keys that a command line gives to the sampler."""
    node: dict[str, Any] = {}
    for argument in command_line:
        path, _, value = argument.lstrip("+").partition("=")
        *parents, key = path.removeprefix("data.sampler.").split(".")
        inner = node
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[key] = yaml.safe_load(value)
    return node


def _in_force(sampler: Any, names: Mapping[str, Any]) -> dict[str, Any]:
    config = sampler.config
    curriculum = {} if config.curriculum is None else config.curriculum.arguments
    values = {**vars(config), **config.adaptive.arguments, **curriculum}
    values["source_weights"] = {name: weight(0) for name, weight in config.source_weights.items()}
    return {name: values[name] for name in names}


def _check(config: Any, given: Mapping[str, Any], tokenizer: Any) -> None:
    """The keys that are given are in force, and so are the batches that follow from them."""
    loader = make_loader(config, tokenizer)
    sampler = loader.sampler
    class_name = given["class_name"]
    assert type(sampler) is getattr(verl_extensions, class_name)
    assert isinstance(sampler, AbstractCurriculumSampler)
    keys = {key: value for key, value in given.items() if key != "class_name"}
    expected = {**documented.DEFAULTS[class_name], **keys}
    assert _in_force(sampler, expected) == expected
    assert sampler.config.batch_size == BATCH_SIZE

    assert len(loader) == 2 * _SIZE // BATCH_SIZE
    counts: Counter[str] = Counter()
    for number, (sources, extras) in enumerate(prompts(loader), start=1):
        assert len(sources) == BATCH_SIZE
        counts.update(sources)
        assert all(abs(count - number * BATCH_SIZE / 2) < 1 for count in counts.values())
        assert len(counts) == 2
        if "initial_complexity_percentile" in expected:
            opened = _SIZE * expected["initial_complexity_percentile"] // 100
            scores = [
                extra["complexity_score"]
                for source, extra in zip(sources, extras, strict=True)
                if source == COMPLEX_SOURCE
            ]
            assert max(scores) < opened / 100
    assert number == len(loader)


def _data(folder: Path, given: Mapping[str, Any]) -> Path:
    names = given.get("source_weights") or ["iftrain", COMPLEX_SOURCE]
    return write_data(folder / "train.parquet", dict.fromkeys(names, _SIZE))


@pytest.mark.parametrize("text", documented.YAML.values(), ids=documented.YAML.keys())
def test_the_yaml_examples_run_as_documented(text: str, tmp_path: Path, tokenizer: Any) -> None:
    """Each YAML block, in a configuration file of the user's, gives its sampler and mixture."""
    given = yaml.safe_load(text)["sampler"]
    config_file = write_config(tmp_path / "mine.yaml", text)
    _check(compose(_data(tmp_path, given), COMPLETION, config_file), given, tokenizer)


@pytest.mark.parametrize(
    "command_line", documented.COMMAND_LINES.values(), ids=documented.COMMAND_LINES.keys()
)
def test_the_quick_starts_run_as_documented(
    command_line: list[str], tmp_path: Path, tokenizer: Any
) -> None:
    """Each quick start, as the command line of verl's trainer, gives its sampler and mixture."""
    given = _parse(command_line)
    _check(compose(_data(tmp_path, given), [*command_line, *COMPLETION]), given, tokenizer)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("CurriculumMultiSourceSampler", "TimeCurriculumSampler"),
        ("RewardGatedCurriculumSampler", "RewardCurriculumSampler"),
    ],
)
def test_old_names_work(old: str, new: str, data_file: Path, tokenizer: Any) -> None:
    """A configuration with an old class name gets the sampler under its present name."""
    overrides = [f"data.sampler.class_name={old}", "+data.sampler.reward_threshold=0.1"]
    loader = make_loader(compose(data_file, [*overrides, *COMPLETION]), tokenizer)
    assert type(loader.sampler) is getattr(verl_extensions, new)
    assert len(list(loader)) == len(loader)


def test_a_response_column_makes_no_difference(tmp_path: Path, tokenizer: Any) -> None:
    """The same rows are drawn whether or not the data has a ``response``."""
    rows = make_rows({"iftrain": 24, COMPLEX_SOURCE: 24})
    drawn = []
    for name, more in {"without": {}, "with": {"response": "an answer"}}.items():
        file = write_rows(tmp_path / f"{name}.parquet", [{**row, **more} for row in rows])
        config = compose(file, [*documented.COMMAND_LINES["Quick start 3"], *COMPLETION])
        batches = list(make_loader(config, tokenizer))
        assert all(("response" in batch) == bool(more) for batch in batches)
        drawn.append([extra["index"] for batch in batches for extra in batch["extra_info"]])
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 48


def test_sources_that_do_not_match_are_an_error_with_both_sides(
    data_file: Path, tokenizer: Any
) -> None:
    """Weights for sources that the data does not have stop the run before it starts."""
    config = compose(data_file, [*documented.COMMAND_LINES["Quick start 1"], *COMPLETION])
    with pytest.raises(ValueError, match=r"'source1', 'source2'.*'iftrain', 'logicif'"):
        make_loader(config, tokenizer)


def test_newer_intervals_are_drawn_more_often_as_documented(tmp_path: Path, tokenizer: Any) -> None:
    """Example 5 with three open intervals draws from them in the ratio 4 to 2 to 1."""
    file = write_data(tmp_path / "train.parquet", {"iftrain": 200, COMPLEX_SOURCE: 200})
    config_file = write_config(tmp_path / "mine.yaml", documented.YAML["Example 5"])
    loader = make_loader(compose(file, COMPLETION, config_file), tokenizer)
    for _ in range(20):  # a level is checked after min_batches_per_level, 10
        loader.sampler.update(rewards_of({"iftrain": 0.0, COMPLEX_SOURCE: 0.2}))
    assert loader.sampler.get_stats()["level"] == 2

    stops = [0.40, 0.56, 0.72]  # 20%, 28% and 36% of the scores 0.00 to 1.99
    drawn = Counter(
        sum(extra["complexity_score"] >= stop for stop in stops)
        for sources, extras in prompts(loader)
        for source, extra in zip(sources, extras, strict=True)
        if source == COMPLEX_SOURCE
    )
    assert drawn.total() == 200
    assert {age: drawn[2 - age] for age in range(4)} == pytest.approx(
        {0: 200 * 4 / 7, 1: 200 * 2 / 7, 2: 200 / 7, 3: 0}, abs=1
    )


def test_the_hook_is_refused_with_worker_processes(data_file: Path, tokenizer: Any) -> None:
    """Without ``dataloader_num_workers=0`` verl itself stops the run."""
    config = compose(data_file, [*documented.COMMAND_LINES["Quick start 2"], COMPLETION[0]])
    dataset = create_rl_dataset(config.data.train_files, config.data, tokenizer, None)
    assert len(dataset) == 200
    with pytest.raises(AssertionError, match="num_workers must be 0"):
        make_loader(config, tokenizer)
