"""``rollout_max_prompt_len`` of rows that are made when they are served."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import ConfigurationError, DataError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from tests.harness import check_resume, prompt_files

HERE = "tests.prompts.generators"
LIMIT = 4
FIT = [row for row in range(200) if 1 + row * 7 % 10 <= LIMIT]
"""The rows of ``Wordy`` within the limit."""


def over(checkpoint: str, *prompts: Any, **changes: Any) -> DataSource:
    """A data source with a limit."""
    values: dict[str, Any] = {
        "prompt_data": list(prompts),
        "data_source_weights": [1] * len(prompts),
        "hf_checkpoint": checkpoint,
        "rollout_max_prompt_len": LIMIT,
        "rollout_shuffle": False,
    }
    return DataSource({**values, **changes})


def rows(source: DataSource, count: int, name: str = "Wordy") -> list[int]:
    """The rows of a source among the next groups."""
    groups = [group[0].metadata for group in source.get_samples(count)]
    return [tags["data_source_row"] for tags in groups if tags["data_source"] == name]


def test_rows_without_end_are_left_out_and_counted(checkpoint: str) -> None:
    """Exactly the rows within the limit come; the status has the number of the others."""
    source = over(checkpoint, f"{HERE}.Wordy")
    assert rows(source, 40) == FIT[:40]
    assert source.source_status()["Wordy"]["rows_left_out"] == FIT[39] + 1 - 40
    assert "rows_left_out" not in over(
        checkpoint, f"{HERE}.Wordy", rollout_max_prompt_len=None
    ).source_status()["Wordy"]  # fmt: skip


def test_rows_that_fit_are_drawn_exactly_after_a_resume(tmp_path: Path, checkpoint: str) -> None:
    """Left out rows stay left out and counted, with a curriculum over levels and other sources."""
    (file,) = prompt_files(tmp_path, {"file": 5})

    def make() -> DataSource:
        return over(
            checkpoint, file, f"{HERE}.Wordy", f"{HERE}.squares", data_source_weights=[1, 2, 1],
            data_source_curricula={"Wordy": {"type": "time", "complexity_warmup_steps": 3}},
            rollout_batch_size=4, rollout_shuffle=True,
        )  # fmt: skip

    def serve(source: DataSource, step: int) -> Any:
        source.set_rollout_step(step)
        drawn = rows(source, 5 + step)
        assert all(1 + row * 7 % 10 <= LIMIT for row in drawn)
        return drawn, source.source_status()["Wordy"]["rows_left_out"]

    check_resume(make, serve, 6, tmp_path)


def test_a_request_that_fails_leaves_out_nothing(checkpoint: str) -> None:
    """Where another source cannot be read, the rows and their count are as before."""
    source = over(checkpoint, f"{HERE}.Wordy", f"{HERE}.no_rows", data_source_weights=[20, 1])
    source.get_samples(21 * 99)
    before, counted = source.state_dict(), source.source_status()
    with pytest.raises(DataError, match="row 100"):
        source.get_samples(63)
    assert source.source_status() == counted
    assert source.state_dict()["mixture"] == before["mixture"]


def test_rows_that_are_all_too_long_are_an_error(checkpoint: str) -> None:
    """The search ends, says so, and leaves the source as it was."""
    source = over(checkpoint, {"type": f"{HERE}.Wordy", "words": 9})
    before = source.state_dict()
    with pytest.raises(ConfigurationError, match="1000 prompts in a row are longer") as raised:
        source.get_samples(1)
    assert raised.value.key == "rollout_max_prompt_len"
    assert source.state_dict()["mixture"] == before["mixture"]


def test_rows_with_an_end_are_measured_at_the_start(
    checkpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All are made once, those that are too long are left out, and epochs are of the others."""
    with caplog.at_level(logging.INFO):
        source = over(checkpoint, {"type": f"{HERE}.Wordy", "rows": 200})
    assert "120 of 200 prompts left out" in caplog.text
    assert len(source) == len(FIT) == 80
    assert rows(source, 160) == [*range(80), *range(80)]


def test_messages_have_no_length(checkpoint: str, caplog: pytest.LogCaptureFixture) -> None:
    """They all come, and the start says so."""
    source = over(checkpoint, f"{HERE}.spoken")
    assert rows(source, 3, "spoken") == [0, 1, 2]
    assert "does not apply to 64 prompts that are chat messages" in caplog.text
