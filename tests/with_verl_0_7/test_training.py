"""Runs of verl's own trainer: rewards drive the samplers, and a resumed run is the same run."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from tests.with_verl_0_7.project import BATCH_SIZE, COMPLEX_SOURCE, write_data
from tests.with_verl_0_7.training import Run, settings, train

_ROWS = 40
"""Per source."""

_EPOCH = 2 * _ROWS // BATCH_SIZE
"""Steps of an epoch."""

_EPOCHS = 3
"""No more than the steps need: a resumed run must not pass over one."""

_STEPS = 22
_SAVED_EVERY = 5

_ADAPTIVE = {"adaptive_weights": True, "update_frequency": 2, "temperature": 0.3}
_SAMPLERS: Mapping[str, Mapping[str, Any]] = {
    "MultiSourceSampler": _ADAPTIVE,
    "TimeCurriculumSampler": {**_ADAPTIVE, "complexity_warmup_steps": 20},
    "RewardCurriculumSampler": {
        **_ADAPTIVE,
        "reward_threshold": 0.1,
        "num_intervals": 4,
        "min_batches_per_level": 2,
        "check_frequency": 2,
        "focus_new_intervals": True,
    },
}


@pytest.fixture(scope="module")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 rows per source: an epoch ends with a step that is saved."""
    assert _EPOCH % _SAVED_EVERY == 0
    sizes = {"iftrain": _ROWS, COMPLEX_SOURCE: _ROWS}
    return write_data(tmp_path_factory.mktemp("training") / "train.parquet", sizes)


@pytest.fixture(scope="module")
def uninterrupted(
    data_file: Path, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Run]:
    """The run of a sampler from the first step to the last; made once."""

    @functools.cache
    def run(class_name: str) -> Run:
        folder = tmp_path_factory.mktemp("uninterrupted")
        config = _settings(folder, data_file, class_name)
        return train(config, tokenizer)

    return run


def _settings(folder: Path, data_file: Path, class_name: str, *, journal: bool = True) -> Any:
    keys = dict(_SAMPLERS[class_name])
    if journal:
        keys["journal"] = folder / "journal.jsonl"
    return settings(
        folder,
        data_file,
        class_name,
        keys,
        save_freq=_SAVED_EVERY,
        total_training_steps=_STEPS,
        total_epochs=_EPOCHS,
    )


def _steps_of(run: Run) -> list[int]:
    return list(run.rows)


@pytest.mark.parametrize("class_name", _SAMPLERS)
def test_rewards_reach_the_sampler(class_name: str, uninterrupted: Callable[[str], Run]) -> None:
    """Each batch is drawn with the averages of the rewards of all the batches before it."""
    run = uninterrupted(class_name)
    assert _steps_of(run) == list(range(1, _STEPS + 1))
    averages: dict[str, float] = {}
    for step in _steps_of(run):
        stats = run.stats[step]
        assert stats["updates"] == step - 1
        assert stats["batches"] == step
        known = {
            name.removeprefix("reward_ema/"): value
            for name, value in stats.items()
            if name.startswith("reward_ema/")
        }
        assert known == pytest.approx(averages)
        for name, reward in run.rewards[step].items():
            averages[name] = averages.get(name, reward) * 0.9 + reward * 0.1


@pytest.mark.parametrize("class_name", _SAMPLERS)
def test_adaptive_weights_move(class_name: str, uninterrupted: Callable[[str], Run]) -> None:
    """The source whose rewards are lower gets more weight, within the bound."""
    stats = uninterrupted(class_name).stats
    assert {stats[step][f"weight/{COMPLEX_SOURCE}"] for step in (1, 2)} == {0.5}
    averages = [stats[_STEPS][f"reward_ema/{name}"] for name in (COMPLEX_SOURCE, "iftrain")]
    assert averages[0] < averages[1]
    assert 0.5 < stats[_STEPS][f"weight/{COMPLEX_SOURCE}"] <= 0.75


@pytest.mark.parametrize("class_name", _SAMPLERS)
def test_the_mixture_is_exact_while_the_weights_stay(
    class_name: str, uninterrupted: Callable[[str], Run], data_file: Path
) -> None:
    """In each stretch of constant weights a source is less than two rows off its share."""
    run = uninterrupted(class_name)
    sources = _sources(data_file)
    start = 1
    for step in _steps_of(run):
        share = run.stats[step][f"weight/{COMPLEX_SOURCE}"]
        if share != run.stats[start][f"weight/{COMPLEX_SOURCE}"]:
            start = step
        drawn = [sources[row] for at in range(start, step + 1) for row in run.rows[at]]
        # Less than one off its share at both ends of the stretch.
        assert abs(drawn.count(COMPLEX_SOURCE) - share * len(drawn)) < 2


def test_the_percentile_grows(uninterrupted: Callable[[str], Run], data_file: Path) -> None:
    """In a time curriculum each update opens more rows, and no others are drawn."""
    run = uninterrupted("TimeCurriculumSampler")
    scores = _scores(data_file)
    for step in _steps_of(run):
        percentile = 30 + 70 * (step - 1) / 20 if step <= 21 else 100
        assert run.stats[step]["complexity_percentile"] == pytest.approx(percentile)
        assert max(scores[row] for row in run.rows[step]) < int(percentile * _ROWS / 100) / 100
    assert run.stats[_STEPS]["complexity_percentile"] == 100


def test_levels_go_up(uninterrupted: Callable[[str], Run], data_file: Path) -> None:
    """In a reward curriculum rewards above the threshold open levels, and no others are drawn."""
    run = uninterrupted("RewardCurriculumSampler")
    scores = _scores(data_file)
    levels = [run.stats[step]["level"] for step in _steps_of(run)]
    assert levels == sorted(levels)
    assert set(levels) == {0, 1, 2, 3, 4}
    for step in _steps_of(run):
        before = run.stats.get(step - 1, run.stats[1])["level"]
        if run.stats[step]["level"] > before:
            assert run.stats[step]["curriculum_reward_ema"] >= 0.1
        percentile = 30 + 70 * run.stats[step]["level"] / 4
        assert run.stats[step]["complexity_percentile"] == percentile
        assert max(scores[row] for row in run.rows[step]) < int(percentile * _ROWS / 100) / 100


def test_weights_that_are_fixed_are_resumed_without_a_journal(
    data_file: Path, tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A mixture that depends on no reward needs no journal, and says nothing about one."""
    keys = {"source_weights.iftrain": 0.7, f"source_weights.{COMPLEX_SOURCE}": 0.3}
    more = {"save_freq": 4, "total_training_steps": 12, "total_epochs": 2}
    configs = [
        settings(tmp_path / name, data_file, "MultiSourceSampler", keys, **more)
        for name in ("whole", "parts")
    ]
    whole = train(configs[0], tokenizer)
    parts = [train(configs[1], tokenizer, kill_at=kill_at) for kill_at in (7, None)]
    assert [_steps_of(part) for part in parts] == [[*range(1, 7)], [*range(5, 13)]]
    for part in parts:
        assert part.rows == {step: whole.rows[step] for step in part.rows}
    assert "journal" not in caplog.text


@pytest.mark.parametrize("class_name", _SAMPLERS)
@pytest.mark.parametrize(
    ("kills", "starts"),
    [
        ([8], [1, 6]),
        ([_EPOCH + 1, 2 * _EPOCH + 1], [1, _EPOCH + 1, 2 * _EPOCH + 1]),
        ([8, 7, 19], [1, 6, 6, 16]),
    ],
    ids=["mid-epoch", "at the ends of epochs", "again and again"],
)
def test_a_resumed_run_is_the_uninterrupted_run(
    kills: list[int],
    starts: list[int],
    class_name: str,
    uninterrupted: Callable[[str], Run],
    data_file: Path,
    tokenizer: Any,
    tmp_path: Path,
) -> None:
    """Killed and resumed from verl's checkpoint, with a journal, it has the same batches."""
    whole = uninterrupted(class_name)
    config = _settings(tmp_path, data_file, class_name)
    for start, kill_at in zip(starts, [*kills, None], strict=True):
        part = train(config, tokenizer, kill_at=kill_at)
        assert _steps_of(part) == list(range(start, kill_at or _STEPS + 1))
        assert part.rows == {step: whole.rows[step] for step in part.rows}
        assert part.stats == {step: whole.stats[step] for step in part.stats}


def test_results_of_rows_reach_a_curriculum(
    data_file: Path, tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each prompt of a batch is a result of its row; a killed run goes on as if it had not been."""
    keys = {
        "source_curricula": f"{{{COMPLEX_SOURCE}:{{type:replay,floor:0.2}}}}",
        "source_rule": "{type:sec,temperature:0.2}",
    }
    more = {"save_freq": 5, "total_training_steps": 18, "total_epochs": 2}
    configs = [
        settings(
            tmp_path / name, data_file, "MultiSourceSampler",
            {**keys, "journal": tmp_path / name / "journal.jsonl"}, **more,
        )
        for name in ("whole", "parts")
    ]  # fmt: skip
    whole = train(configs[0], tokenizer)
    sources, seen = _sources(data_file), set[int]()
    for step in _steps_of(whole):
        stats = whole.stats[step]
        assert stats[f"rows/unseen/{COMPLEX_SOURCE}"] == _ROWS - len(seen)
        seen |= {row for row in whole.rows[step] if sources[row] == COMPLEX_SOURCE}
    assert whole.stats[18][f"no_signal_share/{COMPLEX_SOURCE}"] == 0
    parts = [train(configs[1], tokenizer, kill_at=kill_at) for kill_at in (8, 13, None)]
    assert [_steps_of(part)[0] for part in parts] == [1, 6, 11]
    for part in parts:
        assert part.rows == {step: whole.rows[step] for step in part.rows}
        assert part.stats == {step: whole.stats[step] for step in part.stats}
    assert "single rows" not in caplog.text


def _remove_the_journal(folder: Path) -> None:
    (folder / "journal.jsonl").unlink()


def _remove_the_state(folder: Path) -> None:
    """Leave in the checkpoint what it would have of a sampler that has no state."""
    file = folder / "checkpoints" / "global_step_5" / "data.pt"
    state = torch.load(file, weights_only=False)
    del state["_sampler_iter_state"]["sampler_state"]
    torch.save(state, file)


def _remove_the_file(folder: Path) -> None:
    (folder / "checkpoints" / "global_step_5" / "data.pt").unlink()


@pytest.mark.parametrize("class_name", _SAMPLERS)
@pytest.mark.parametrize("remove", [_remove_the_journal, _remove_the_state, _remove_the_file])
def test_without_journal_or_state_a_resumed_run_is_another(
    remove: Callable[[Path], None],
    class_name: str,
    uninterrupted: Callable[[str], Run],
    data_file: Path,
    tokenizer: Any,
    tmp_path: Path,
) -> None:
    """Whichever part of what is kept is removed, the batches after the resume differ."""
    whole = uninterrupted(class_name)
    config = _settings(tmp_path, data_file, class_name)
    train(config, tokenizer, kill_at=8)
    remove(tmp_path)
    part = train(config, tokenizer)
    assert _steps_of(part) == list(range(6, _STEPS + 1))
    assert part.rows != {step: whole.rows[step] for step in part.rows}


def test_a_run_that_never_had_a_journal_is_warned_and_differs(
    uninterrupted: Callable[[str], Run],
    data_file: Path,
    tokenizer: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a journal a resume says that the last rewards are lost, and the run goes on."""
    whole = uninterrupted("RewardCurriculumSampler")
    config = _settings(tmp_path, data_file, "RewardCurriculumSampler", journal=False)
    train(config, tokenizer, kill_at=8)
    assert "are lost" not in caplog.text
    part = train(config, tokenizer)
    assert _steps_of(part) == list(range(6, _STEPS + 1))
    assert part.rows != {step: whole.rows[step] for step in part.rows}
    warnings = [
        record.getMessage() for record in caplog.records if record.levelno == logging.WARNING
    ]
    assert len([line for line in warnings if "update 5, whose rewards are lost" in line]) == 1


def test_a_kill_between_save_and_report_loses_one_report(
    data_file: Path, tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The one case that the journal cannot mend is told, and the run goes on to its end."""
    config = _settings(tmp_path, data_file, "RewardCurriculumSampler")
    train(config, tokenizer, kill_after_save_of=5)
    part = train(config, tokenizer, kill_at=13)
    assert "update 5, whose rewards are lost: the journal does not have it" in caplog.text
    assert _steps_of(part) == list(range(6, 13))
    assert part.stats[6]["updates"] == 5

    caplog.clear()
    rest = train(config, tokenizer)
    assert _steps_of(rest) == list(range(11, _STEPS + 1))
    assert {step: rest.rows[step] for step in (11, 12)} == {
        step: part.rows[step] for step in (11, 12)
    }
    assert "journal" not in caplog.text


def _rows(data_file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(data_file).to_pylist()
    return rows


def _sources(data_file: Path) -> list[str]:
    return [row["data_source"] for row in _rows(data_file)]


def _scores(data_file: Path) -> list[float]:
    """By row; rows without a score are as easy as can be."""
    return [row["extra_info"]["complexity_score"] or 0.0 for row in _rows(data_file)]
