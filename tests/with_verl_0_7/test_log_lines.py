"""The documented log lines, with the numbers of the data at hand."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from verl.utils.logging_utils import set_basic_config

from tests.with_verl_0_7 import documented
from tests.with_verl_0_7.project import (
    COMPLETION,
    COMPLEX_SOURCE,
    compose,
    make_loader,
    rewards_of,
    write_config,
)

_LOGGER = "curriculum_learning"


def _sampler(data_file: Path, folder: Path, example: str, tokenizer: Any) -> Any:
    """The sampler of one of the YAML examples."""
    config_file = write_config(folder / "mine.yaml", documented.YAML[example])
    return make_loader(compose(data_file, COMPLETION, config_file), tokenizer).sampler


def _block(caplog: pytest.LogCaptureFixture, expected: str) -> str:
    """The lines that were logged, from the first of the expected ones on, as many as these."""
    lines = [record.getMessage() for record in caplog.records if record.name.startswith(_LOGGER)]
    wanted = expected.splitlines()
    assert wanted[0] in lines, lines
    start = lines.index(wanted[0])
    return "\n".join(lines[start : start + len(wanted)])


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, _LOGGER)


def test_fixed_weights(
    data_file: Path, tmp_path: Path, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The start-up lines of a sampler with fixed weights are as documented."""
    _sampler(data_file, tmp_path, "Example 1", tokenizer)
    expected = """\
[MultiSourceSampler] Strategy: weighted, Mode: fixed, Sources: 2, Batch size: 8
  iftrain: 100 samples (weight: 0.500)
  logicif: 100 samples (weight: 0.500)"""
    assert _block(caplog, expected) == expected


def test_adaptive_weights(
    data_file: Path, tmp_path: Path, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The lines of a sampler with adaptive weights, at start and at a change, are as documented."""
    sampler = _sampler(data_file, tmp_path, "Example 2", tokenizer)
    expected = """\
[MultiSourceSampler] Strategy: weighted, Mode: adaptive, Sources: 2, Batch size: 8
[MultiSourceSampler] Adaptive: alpha=0.1, update_freq=5, temp=0.3
[MultiSourceSampler] Weight bounds: [25.0%, 75.0%]"""
    assert _block(caplog, expected) == expected

    caplog.clear()
    for _ in range(5):
        sampler.update(rewards_of({"iftrain": 10.25, COMPLEX_SOURCE: 10.19}))
    expected = """\
[MultiSourceSampler] Batch 5 - Weight adjustment:
  iftrain: reward_ema= 10.25, weight=0.450 (45.0%)
  logicif: reward_ema= 10.19, weight=0.550 (55.0%)
  Actual max/min ratio: 1.22x"""
    assert _block(caplog, expected) == expected


def test_time_curriculum(
    data_file: Path, tmp_path: Path, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The lines of a time curriculum, at start and when a percent more opens, are as documented."""
    sampler = _sampler(data_file, tmp_path, "Example 3", tokenizer)
    expected = """\
[TimeCurriculumSampler] Complexity curriculum for 'logicif'
[TimeCurriculumSampler] Progress: 30% → 100% over 100 updates"""
    assert _block(caplog, expected) == expected

    caplog.clear()
    for _ in range(29):  # of 100, from 30% to 100%: 50.3%
        sampler.update(rewards_of({"iftrain": 0.0, COMPLEX_SOURCE: 0.0}))
    expected = "[TimeCurriculumSampler] Complexity: 50% (50/100 items)"
    assert _block(caplog, expected) == expected
    assert caplog.records[-1].getMessage() == expected


def test_reward_curriculum(
    data_file: Path, tmp_path: Path, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The lines of a reward curriculum, at start and at a new level, are as documented."""
    sampler = _sampler(data_file, tmp_path, "RewardCurriculumSampler", tokenizer)
    expected = """\
[RewardCurriculumSampler] Complexity source: 'logicif'
[RewardCurriculumSampler] Initial: 30%, Final: 100%
[RewardCurriculumSampler] Intervals: 11 (1 initial + 10 progressive)
  Interval 0 (Initial 30%): 30 samples, [0.000, 0.290]
  Interval 1: 7 samples, [0.300, 0.360]
  Interval 2: 7 samples, [0.370, 0.430]"""
    assert _block(caplog, expected) == expected

    caplog.clear()
    for _ in range(10):
        sampler.update(rewards_of({"iftrain": 0.0, COMPLEX_SOURCE: 0.128}))
    expected = """\
================================================================================
[RewardCurriculumSampler] LEVEL UP! 0 → 1
[RewardCurriculumSampler] Batch 10: Reward 0.128 >= 0.125
[RewardCurriculumSampler] Samples: 30 → 37
================================================================================"""
    assert _block(caplog, expected) == expected


def test_the_start_says_which_file_is_running(
    data_file: Path, tmp_path: Path, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The first line names the module's file: a folder of the same name can shadow it."""
    _sampler(data_file, tmp_path, "Example 1", tokenizer)
    line = next(record.getMessage() for record in caplog.records if record.name.startswith(_LOGGER))
    assert line.startswith("[MultiSourceSampler] running from ")
    assert line.endswith("curriculum_learning/samplers.py")


@pytest.mark.parametrize("example", ["Example 2", "Example 3", "Example 4"])
def test_a_missing_journal_is_told(
    example: str,
    data_file: Path,
    tmp_path: Path,
    tokenizer: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever depends on rewards and has no journal is told, in one line, what a resume misses."""
    _sampler(data_file, tmp_path, example, tokenizer)
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "data.sampler.journal" in line]) == 1


def test_the_lines_are_seen_under_verls_own_logging(
    data_file: Path,
    tmp_path: Path,
    tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Where logging is as verl sets it up when it is imported, the lines reach the console."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    caplog.set_level(logging.NOTSET, _LOGGER)
    set_basic_config(level=logging.WARNING)
    _sampler(data_file, tmp_path, "Example 1", tokenizer)
    output = "".join(capfd.readouterr())
    assert "[MultiSourceSampler] Strategy: weighted, Mode: fixed" in output
