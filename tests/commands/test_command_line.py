from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from curriculum_learning.__main__ import WRONG, main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", ["preview", "simulate", "inspect"])
def test_help_has_examples_and_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command shows how it is called, and what its exit codes mean."""
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"examples:\n  curriculum-learning {command}" in text
    assert "exit codes:" in text


@pytest.mark.parametrize(
    "arguments", [[], ["train"], ["preview"], ["preview", "a=1", "--epochs", "3"], ["inspect"]]
)
def test_a_wrong_command_is_an_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no command, or lacks something, ends with code 2 and the usage."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == WRONG
    assert "usage:" in capsys.readouterr().err


def test_errors_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json errors are data on standard output, whatever the command."""
    config = tmp_path / "run.yaml"
    config.write_text("data_source_weights: [1]\nnum_rollout: -1\n", encoding="utf-8")
    for command in (["preview", str(config), "--rows", "a=4"], ["inspect", str(config)]):
        assert main([*command, "--json"]) == WRONG
        (error,) = json.loads(capsys.readouterr().out)["errors"]
        assert error["message"]
    assert error["place"] is None


def test_as_a_module() -> None:
    """``python -m curriculum_learning`` is the same command, and ends with its code."""
    command = [sys.executable, "-m", "curriculum_learning", "inspect", "nowhere"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == WRONG
    assert ended.stderr.startswith("error: there is no file or folder nowhere")
