"""``--untrusted``, and what a configuration may do without it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning.__main__ import WELL, WRONG, main
from curriculum_learning.config.dotted_path import load_callable
from tests.commands.test_preview import ENVIRONMENT, write_config
from tests.prompts.conftest import checkpoint as checkpoint  # a fixture

HOSTILE = "from pathlib import Path\nPath('ran').touch()\ndef f(*args): return 1.0\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, with a module that leaves a trace when it is imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hostile_module.py").write_text(HOSTILE, encoding="utf-8")
    yield tmp_path
    sys.modules.pop("hostile_module", None)


@pytest.mark.parametrize("command", ["preview", "simulate"])
def test_untrusted_imports_and_writes_nothing(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hooks are left out with a warning, the cache stays empty, and nothing is written."""
    keys = ("buffer_filter_path", "dynamic_sampling_filter_path", "data_source_metrics_callback")
    hooks = dict.fromkeys(keys, "hostile_module.f")
    path = write_config(folder, **hooks, save="states", data_source_cache="cache")
    before = sorted(folder.iterdir())
    picture = ["--no-picture"] if command == "preview" else []
    assert main([command, path, "--untrusted", *picture]) == WELL
    out = capsys.readouterr().out
    assert all(f"{key} 'hostile_module.f' is left out" in out for key in keys)
    assert sorted(folder.iterdir()) == before


WATCHED = """
import sys
def watch(event, args):
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if writes or event in ("os.mkdir", "os.rename", "os.symlink", "tempfile.mkstemp"):
        if args[0] != "/dev/null":
            sys.stdout.write(f"WRITES {event} {args!r}")
sys.addaudithook(watch)
from curriculum_learning.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", ["preview", "simulate"])
def test_assumed_sizes_write_nowhere(command: str, folder: Path) -> None:
    """With --rows no file is made anywhere, temporary folders included."""
    curricula = [{"type": "time"}, None]
    path = write_config(folder, data_source_curricula=curricula, label_key="label")
    words = [command, path, "--untrusted", "--rows", "a=5000,b=7000"]
    ended = subprocess.run(
        [sys.executable, "-B", "-c", WATCHED, *words, *["--no-picture"][: command == "preview"]],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == WELL, ended.stderr
    assert "5000" in ended.stdout or command == "simulate"
    assert "WRITES" not in ended.stdout


def test_untrusted_refuses_weights_that_it_would_import(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A weight by dotted path is an error with its place; our own schedules are not."""
    path = write_config(folder, data_source_weights={"a": "hostile_module.f", "b": 1})
    assert main(["preview", path, "--untrusted"]) == WRONG
    assert "--untrusted imports nothing" in capsys.readouterr().err
    assert not (folder / "ran").exists()
    ours = "curriculum_learning.weight_scheduler.easy_to_hard"
    path = write_config(folder, data_source_weights={"a": ours, "b": 1})
    assert main(["preview", path, "--untrusted", "--no-picture"]) == WELL


def test_untrusted_downloads_no_tokenizer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tokenizer that is no folder is an error where it is needed."""
    path = write_config(folder, hf_checkpoint="some/name", rollout_max_prompt_len=5)
    assert main(["preview", path, "--untrusted"]) == WRONG
    assert "downloads nothing" in capsys.readouterr().err


@pytest.mark.parametrize("trust", [None, True, False])
def test_code_of_a_tokenizer_runs_only_if_trusted(
    folder: Path, trust: bool | None, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``trust_remote_code`` reaches the tokenizer; not set, it is false outside of slime."""
    from transformers import AutoTokenizer

    seen: list[Any] = []
    load = AutoTokenizer.from_pretrained

    def noted(path: str, trust_remote_code: Any = None) -> Any:
        seen.append(trust_remote_code)
        return load(path)

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", noted)
    path = write_config(
        folder, hf_checkpoint=checkpoint, rollout_max_prompt_len=5, trust_remote_code=trust
    )
    assert main(["preview", path, "--no-picture"]) == WELL
    assert set(seen) == {bool(trust)}
    seen.clear()
    assert main(["preview", path, "--no-picture", "--untrusted"]) == WELL
    assert set(seen) == {False}


def test_the_working_directory_hides_no_module(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module in the working directory is found, and those that it imports are the installed."""
    (folder / "this.py").write_text("raise RuntimeError\n", encoding="utf-8")
    (folder / "colorsys.py").write_text("raise RuntimeError\n", encoding="utf-8")
    (folder / "named_module.py").write_text("import colorsys\ndef f(): ...\n", encoding="utf-8")
    monkeypatch.setattr(
        sys, "path", [entry for entry in sys.path if entry not in ("", str(folder))]
    )
    assert callable(load_callable("named_module.f"))


@pytest.mark.parametrize(
    "code",
    ["import sys; sys.exit(0)", "def f(step):\n  raise SystemExit(0)", "import os; os._exit(0)"],
)
def test_a_configuration_that_ends_the_interpreter_is_an_error(folder: Path, code: str) -> None:
    """Whatever the configuration calls, code 0 means that the command has come to its end."""
    (folder / "ending.py").write_text(code, encoding="utf-8")
    path = write_config(folder, data_source_weights={"a": "ending.f", "b": 1})
    command = [sys.executable, "-m", "curriculum_learning", "preview", path, "--no-picture"]
    ended = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == WRONG
    assert "error: " in ended.stderr
