from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.trainer import MODES

SECONDS = 20
"""In each mode."""


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_lost_or_doubled_by_kills(mode: str) -> None:
    """Runs that are killed with SIGKILL again and again train on each row of an epoch once."""
    options = ["--mode", mode, "--seconds", str(SECONDS), "--kills", "1000000"]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.crash", *options],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=10 * SECONDS,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    events = json.loads(ended.stdout)
    assert events["kills"] > 20
    assert events["runs"] >= 1
    assert events["groups trained"] > 20
    for place in ("get", "add", "observe", "save", "autosave", "between model and data"):
        assert f"killed: {place}" in events or events["kills"] < 200, events
