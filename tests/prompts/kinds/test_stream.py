"""Streams as sources: read once, and recorded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import CheckpointError, ConfigurationError, DataError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.__main__ import main
from tests.harness import check_resume, interrupt, prompt_files
from tests.prompts import generators

HERE = "tests.prompts.generators"


def stream(folder: Path, name: str = "numbers", **settings: Any) -> dict[str, Any]:
    """An entry of prompt_data."""
    record = str(folder / "record")
    return {"type": "stream", "function": f"{HERE}.{name}", "record": record, **settings}


def over(*prompts: Any, **changes: Any) -> DataSource:
    """A data source over streams."""
    values = {"prompt_data": list(prompts), "data_source_weights": [1] * len(prompts)}
    return DataSource({**values, **changes})


def texts(source: DataSource, count: int) -> list[str]:
    """The prompts of the next groups."""
    return [group[0].prompt for group in source.get_samples(count)]


def test_a_stream_serves_its_rows_in_order(tmp_path: Path) -> None:
    """Each row comes once, and nothing is read before it is asked for."""
    source = over(stream(tmp_path))
    assert not (tmp_path / "record").exists()
    assert texts(source, 5) == [f"number {n}" for n in range(5)]
    assert texts(source, 2) == ["number 5", "number 6"]


def test_a_mixture_with_a_stream_resumes_exactly(tmp_path: Path) -> None:
    """Cut anywhere, once or twice, it goes on as if it had not been."""
    (file,) = prompt_files(tmp_path, {"file": 5})

    def make() -> DataSource:
        return over(file, stream(tmp_path), rollout_shuffle=True)

    check_resume(make, lambda source, step: texts(source, 3 + step), 5, tmp_path)


def test_a_resume_serves_what_a_queue_does_not_have_any_more(tmp_path: Path) -> None:
    """Rows that were served after the state was saved come again, from the record."""
    generators.QUEUE[:] = [{"input": f"message {n}"} for n in range(9)]
    first = over(stream(tmp_path, "from_queue"))
    assert texts(first, 2) == ["message 0", "message 1"]
    state = first.state_dict()
    lost = texts(first, 4)
    second = over(stream(tmp_path, "from_queue"))
    second.load_state_dict(state)
    assert texts(second, 4) == lost
    assert texts(second, 3) == ["message 6", "message 7", "message 8"]


def test_rows_that_are_in_flight_come_again(tmp_path: Path) -> None:
    """A group that was in flight when the state was saved is made again from the record."""
    hook = "curriculum_learning.custom_log.custom_rollout_log_function"
    settings = {"custom_rollout_log_function_path": hook}
    first = over(stream(tmp_path, window=10), **settings)
    groups = first.get_samples(4)
    first.add_samples([interrupt(groups[1])])
    second = over(stream(tmp_path, window=10), **settings)
    second.load_state_dict(first.state_dict())
    assert sorted(texts(second, 4)) == [f"number {n}" for n in range(4)]
    second.get_samples(20)
    third = over(stream(tmp_path, window=10), **settings)
    with pytest.raises(DataError, match=r"row \d is not among the latest 10 any more; set window"):
        third.load_state_dict(first.state_dict())


def test_the_record_is_bounded(tmp_path: Path) -> None:
    """A long stream does not fill the disk."""
    source = over(stream(tmp_path, window=100))
    for _ in range(40):
        source.get_samples(100)
    assert sum(path.stat().st_size for path in (tmp_path / "record").iterdir()) < 5_000_000


def test_a_state_without_its_record_is_refused(tmp_path: Path) -> None:
    """A record that is gone, or another run's, is never taken for that of the state."""
    first = over(stream(tmp_path))
    first.get_samples(3)
    state = first.state_dict()
    first.close()
    shutil.rmtree(tmp_path / "record")
    with pytest.raises(CheckpointError, match="not what it was"):
        over(stream(tmp_path)).load_state_dict(state)


def test_what_goes_wrong_with_a_stream_is_said(tmp_path: Path) -> None:
    """A stream that ends, and settings that are missing, are errors; nothing is drawn or lost."""
    source = over(stream(tmp_path, "three"))
    with pytest.raises(DataError, match="has ended after 3 rows"):
        source.get_samples(4)
    assert texts(source, 3) == ["0 of three", "1 of three", "2 of three"]
    with pytest.raises(ConfigurationError, match="record is required: a folder"):
        over({"type": "stream", "function": f"{HERE}.three"})
    source.close()
    (tmp_path / "record" / "stream.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match="cannot be used"):
        over(stream(tmp_path, "three"))


def test_a_preview_reads_no_stream(tmp_path: Path) -> None:
    """It draws, and leaves the stream and the record alone."""
    generators.QUEUE[:] = [{"input": "one"}]
    config = tmp_path / "run.yaml"
    config.write_text(
        f"prompt_data: [{{type: stream, function: {HERE}.from_queue, record: {tmp_path}/record}}]\n"
        "num_rollout: 5\nrollout_batch_size: 4\n",
        encoding="utf-8",
    )
    assert main(["preview", str(config), "--no-picture"]) == 0
    assert generators.QUEUE == [{"input": "one"}]
    assert not (tmp_path / "record").exists()
