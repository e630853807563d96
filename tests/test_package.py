from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from tests.harness import name_of, write_rows

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def test_the_import_is_light() -> None:
    """Importing the package, all of its faces included, imports no engine and no torch."""
    program = (
        "import json, sys, curriculum_learning, curriculum_learning.custom_log;"
        "import curriculum_learning.__main__, curriculum_learning.trackers;"
        "print(json.dumps([m for m in ('torch', 'ray', 'verl', 'slime', 'transformers', "
        "'matplotlib', 'rich', 'tensorboardX', 'wandb') if m in sys.modules]))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
    assert json.loads(output) == []


def test_there_are_the_documented_configurations() -> None:
    """The four examples of the documentation, and those of the demo."""
    assert {path.stem for path in CONFIGS} >= {
        "constant_weights", "lambda_weights", "function_weights", "mixed_weights",
        "demo", "demo_uniform",
    }  # fmt: skip


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_runs_as_it_is(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With prompt files where it looks for them each file gives a working data source."""
    monkeypatch.chdir(tmp_path)
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for file in config["prompt_data"]:
        rows = [{"input": f"prompt {i}", "label": str(i), "metadata": {}} for i in range(50)]
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        write_rows(Path(file), rows)
    source = DataSource(config)
    groups = source.get_samples(400)
    assert {name_of(group) for group in groups} == set(config["prompt_data_source_names"])
    assert len(groups[0]) == config["n_samples_per_prompt"]
    source.save(0)
    source.close()
