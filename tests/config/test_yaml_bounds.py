"""YAML that expands, nests or cannot be constructed is one located error, at once."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from curriculum_learning import ConfigurationError
from curriculum_learning.config.files import read_run_config

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
MERGE_BOMB = "a0: &a0 {k: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40)
)


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        (BOMB, "aliases that repeat"),
        (MERGE_BOMB, "aliases that repeat"),
        ("a: &a [*a]\n", "holds itself"),
        ("a: " + "[" * 500 + "]" * 500, "nested too deeply"),
        ("a: " + "[" * 50_000, "nested too deeply"),
        ("a: 2001-99-99\n", "cannot be read"),
        ("a: !!bool x\n", "cannot be read"),
        ("a: " + "1" * 5000 + "\n", "cannot be read"),
        ("? [a, b]\n: c\n", "unhashable"),
        ("a: \x1b[2J\n", "no YAML"),
    ],
)
def test_a_hostile_document_is_an_error(tmp_path: Path, text: str, piece: str) -> None:
    """It is refused before it takes memory, in a file and as an override."""
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    tracemalloc.start()
    try:
        with pytest.raises(ConfigurationError, match=piece):
            read_run_config([str(path)])
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "override", ["a=" + "[" * 5000, "a=[&a [x], *a, &b [*b]]", ".".join(["a"] * 5000) + "=1"]
)
def test_a_hostile_override_is_an_error(override: str) -> None:
    """Thousands of brackets or keys in an override are an error of the command line."""
    with pytest.raises(ConfigurationError, match="command line"):
        read_run_config([override])


def test_aliases_and_merge_keys_work(tmp_path: Path) -> None:
    """What aliases are for is not concerned."""
    path = tmp_path / "run.yaml"
    path.write_text("a: &a {x: 1, y: [1, 2]}\nb: {<<: *a, z: *a}\n", encoding="utf-8")
    config = read_run_config([str(path)])
    assert config.values["b"] == {"x": 1, "y": [1, 2], "z": {"x": 1, "y": [1, 2]}}
    assert config.places["b.z"] == f"{path}:2"
