"""``preview`` of sampler configurations: every form of weight, curricula, rules, caps, files."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from curriculum_learning import ConfigurationError
from curriculum_learning.__main__ import WELL, WRONG, main
from curriculum_learning.samplers import MultiSourceSampler
from tests.engines.sampler_data import Rows

SIZES = {"math": 40, "code": 60, "chat": 50}
ROWS = ["--rows", ",".join(f"{name}={size}" for name, size in SIZES.items()), "--steps", "12"]
NODE: dict[str, Any] = {
    "class_name": "MultiSourceSampler",
    "source_weights": {
        "math": 0.3,
        "code": "lambda step: 0.5 + step / 20",
        "chat": {"schedule": "linear", "start": 1, "end": 0.5, "steps": 10},
    },
    "source_curricula": {"code": {"type": "time", "complexity_warmup_steps": 10}},
    "source_reward_caps": {"math": 0.9, "chat": "lambda step: 0.9 - step / 100"},
    "source_rule": {"type": "temperature", "temperature": 2},
    "num_rollout": 12,
}
FILE = {
    "prompt_data_source_names": list(SIZES),
    "data_source_weights": NODE["source_weights"],
    "data_source_curricula": NODE["source_curricula"],
    "data_source_reward_caps": NODE["source_reward_caps"],
    "data_source_rule": NODE["source_rule"],
    "num_rollout": 12,
}


@pytest.fixture(params=["keys", "file"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The node of a sampler, and one that names a file with the same content."""
    if request.param == "keys":
        return NODE
    (path := tmp_path / "sources.yaml").write_text(yaml.safe_dump(FILE, sort_keys=False))
    return {"class_name": "MultiSourceSampler", "config": str(path)}


def _write(folder: Path, node: dict[str, Any]) -> str:
    path = folder / "verl.yaml"
    path.write_text(
        yaml.safe_dump({"data": {"train_batch_size": 10, "sampler": node}}, sort_keys=False)
    )
    return str(path)


def test_a_sampler_is_looked_at_as_it_draws(
    tmp_path: Path, node: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Groups, shares, open rows and caps are those of a run that reports each batch."""
    assert main(["preview", _write(tmp_path, node), *ROWS, "--json"]) == WELL
    shown = json.loads(capsys.readouterr().out)
    dataset = Rows(SIZES)
    sampler = MultiSourceSampler(dataset, {"train_batch_size": 10, "sampler": node})
    rows, drawn = iter(sampler), dict.fromkeys(SIZES, 0)
    for source in shown["sources"]:
        assert source["curriculum"] == ("time" if source["name"] == "code" else None)
    for step in range(12):
        stats = sampler.get_stats()
        for source in shown["sources"]:
            name = source["name"]
            assert source["shares"][step] == pytest.approx(stats[f"weight/{name}"])
            caps = source["reward_caps"]
            assert caps == [] if name == "code" else caps[step] == stats[f"reward_cap/{name}"]
        for name in dataset.names(list(itertools.islice(rows, 10))):
            drawn[name] += 1
        sampler.observe(["math"], [0.5])
    assert {source["name"]: source["groups"] for source in shown["sources"]} == drawn
    assert shown["rule"] == "temperature"


def test_the_table_shows_all_of_it(
    tmp_path: Path, node: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A column for caps, and lines for the types of curricula and of the rule."""
    assert main(["preview", _write(tmp_path, node), *ROWS, "--no-picture"]) == WELL
    shown = capsys.readouterr().out
    assert "0.9 > 0.84 > 0.79" in shown
    assert "curriculum of source 'code': time" in shown
    assert "source rule: temperature" in shown


@pytest.mark.parametrize("where", ["keys", "file"])
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("lambda step: 700 - step", "at step 701"),
        ("lambda step: 1 if step < 300 else 0", "at step 300"),
    ],
)
def test_schedules_are_tried_ahead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str, weight: str, message: str
) -> None:
    """One that fails later than the steps looked at, or leaves no weight, is found at the start."""
    weights = {"math": weight, "code": 0, "chat": 0}
    node: dict[str, Any] = {"class_name": "MultiSourceSampler", "source_weights": weights}
    if where == "file":
        (path := tmp_path / "sources.yaml").write_text(
            yaml.safe_dump({"data_source_weights": weights})
        )
        node = {"class_name": "MultiSourceSampler", "config": str(path)}
    assert main(["preview", _write(tmp_path, node), *ROWS, "--json"]) == WRONG
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert message in error["message"]
    assert ".yaml:" in error["message"]
    with pytest.raises(ConfigurationError, match=message):
        MultiSourceSampler(Rows(SIZES), {"train_batch_size": 10, "sampler": node})


def test_errors_of_a_file_have_its_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error says where in the file of sources the value stands."""
    values = {**FILE, "data_source_reward_caps": {"math": -1}, "data_source_rule": {"type": "x"}}
    (path := tmp_path / "sources.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    node = {"class_name": "MultiSourceSampler", "config": str(path)}
    assert main(["preview", _write(tmp_path, node), *ROWS, "--json"]) == WRONG
    messages = [error["message"] for error in json.loads(capsys.readouterr().out)["errors"]]
    lines = path.read_text().splitlines()
    for key in ("  math: -1", "  type: x"):
        place = f"sources.yaml:{lines.index(key) + 1}: "
        assert any(place in message for message in messages), messages


def test_an_untrusted_file_of_sources_imports_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dotted path in the file that a sampler names is refused with --untrusted."""
    values = {
        **FILE,
        "data_source_weights": {**FILE["data_source_weights"], "math": "antigravity.x"},
    }
    (path := tmp_path / "sources.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    node = {"class_name": "MultiSourceSampler", "config": str(path)}
    assert main(["preview", _write(tmp_path, node), *ROWS, "--untrusted", "--json"]) == WRONG
    assert "antigravity.x" in capsys.readouterr().out
