"""Keys that are nearly ours: an error in a mapping of ours, a warning in an engine's namespace."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import ConfigurationError
from curriculum_learning.config.data_source import KEYS, check_config
from curriculum_learning.config.near_misses import OF_ENGINES
from tests.harness import arguments, data_source

SIZES = {"a": 4, "b": 6}


def misspelt(key: str) -> str:
    """The key with its last letter but one left out."""
    return key[:-2] + key[-1]


@pytest.mark.parametrize("key", sorted(set(KEYS) - {"data_source_path"}))
def test_a_letter_too_few_is_found_in_every_key(key: str, tmp_path: Path) -> None:
    """One error, which names the key that was meant."""
    values = {**vars(arguments(tmp_path, SIZES)), "hf_checkpoint": "x"}
    value = values.pop(key, None)
    _, findings = check_config({**values, misspelt(key): value})
    messages = [str(error) for error in findings.errors]
    assert messages == [f"{misspelt(key)} is not a key of the data source; did you mean {key}?"]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("rollout_shufle", "rollout_shuffle"),
        ("n_sample_per_prompt", "n_samples_per_prompt"),
        ("num_rollouts", "num_rollout"),
    ],
)
def test_a_namespace_is_an_engines(
    wrong: str, right: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """There a near miss is a warning, once."""
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            data_source(tmp_path, SIZES, save=None, **{wrong: 1}).close()
    assert caplog.text.count(f"{wrong} is not a key of the data source; did you mean {right}?") <= 1
    args = arguments(tmp_path, SIZES, **{wrong: 1})
    assert len(check_config(args)[1].warnings) == 1


@pytest.mark.parametrize("key", [*sorted(OF_ENGINES), "rollout_max_response_len"])
@pytest.mark.parametrize("kind", [dict, lambda **values: argparse.Namespace(**values)])
def test_keys_of_engines_are_no_mistakes(key: str, kind: Any, tmp_path: Path) -> None:
    """Neither in a namespace nor in the YAML of slime's --custom-config-path."""
    _, findings = check_config(kind(**vars(arguments(tmp_path, SIZES)), **{key: 1}))
    assert (findings.errors, findings.warnings) == ([], [])


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("curriculum", "data_source_curricula"),
        ("source_rule", "data_source_rule"),
        ("shuffle", "rollout_shuffle"),
        ("seed", "rollout_seed"),
        ("weights", "data_source_weights"),
    ],
)
def test_another_word_for_a_key_is_a_warning(key: str, meant: str, tmp_path: Path) -> None:
    """In a mapping of ours, as long as the key itself is not set."""
    values = vars(arguments(tmp_path, SIZES))
    value = values.pop(meant, None)
    _, findings = check_config({**values, key: value})
    assert findings.warnings == [f"the data source does not read {key}; did you mean {meant}?"]
    assert check_config(argparse.Namespace(**values, **{key: value}))[1].warnings == []
    if value is not None:
        assert check_config({**values, key: value, meant: value})[1].warnings == []


def test_a_path_that_is_wrong_is_one_error(tmp_path: Path) -> None:
    """The keys that name its source are not blamed for it."""
    values = {**vars(arguments(tmp_path, SIZES)), "data_source_weights": {"a": 1, "b": 1}}
    values["prompt_data"] = [str(tmp_path / "a.jsonl"), str(tmp_path / "bb.jsonl")]
    values["data_source_curricula"] = {"b": {"type": "time"}}
    with pytest.raises(ConfigurationError) as raised:
        data_source_of(values)
    assert str(raised.value) == (
        f"prompt_data ('{tmp_path / 'bb.jsonl'}') does not exist; "
        f"did you mean {tmp_path / 'b.jsonl'}?"
    )


def data_source_of(values: dict[str, Any]) -> None:
    """Reads a mapping."""
    check_config(values)[1].raise_all()
