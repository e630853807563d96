"""The file of slime's data source as the curriculum of a trainer of TRL's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning.__main__ import main
from curriculum_learning.errors import ConfigurationError
from tests.with_trl import inputs

TEXT = """\
source_column: data_source
prompt_data: [nowhere/easy.jsonl, nowhere/hard.jsonl]
data_source_weights:
  - "lambda step: max(8 - step, 0)"
  - {schedule: linear, start: 0, end: 8, steps: 8}
data_source_curricula: {hard: {type: time, initial_complexity_percentile: 50}}
rollout_batch_size: 8
num_rollout: 9
custom_rollout_log_function_path: curriculum_learning.custom_log.custom_rollout_log_function
"""


@pytest.fixture(params=["file", "mapping"])
def curriculum(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """The file, named by itself and in a mapping."""
    (path := tmp_path / "sources.yaml").write_text(TEXT)
    return path if request.param == "file" else {"config": str(path)}


def test_slimes_file_is_a_curriculum(
    model: Path, curriculum: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights and row curricula are those of the file, and a preview shows what is trained."""
    trainer, rewards = inputs.trainer(model, curriculum, max_steps=9)
    trainer.train()
    counts = dict.fromkeys(inputs.SOURCES, 0)
    for (step, _), block in zip(rewards.calls, rewards.blocks, strict=True):
        assert sum(prompt.startswith("hard") for prompt in block) == step
        for prompt in block:
            source, row = prompt.split()
            counts[source] += 1
            assert source == "easy" or int(row) <= inputs.ROWS * (50 + step) / 100
    capsys.readouterr()
    sizes = ["--rows", f"easy={inputs.ROWS},hard={inputs.ROWS}"]
    assert main(["preview", str(tmp_path / "sources.yaml"), *sizes, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["sources"]
    assert {source["name"]: source["groups"] for source in shown} == counts


def test_caps_are_refused(model: Path) -> None:
    """TRL has no filter of groups, so caps would do nothing."""
    with pytest.raises(ConfigurationError, match="no filter of groups"):
        inputs.trainer(model, {"source_reward_caps": {"easy": 0.5}})
