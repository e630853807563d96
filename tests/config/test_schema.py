"""The JSON schema of the keys says what the reader does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from curriculum_learning.__main__ import main
from curriculum_learning.config.data_source import KEYS
from tests.harness import arguments

ROOT = Path(__file__).parents[2]


def schema(face: str) -> dict[str, Any]:
    """The schema in the repository."""
    text = (ROOT / "configs" / f"{face}.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def accepts(face: str, values: Any) -> bool:
    """Whether an editor shows no error."""
    return bool(jsonschema.Draft202012Validator(schema(face)).is_valid(values))


@pytest.mark.parametrize("face", ["slime", "verl"])
def test_the_schemas_are_up_to_date(face: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The files in configs/ are what the command prints; each is a valid schema."""
    assert main(["schema", face]) == 0
    assert json.loads(capsys.readouterr().out) == schema(face)
    jsonschema.Draft202012Validator.check_schema(schema(face))


def test_the_default_is_slimes(capsys: pytest.CaptureFixture[str]) -> None:
    """Without an argument the command prints the schema of slime's keys."""
    main(["schema"])
    assert json.loads(capsys.readouterr().out) == schema("slime")


def test_every_configuration_names_its_schema_and_fits_it() -> None:
    """The first line is what editors look for."""
    for path in (ROOT / "configs").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        assert text.startswith("# yaml-language-server: $schema=slime.schema.json\n"), path.name
        assert accepts("slime", yaml.safe_load(text)), path.name


def test_the_examples_for_verl_fit_the_schema() -> None:
    """Each document of verl_extensions/example_config.yaml, alone or below ``data``."""
    text = (ROOT / "verl_extensions" / "example_config.yaml").read_text(encoding="utf-8")
    for document in yaml.safe_load_all(text):
        assert accepts("verl", document)
        assert accepts("verl", {"data": {"train_batch_size": 8, **document}})
        document["sampler"]["alpha"] = 2
        assert not accepts("verl", document)


def test_every_key_has_a_description() -> None:
    """The schema has a line about each key, but for those that only slime reads."""
    properties = schema("slime")["properties"]
    assert set(KEYS) - set(properties) == {"data_source_path"}
    assert [key for key, value in properties.items() if "description" not in value] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"data_source_weights": {"a": 1, "b": {"schedule": "linear", "start": 0, "steps": 5}}},
        {"data_source_weights": [1, -1]},
        {"data_source_wieghts": [1, 1]},
        {"data_source_curricula": {"a": {"type": "tmie"}}},
        {"data_source_curricula": {"type": "reward"}},
        {"data_source_curricula": {"type": "time", "initial_complexity_percentile": 101}},
        {"data_source_adaptive": {"alpha": 0}},
        {"data_source_reward_caps": ["half", {}]},
        {"rollout_seed": "5"},
        {"autosave": "yes"},
        {"on_stale": "keep"},
        {"save": 5},
        {"input_key": [1, "x"]},
        {"ray_service": {"prefetch": -1}},
        {"data_source_cache": True},
    ],
)
def test_the_schema_refuses_what_a_run_refuses(tmp_path: Path, changes: dict[str, Any]) -> None:
    """An editor shows the error before anything is run."""
    values = vars(arguments(tmp_path, {"a": 5, "b": 5}))
    assert accepts("slime", values)
    assert accepts("slime", {"some_key_of_slime": 5, **values})
    assert not accepts("slime", {**values, **changes})
