from __future__ import annotations

import argparse
import logging
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curriculum_learning import CheckpointError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.mixing.mixture import Mixture
from curriculum_learning.mixing.source import Source
from curriculum_learning.weight_scheduler import parse_weight
from tests.harness import (
    arguments,
    as_data,
    check_resume,
    interrupt,
    name_of,
    row_of,
)

THREE = {"math": 11, "code": 7, "chat": 5}
WEIGHTS = [0.3, "lambda step: 0.2 + min(step / 10, 1)", {"schedule": "levels", "values": [1, 0, 1], "steps": 9}]  # fmt: skip  # noqa: E501 - one table


def test_a_mixture_goes_on_from_any_position(tmp_path: Path) -> None:
    """Cut at any draw, epoch ends included, once or twice, the same rows follow."""

    def make() -> Mixture:
        sources = [Source(name, size, seed=3, shuffle=True) for name, size in THREE.items()]
        schedules = {s.name: parse_weight(w, s.name) for s, w in zip(sources, WEIGHTS, strict=True)}
        return Mixture(sources, schedules)

    check_resume(make, lambda mixture, i: mixture.draw(i // 5)[:4], 60, tmp_path)


@pytest.mark.parametrize("accounting", [True, False])
def test_a_data_source_goes_on_from_any_position(tmp_path: Path, accounting: bool) -> None:
    """Cut after any rollout, with groups waiting, the same groups, ids and contents follow."""
    args = arguments(tmp_path, THREE, data_source_weights=WEIGHTS, autosave=False)

    def advance(source: DataSource, i: int) -> Any:
        randomness = random.Random(i)
        groups = source.get_samples(randomness.randrange(1, 9))
        back = [interrupt(group) for group in groups if randomness.random() < 0.5]
        served = as_data(groups)
        source.add_samples(back)
        if accounting:
            done = [group for group in groups if not any(group is item for item in back)]
            source.observe(done, rollout_id=i, fate="trained")
        return served, source.rollout_step, source.get_buffer_length()

    check_resume(lambda: DataSource(args), advance, 16, tmp_path)


def test_returned_samples_survive_whole(tmp_path: Path) -> None:
    """Tokens, log-probabilities, tensors, metadata, NaN and status come back unchanged."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    (group,) = source.get_samples(1)
    interrupt(group)
    group[0].rollout_log_probs = [float("nan"), -1.5, np.float32(0.25)]
    group[0].rollout_routed_experts = torch.arange(12, dtype=torch.int32).reshape(3, 2, 2)
    group[0].metadata["state"] = {"turns": [(1, "a")], "seen": {1, 2}}
    group[0].reward = {"score": float("nan")}
    source.add_samples([group])
    source.save(0)
    resumed = DataSource(args)
    resumed.load(0)
    (back,) = resumed.get_samples(1)
    (expected,) = source.get_samples(1)
    assert torch.equal(back[0].rollout_routed_experts, expected[0].rollout_routed_experts)
    for sample in (back[0], expected[0]):
        sample.rollout_routed_experts = None
    assert repr(back) == repr(expected)
    assert type(back[0].rollout_log_probs[2]) is np.float32


def test_sources_are_matched_by_name(tmp_path: Path) -> None:
    """With the sources in another order each source continues where it was."""
    args = arguments(tmp_path, THREE, data_source_weights=[0.3, 0.5, 0.2])
    source = DataSource(args)
    out = source.get_samples(20)
    source.add_samples([interrupt(out[3])])
    source.save(0)
    reordered = argparse.Namespace(**vars(args))
    reordered.prompt_data = args.prompt_data[::-1]
    reordered.data_source_weights = [0.2, 0.5, 0.3]
    resumed = DataSource(reordered)
    resumed.load(0)
    expected, found = source.get_samples(60), resumed.get_samples(60)
    for name in THREE:
        rows = [[row_of(g) for g in groups if name_of(g) == name] for groups in (expected, found)]
        shorter = min(map(len, rows))
        assert shorter > 8
        assert rows[0][:shorter] == rows[1][:shorter]


def test_weights_may_change_on_resume(tmp_path: Path) -> None:
    """New weights take effect at the resume; rows and ids continue."""
    args = arguments(tmp_path, THREE, data_source_weights=[1, 0, 0])
    source = DataSource(args)
    source.get_samples(4)
    source.save(0)
    args.data_source_weights = [0, 1, 0]
    resumed = DataSource(args)
    resumed.load(0)
    assert {name_of(group) for group in resumed.get_samples(6)} == {"code"}


def test_metadata_is_part_of_the_state(tmp_path: Path) -> None:
    """A resume restores the values of update_metadata."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.update_metadata({"best": (1, 0.5)})
    source.save(0)
    resumed = DataSource(args)
    resumed.load(0)
    assert resumed.get_metadata() == {"best": (1, 0.5)}


def test_resuming_says_where_it_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the state that was loaded and the step."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.observe([], rollout_id=7, fate="trained")
    source.save(7)
    with caplog.at_level(logging.INFO):
        DataSource(args).load(7)
    assert re.search(r"resuming from .*curriculum_learning_7\.state", caplog.text)
    assert "resumes at rollout step 8" in caplog.text


def test_prompts_of_the_engine_s_own_are_gone_on_with(tmp_path: Path) -> None:
    """Without prompt files ids, step, waiting groups and those in flight are saved all the same."""
    args = argparse.Namespace(
        rollout_global_dataset=False, n_samples_per_prompt=2, save=str(tmp_path)
    )
    source = DataSource(args)
    out = source.get_samples(5)
    for number, group in enumerate(out):
        for sample in group:
            sample.prompt = f"prompt {number}"  # the engine's own
    source.add_samples([interrupt(out[3])])
    expected = as_data([out[3]])
    source.observe(out[:3], rollout_id=6, fate="trained")
    source.save(6)
    source.close()
    for resume in ({}, {"n_samples_per_prompt": 3, "on_source_change": "adopt"}):
        resumed = DataSource(argparse.Namespace(**{**vars(args), **resume}))
        resumed.load()
        assert resumed.rollout_step == 7
        assert resumed.get_buffer_length() == 2
        served = resumed.get_samples(3)
        assert [group[0].group_index for group in served] == [4, 3, 5]
        if not resume:
            assert as_data(served[1:2]) == expected
            assert [sample.index for sample in served[2]] == [10, 11]
        else:
            assert [len(group) for group in served] == [3, 3, 3]
            assert served[2][0].index >= 10
        resumed.close()
    other = arguments(tmp_path, THREE, load=str(tmp_path), save=None)
    with pytest.raises(CheckpointError, match="not among the sources of the state"):
        DataSource(other).load(6)
