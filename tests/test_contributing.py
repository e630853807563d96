"""CONTRIBUTING.md is true: its recipes run, its files exist, its picture is the import contract."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any

import pytest

from tests.harness import write_rows

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES: dict[str, str] = dict(
    re.findall(r"^## Add (.*?)\n.*?^```python\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)
)


def test_there_is_a_recipe_for_each_kind_of_addition() -> None:
    """Schedules, curricula, prompt sources and engines have one each."""
    assert list(RECIPES) == ["a schedule", "a curriculum", "a prompt source", "an engine"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_runs(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of each recipe runs as printed, its assertions included."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    write_rows(tmp_path / "data" / "math.jsonl", ({"input": f"{i}"} for i in range(20)))
    names: dict[str, Any] = {}
    exec(compile(RECIPES[recipe], "CONTRIBUTING.md", "exec"), names)


def test_the_picture_is_the_import_contract() -> None:
    """The wings stand in the picture in the order that import-linter checks."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    layers = re.findall(
        r"curriculum_learning\.(\w+)", settings["importlinter:contract:wings"]["layers"]
    )
    wings = [name for name in layers if (ROOT / "curriculum_learning" / name).is_dir()]
    assert re.findall(r"^  (\w+)/ ", TEXT, flags=re.MULTILINE) == wings


def test_the_files_that_it_names_exist() -> None:
    """Each path of the repository in the text is there."""
    paths = re.findall(r"`((?:curriculum_learning|tests|docs|prompts|\.ci)/[\w./]*)`", TEXT)
    assert len(paths) > 10
    for path in paths:
        assert (ROOT / path).exists() or (ROOT / "curriculum_learning" / path).exists(), path
