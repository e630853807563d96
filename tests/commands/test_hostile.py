"""Hostile names, closed outputs and absurd numbers end in plain errors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from curriculum_learning.__main__ import WRONG, main
from curriculum_learning.commands import picture, terminal
from curriculum_learning.commands.arguments import read_sizes
from curriculum_learning.config.files import read_run_config
from curriculum_learning.prompts.scan import look
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


def test_what_others_write_to_standard_error_is_clean_too(tmp_path: Path) -> None:
    """Libraries with handlers, prints, warnings and progress bars of their own."""
    (tmp_path / "noisy.py").write_text(
        "import logging, sys, warnings\nfrom tqdm import tqdm\n"
        "own = logging.getLogger('own')\nown.propagate = False\n"
        f"own.addHandler(logging.StreamHandler())\nown.warning({CLEAR!r})\n"
        f"print({CLEAR!r}, file=sys.stderr)\nwarnings.warn({CLEAR!r})\n"
        f"for _ in tqdm(range(3), desc={CLEAR!r}): pass\n"
        "def f(step): return 1.0\n", encoding="utf-8",
    )  # fmt: skip
    path = write_config(tmp_path, data_source_weights={"a": "noisy.f", "b": 1})
    ended = subprocess.run(
        [sys.executable, "-m", "curriculum_learning", "preview", path, "--no-picture"],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, check=False,
    )  # fmt: skip
    error = ended.stderr.decode()
    assert ended.returncode == 0, error
    assert error.count("x1b[2J") >= 4
    assert "100%" in error
    assert _is_clean(error.replace("\r", "\n"))


def test_labels_of_progress_bars_and_json_are_clean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source is named after its file, and JSON may hold any character but the first 32."""
    labels: list[str] = []

    def noted(items: range, desc: str, **_: object) -> range:
        labels.append(desc)
        return items

    monkeypatch.setattr(look, "tqdm", noted)
    name = "a\x9b2J\x7f\u202e\U000e0001"
    (tmp_path / f"{name}.jsonl").write_text('{"input": "x"}\n' * 40, encoding="utf-8")
    path = write_config(
        tmp_path, prompt_data=[str(tmp_path / f"{name}.jsonl")], data_source_weights=[1]
    )
    assert main(["preview", path, "--json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out)["sources"][0]["name"] == name
    assert labels
    assert _is_clean(out + "".join(labels))


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

    monkeypatch.setattr("curriculum_learning.prompts.files.contents.os.pread", fails)
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


@pytest.mark.parametrize("key", ['a"b', "a\\b", "a\x01b", "a\nb", "a'b", "\u2028"])
def test_columns_may_have_any_name(
    tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quotes, backslashes and control characters in the names of columns and sources."""
    row = json.dumps({key: "prompt", "metadata": {}}) + "\n"
    (tmp_path / "rows.jsonl").write_text(row * 50, encoding="utf-8")
    changes = {"prompt_data": [str(tmp_path / "rows.jsonl")], "data_source_weights": [1]}
    for names in ({"input_key": key}, {"input_key": key, "label_key": key}):
        path = write_config(tmp_path, **changes, **names)
        assert main(["preview", path, "--no-picture"]) == 0
    assert _is_clean(capsys.readouterr().out)
    path = write_config(tmp_path, **changes, metadata_key=key)
    assert main(["preview", path, "--no-picture"]) == WRONG
    assert "input_key 'input' is missing" in capsys.readouterr().err


def test_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without HOME, for a user that the system does not know, nothing is kept."""

    def unknown(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("HOME", "CURRICULUM_LEARNING_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", unknown)
    assert main(["preview", write_config(tmp_path), "--no-picture"]) == 0


@pytest.mark.parametrize(
    ("rows", "piece"),
    [("a=2.5,b=4", "whole number"), ("a=4,b=4,a=5", "'a' twice"), ("a=1e30,b=4", "whole number")],
)
def test_sizes_that_are_refused(
    tmp_path: Path, rows: str, piece: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """--rows takes whole numbers, one for each source."""
    assert main(["preview", write_config(tmp_path), "--rows", rows]) == WRONG
    assert piece in capsys.readouterr().err


def test_sizes_of_names_with_commas() -> None:
    """A comma belongs to a name if no size follows it."""
    assert read_sizes("a,b=5,c=6,") == {"a,b": 5, "c": 6}
    assert read_sizes("a,b=5") == {"a,b": 5}


@pytest.mark.parametrize("with_rich", [True, False])
def test_columns_go_where_a_terminal_is_narrow_and_never_digits(
    with_rich: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 80 columns each cell that is shown is whole, and the columns left out are named."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(terminal, "find_spec", lambda name: True if with_rich else None)
    columns = ["source", *(f"column {i:02}" for i in range(12))]
    cells = [f"0.{i}23456789" for i in range(12)]
    terminal.show_table(columns, [["a source with quite a name", *cells]])
    out = capsys.readouterr().out
    table, _, left_out = re.sub(r"\x1b\[[\d;]*m", "", out).partition("left out")
    assert "column 11" in left_out
    assert "…" not in out
    assert all(len(line) <= 80 for line in table.splitlines())
    for number, cell in enumerate(cells):
        assert (cell in table) != (f"column {number:02}" in left_out)
    assert cells[0] in table


@pytest.mark.parametrize(
    ("weight", "curriculum", "panels"),
    [
        (0.75, None, ["share"]),
        (0.75, {"type": "time"}, ["open percentile"]),
        ("lambda step: 1 + step", None, ["weight", "share"]),
        ("lambda step: 1 + step", {"type": "time"}, ["weight", "share", "open percentile"]),
    ],
)
def test_only_what_varies_is_drawn(
    weight: object,
    curriculum: object,
    panels: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The picture has no panel of flat lines, but for the shares where nothing moves at all."""
    seen: list[str] = []
    monkeypatch.setattr(picture, "_draw", lambda c, *_, **__: seen.extend(c["run.yaml"]))
    changes = {"data_source_weights": [0.25, weight], "data_source_curricula": curriculum}
    path = write_config(tmp_path, **changes)
    assert main(["preview", path, "--rows", "a=40,b=60", "--picture", "x.png"]) == 0
    assert seen == panels


def test_variables_of_a_launch_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They have the value of the script, of the environment or of the default; else are named."""
    monkeypatch.setenv("FROM_OUTSIDE", "7")
    script = tmp_path / "launch.sh"
    script.write_text(
        "BATCH=16\nexport HALF=${BATCH}8\npython -m verl data.train_batch_size=$BATCH \\\n"
        "  data.seed=${FROM_OUTSIDE} data.a=\"$HALF\" data.b='$BATCH' data.c=${NONE:-3} \\\n"
        "  data.d=${data.seed} data.sampler.class_name=MultiSourceSampler \\\n"
        "  data.train_files=$DATA/x.parquet\n",
        encoding="utf-8",
    )  # fmt: skip
    data = read_run_config([str(script)]).values["data"]
    assert data["train_batch_size"] == 16
    assert data["seed"] == 7
    assert data["a"] == 168
    assert data["b"] == "$BATCH"
    assert data["c"] == 3
    assert data["d"] == "${data.seed}"
    assert main(["preview", str(script), "--steps", "3"]) == WRONG
    assert "neither the script nor the environment sets $DATA" in capsys.readouterr().err
