from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import (
    CheckpointError,
)
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.state.checkpoint import read_state
from tests.harness import (
    arguments,
    write_rows,
)

THREE = {"math": 11, "code": 7, "chat": 5}


@pytest.mark.parametrize(
    ("changes", "key", "piece"),
    [
        ({"rollout_seed": 1}, "rollout_seed", "rollout_seed=42"),
        ({"rollout_shuffle": False}, "rollout_shuffle", "rollout_shuffle=True"),
        ({"n_samples_per_prompt": 4}, "n_samples_per_prompt", "n_samples_per_prompt=2"),
        ({"prompt_data_source_names": ["a", "code", "chat"]}, "prompt_data_source_names", "'a'"),
        ({"prompt_data": slice(0, 2)}, "prompt_data_source_names", "'chat'"),
        ({"prompt_data": {0: "@[:9]"}}, "prompt_data", "rows 11 -> 9"),
    ],
)
def test_a_state_of_another_configuration_is_refused(
    tmp_path: Path, changes: dict[str, Any], key: str, piece: str
) -> None:
    """Other sources, rows, order or group size raise an error that says what to set."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.get_samples(3)
    source.save(0)
    values = {**vars(args), **changes}
    if isinstance(changes.get("prompt_data"), slice):
        values["prompt_data"] = args.prompt_data[changes["prompt_data"]]
        values["data_source_weights"] = [1, 1]
    elif "prompt_data" in changes:
        values["prompt_data"] = [path + changes["prompt_data"].get(i, "") for i, path in enumerate(args.prompt_data)]  # fmt: skip  # noqa: E501 - one thought
    other = DataSource(values)
    with pytest.raises(CheckpointError, match=re.escape(piece)) as raised:
        other.load(0)
    assert raised.value.key == key
    assert other.get_samples(1)[0][0].group_index == 0


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    """A prompt file that has changed since the save is refused by name."""
    args = arguments(tmp_path, THREE)
    DataSource(args).save(0)
    write_rows(Path(args.prompt_data[0]), ({"input": f"other {i}"} for i in range(11)))
    with pytest.raises(CheckpointError, match=r"source 'math' is not what it was.*hash"):
        DataSource(args).load(0)


def test_states_that_are_none(tmp_path: Path) -> None:
    """A torn, foreign or malformed state is a CheckpointError and changes nothing."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.get_samples(3)
    source.save(0)
    path = Path(args.save) / "rollout" / "curriculum_learning_0.state"
    state = read_state(path)
    path.write_bytes(path.read_bytes()[:-10])
    fresh = DataSource(args)
    with pytest.raises(CheckpointError, match="damaged"):
        fresh.load(0)
    changes: list[dict[str, Any]] = [
        {"mixture": {}}, {"waiting": [1]}, {"groups": 1}, {"clock": {}}, {"generated": [3]},
        {"identity": {**state["identity"], "sources": None}}, {"identity": None},
    ]  # fmt: skip
    damaged: list[dict[str, Any]] = [{"served": b"x"}, {"ids": b"x"}, {"ids": b""}, {"sources": []}]
    for damage in damaged:
        out = {**state["groups"]["in_flight"], **damage}
        changes.append({"groups": {**state["groups"], "in_flight": out}})
    for broken in ({}, *({**state, **change} for change in changes)):
        with pytest.raises(CheckpointError):
            fresh.load_state_dict(broken)
        another_run = {"runs": fresh.state_dict()["runs"]}
        assert fresh.state_dict() == {**DataSource(args).state_dict(), **another_run}
