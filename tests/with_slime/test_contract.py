"""What slime's own tests, and its own data source, say of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from slime.rollout import data_source as slime_data_source

from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer
from tests.with_slime.engine import Tokenizer, make_args

_CLASS = "curriculum_learning.data_source.MultipleWeightedRolloutDataSourceWithBuffer"

_RUN_AS_SCRIPT = """
import pathlib, runpy, sys
from tests.with_slime import stand_ins

stand_ins.install()
del sys.argv[0]
sys.path.insert(0, str(pathlib.Path(sys.argv[0]).parent))
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("ours was loaded:", "curriculum_learning.data_source" in sys.modules)
"""


def test_slimes_contract_test_passes(
    slime_path: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """The plug-in test that slime documents, run in its way, passes with our class."""
    file = slime_path / "tests" / "plugin_contracts" / "test_plugin_path_loading_contracts.py"
    done = subprocess.run(
        [
            sys.executable,
            *("-c", _RUN_AS_SCRIPT, str(file)),
            *("--data-source-path", _CLASS),
            *("--verbose", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'inner'}"),
        ],
        cwd=pytestconfig.rootpath,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_path_loading_path_aligns_with_expected_format[data_source] PASSED" in done.stdout
    assert "ours was loaded: True" in done.stdout


def test_one_source_in_file_order_is_served_as_by_slimes_data_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts, metadata and ids of a single source are those that slime gives, over epochs."""
    monkeypatch.setattr(slime_data_source, "load_tokenizer", lambda *_, **__: Tokenizer())
    monkeypatch.setattr(slime_data_source, "load_processor", lambda *_, **__: None)
    args = make_args(tmp_path, rollout_shuffle=False)
    args.prompt_data = args.prompt_data[0]
    slimes = slime_data_source.RolloutDataSourceWithBuffer(args)
    ours = MultipleWeightedRolloutDataSourceWithBuffer(args)
    assert len(ours) == len(slimes)
    for number in (1, 16, 24, 48):
        expected = [list(map(_as_served, group)) for group in slimes.get_samples(number)]
        assert [list(map(_as_served, group)) for group in ours.get_samples(number)] == expected


def _as_served(sample: Any) -> dict[str, Any]:
    data: dict[str, Any] = sample.to_dict()
    ours = [key for key in data["metadata"] if key.startswith(("data_source", "source_name"))]
    return {
        **data,
        "type": type(sample),
        "metadata": {key: data["metadata"][key] for key in data["metadata"] if key not in ours},
    }
