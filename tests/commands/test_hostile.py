"""Hostile names, closed outputs and absurd numbers end in plain errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from curriculum_learning.__main__ import WRONG, main
from tests.commands.test_preview import ENVIRONMENT, write_config

CLEAR = "\x1b[2J\x07\u202e"


def _is_clean(text: str) -> bool:
    return all(char.isprintable() or char == "\n" for char in text)


def test_no_control_character_reaches_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names, values and words of the command line are shown with their control characters."""
    path = write_config(tmp_path, prompt_data=[f"{CLEAR}.jsonl"], data_source_weights=[CLEAR])
    assert main(["preview", path]) == WRONG
    assert main(["inspect", f"no{CLEAR}"]) == WRONG
    with pytest.raises(SystemExit):
        main(["preview", path, f"--x{CLEAR}"])
    with pytest.raises(SystemExit):
        main(["preview", path, "--steps", CLEAR])
    captured = capsys.readouterr()
    assert "x1b[2J" in captured.err
    assert _is_clean(captured.out + captured.err)


def test_log_lines_and_faults_are_clean_too(tmp_path: Path) -> None:
    """Also what the library logs, and the traceback of a hook that fails."""
    (tmp_path / "failing.py").write_text(
        f"import logging\nlogging.warning({CLEAR!r})\n"
        f"def f(*args): raise KeyError({CLEAR!r})\n", encoding="utf-8",
    )  # fmt: skip
    path = write_config(tmp_path, data_source_weights={"a": "failing.f", "b": 1})
    ended = subprocess.run(
        [sys.executable, "-m", "curriculum_learning", "preview", path],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == WRONG
    assert _is_clean(ended.stdout + ended.stderr)


@pytest.mark.parametrize("descriptor", [1, 2])
@pytest.mark.parametrize("command", ["preview", "simulate"])
def test_closed_outputs(tmp_path: Path, command: str, descriptor: int) -> None:
    """Without standard output there is an error; without standard error nothing fails."""
    words = [sys.executable, "-m", "curriculum_learning", command, write_config(tmp_path)]
    shell = f'"$@" {descriptor}>&-'
    ended = subprocess.run(
        ["sh", "-c", shell, "sh", *words, "--json"],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if descriptor == 1:
        assert ended.returncode == WRONG
        assert ended.stderr == "error: standard output is closed\n"
    else:
        assert ended.returncode == 0
        assert ended.stdout.startswith("{")


def test_read_errors_are_no_errors_of_the_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails while a prompt file is read is not the output's fault."""
    path = write_config(tmp_path)

    def fails(*args: object) -> bytes:
        raise OSError(5, "Input/output error", "a.jsonl")

    monkeypatch.setattr("curriculum_learning.prompts.jsonl.os.pread", fails)
    assert main(["preview", path, "--no-picture"]) == WRONG
    error = capsys.readouterr().err
    assert "Input/output error" in error
    assert "written" not in error


@pytest.mark.parametrize(
    ("changes", "piece"),
    [
        ({"num_rollout": 2**63}, "num_rollout"),
        ({"data_source_weights": [1, "lambda step: 2**63 * step % 7 + step // 2**63"]}, None),
        ({"data_source_weights": [1, "lambda step=-----1: 1"]}, "exactly one"),
        ({"data_source_weights": [1, f"lambda step={'-' * 1900}1: 1"]}, "lambda"),
        ({"data_source_weights": [1, "lambda step: " + "(" * 900 + "1" + ")" * 900]}, "nested"),
        ({"data_source_weights": [1, "lambda step: " + "-" * 1900 + "1"]}, "nested"),
        ({"over_sampling_batch_size": "x"}, "over_sampling_batch_size"),
        ({"over_sampling_batch_size": [64]}, "over_sampling_batch_size"),
        (
            {
                "data_source_curricula": [
                    None,
                    {"type": "reward", "reward_threshold": 0.1, "num_intervals": 10**9},
                ]
            },
            "num_intervals",
        ),
        ({"data_source_weights": [1, {"schedule": "linear", "start": 1, "end": 0.5,
                                      "steps": 2**63}]}, None),
        ({"data_source_weights": [1, {"schedule": "levels", "values": [1, 2],
                                      "steps": 10**400}]}, None),
        ({"data_source_weights": [1, {"schedule": "linear", "start": 1, "end": 2,
                                      "steps": 10**400}]}, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["preview", "simulate"])
def test_absurd_values_are_plain_errors(
    tmp_path: Path,
    command: str,
    changes: dict[str, object],
    piece: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each names its key, and the exit code is that of an error."""
    path = write_config(tmp_path, **changes)
    code = main([command, path, "--json"])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    assert "fault of" not in captured.err
    if piece is None:
        assert code == 0, captured
    else:
        assert code == WRONG
        assert piece in captured.out + captured.err


@pytest.mark.parametrize("command", ["preview", "simulate"])
@pytest.mark.parametrize("steps", [2**63, 10**30])
def test_absurd_steps(
    tmp_path: Path, command: str, steps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run of 2**63 steps is not looked at."""
    assert main([command, write_config(tmp_path), "--steps", str(steps)]) == WRONG
    assert "--steps" in capsys.readouterr().err
