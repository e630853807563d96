"""The file of slime's data source in verl's own trainer: weights by schedule, caps, a resume."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.with_verl_0_7.project import BATCH_SIZE, COMPLEX_SOURCE, write_data
from tests.with_verl_0_7.training import settings, train

ROWS = 40
STEPS = 9
TEXT = f"""\
prompt_data: [nowhere/iftrain.jsonl, nowhere/{COMPLEX_SOURCE}.jsonl]
data_source_weights:
  - "lambda step: max(8 - step, 0)"
  - {{schedule: linear, start: 0, end: 8, steps: 8}}
data_source_curricula: {{{COMPLEX_SOURCE}: {{type: time, complexity_warmup_steps: 8}}}}
"""


@pytest.fixture(scope="module")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 rows per source."""
    sizes = {"iftrain": ROWS, COMPLEX_SOURCE: ROWS}
    return write_data(tmp_path_factory.mktemp("training") / "train.parquet", sizes)


def _config(folder: Path, data_file: Path, text: str = TEXT) -> Any:
    folder.mkdir(exist_ok=True)
    (path := folder / "sources.yaml").write_text(text)
    keys = {"config": path, "journal": folder / "journal.jsonl"}
    run = {"save_freq": 4, "total_training_steps": STEPS, "total_epochs": 2}
    return settings(folder, data_file, "MultiSourceSampler", keys, **run)


def test_weights_follow_the_training_step(data_file: Path, tokenizer: Any, tmp_path: Path) -> None:
    """Each batch has the weights of its step; a killed run goes on as if it had not been."""
    sources = pq.read_table(data_file, columns=["data_source"])["data_source"].to_pylist()
    whole = train(_config(tmp_path / "whole", data_file), tokenizer)
    assert sorted(whole.rows) == list(range(1, STEPS + 1))
    off = 0.0
    for step, rows in whole.rows.items():
        off += Counter(sources[row] for row in rows)[COMPLEX_SOURCE] - BATCH_SIZE * (step - 1) / 8
        assert abs(off) < 2
    config = _config(tmp_path / "parts", data_file)
    parts = [train(config, tokenizer, kill_at=kill_at) for kill_at in (7, None)]
    assert min(parts[1].rows) == 5
    for part in parts:
        assert part.rows == {step: whole.rows[step] for step in part.rows}


def test_caps_have_no_effect_and_say_so(
    data_file: Path, tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Here verl has no filter of groups: a warning names the version that has one."""
    text = TEXT + "data_source_reward_caps: 0.5\n"
    train(_config(tmp_path / "capped", data_file, text), tokenizer)
    assert "source_reward_caps has no effect" in caplog.text
