"""Adaptive weights and curricula of the data source, and the rewards that reach them."""

from __future__ import annotations

import argparse
import logging
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curriculum_learning import CheckpointError, ConfigurationError, DataError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.custom_log import custom_rollout_log_function, process_all_samples
from tests.engine import FullyAsynchronousEngine, SynchronousEngine, keeps
from tests.harness import Group, arguments, check_resume, name_of, write_rows

SIZES = {"math": 40, "code": 40}
LOG = {
    "custom_rollout_log_function_path": "curriculum_learning.custom_log"
    ".custom_rollout_log_function",
}
ALL = {"rollout_all_samples_process_path": "curriculum_learning.custom_log.process_all_samples"}
FILTER = {"dynamic_sampling_filter_path": "tests.engine.keeps", "drop": 0.3}
REWARD = {
    "type": "reward",
    "reward_threshold": 0.4,
    "initial_complexity_percentile": 25,
    "num_intervals": 3,
    "min_batches_per_level": 1,
    "check_frequency": 1,
}


def files(folder: Path, *, in_metadata: bool = True, skip: int | None = None) -> list[str]:
    """Rows of which the complexity falls with the row number; one may lack it."""
    paths = []
    for name, size in SIZES.items():
        rows = []
        for row in range(size):
            score = {} if row == skip else {"complexity_score": size - row}
            line: dict[str, Any] = {"input": f"{name} {row}", "metadata": score}
            rows.append(line if in_metadata else {"input": f"{name} {row}", **score})
        paths.append(write_rows(folder / f"{name}.jsonl", rows))
    return paths


def open_source(folder: Path, **changes: Any) -> DataSource:
    """Two sources, math with a reward curriculum and adaptive weights."""
    values: dict[str, Any] = {
        "data_source_adaptive": {"update_frequency": 2, "temperature": 0.2, "alpha": 0.5},
        "data_source_curricula": {"math": REWARD, "code": None},
        "num_rollout": 10,
        "autosave": False,  # several runs share the folder
        **changes,
    }
    args = arguments(folder, SIZES, **values)
    files(folder, in_metadata=values.pop("in_metadata", True), skip=values.pop("skip", None))
    return DataSource(args)


def give_rewards(groups: list[Group], seed: int) -> None:
    """Rewards that differ by source, and by sample."""
    chance = random.Random(seed)
    for group in groups:
        for sample in group:
            sample.reward = chance.random() * (1.0 if name_of(group) == "math" else 0.5)
            sample.response, sample.response_length = "done", 4
            sample.status = type(sample).Status.COMPLETED


def learned(source: DataSource) -> dict[str, Any]:
    """The averages, the level and the weights, to the last bit."""
    state = source.state_dict()
    sources = state["mixture"]["sources"]
    curricula = {name: source.get("curriculum") for name, source in sources.items()}
    return {
        "rule": state["mixture"]["rule"],
        "curricula": {name: saved and saved["state"] for name, saved in curricula.items()},
        "updates": state["feedback"]["updates"],
    }


def drive(source: DataSource, hooks: str, drop: bool) -> dict[str, Any]:
    """Six rollouts of which all groups are finished, and those of low reward may be dropped."""
    for rollout_id in range(6):
        source.set_rollout_step(rollout_id)
        groups = source.get_samples(12)
        give_rewards(groups, rollout_id)
        trained = [group for group in groups if not drop or keeps(source.args, group)]
        if "all" in hooks:
            process_all_samples(source.args, groups, source.get_samples)
        if "log" in hooks:
            custom_rollout_log_function(rollout_id, source.args, trained, {}, 1.0)
    source.set_rollout_step(6)
    source.get_samples(0)  # the next rollout begins
    return learned(source)


def test_both_hooks_tell_the_same_as_one_when_nothing_is_dropped(tmp_path: Path) -> None:
    """Averages, level and weights are the same to the last bit with either hook or both."""
    results = {}
    for hooks, keys in {"log": LOG, "all": ALL, "log, all": {**LOG, **ALL}}.items():
        source = open_source(tmp_path, mixture_target="served", **keys)
        results[hooks] = drive(source, hooks, drop=False)
    assert results["log"] == results["all"] == results["log, all"]
    assert results["log"]["updates"] == 6
    assert results["log"]["curricula"]["math"]["level"] > 0


def test_with_drops_the_rewards_of_all_samples_count(tmp_path: Path) -> None:
    """Both hooks give what the all-samples hook gives alone; the log alone sees less."""
    results = {}
    for hooks, keys in {"log": LOG, "all": ALL, "log, all": {**LOG, **ALL}}.items():
        source = open_source(tmp_path, mixture_target="served", **FILTER, **keys)
        results[hooks] = drive(source, hooks, drop=True)
    assert results["all"] == results["log, all"]
    assert results["log"]["rule"] != results["all"]["rule"]


def test_where_the_all_samples_hook_is_silent_the_log_feeds(tmp_path: Path) -> None:
    """Configured but never called, as in fully asynchronous rollouts: the trained groups count."""
    source = open_source(tmp_path, mixture_target="served", **FILTER, **LOG, **ALL)
    alone = open_source(tmp_path, mixture_target="served", **FILTER, **LOG)
    assert drive(source, "log", drop=True) == drive(alone, "log", drop=True)


def test_a_group_counts_once(tmp_path: Path) -> None:
    """Shown when it was finished, kept without room, and shown again when trained: one reward."""
    source = open_source(tmp_path, partial_rollout=True, surplus="keep", **LOG, **ALL)
    groups = source.get_samples(4)
    give_rewards(groups, 0)
    process_all_samples(source.args, groups, source.get_samples)
    custom_rollout_log_function(0, source.args, groups[:3], {}, 1.0)
    before = learned(source)
    (again,) = source.get_samples(1)
    assert again[0].group_index == groups[3][0].group_index
    process_all_samples(source.args, [again], source.get_samples)
    custom_rollout_log_function(1, source.args, [again], {}, 1.0)
    assert learned(source) == before


def test_adaptive_weights_favour_the_lower_reward(tmp_path: Path) -> None:
    """The share of the harder source rises within the bound, and draws follow it."""
    source = open_source(tmp_path, data_source_curricula=None, **LOG)
    drive(source, "log", drop=False)
    status = source.source_status()
    assert status["code"]["configured_weight"] == 1
    assert 0.5 < status["code"]["weight"] <= 0.75
    assert 0 < status["code"]["reward_ema"] < status["math"]["reward_ema"]
    drawn = Counter(name_of(group) for group in source.get_samples(40))
    assert drawn["code"] == pytest.approx(40 * status["code"]["weight"], abs=2)


@pytest.mark.parametrize("in_metadata", [True, False])
def test_a_reward_curriculum_opens_rows(
    tmp_path: Path, in_metadata: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the easiest rows at first, then more as the rewards allow; log and metrics say so."""
    caplog.set_level(logging.INFO)
    source = open_source(tmp_path, in_metadata=in_metadata, data_source_adaptive=None, **LOG)
    first = {row(g) for g in source.get_samples(30) if name_of(g) == "math"}
    assert first == set(range(30, 40))  # a quarter, the lowest complexity scores
    assert source.source_status()["math"]["open_share"] == 0.25
    assert "open_share" not in source.source_status()["code"]
    drive(source, "log", drop=False)
    status = source.source_status()["math"]
    assert status["level"] == 3
    assert status["open_share"] == 1
    assert "more rows are open now of 'math'" in caplog.text


def row(group: Group) -> int:
    """The row of a group within its source."""
    return int(group[0].metadata["data_source_row"])


def test_a_time_curriculum_follows_the_rollout_step(tmp_path: Path) -> None:
    """It opens rows by the step, not by the number of requests."""
    curricula = [
        {"type": "time", "initial_complexity_percentile": 10, "complexity_warmup_steps": 10},
        None,
    ]
    source = open_source(tmp_path, data_source_curricula=curricula, data_source_adaptive=None)
    for step, open_share in ((0, 0.1), (5, 0.55), (10, 1.0), (50, 1.0)):
        source.set_rollout_step(step)
        assert source.source_status()["math"]["open_share"] == pytest.approx(open_share)
        rows = {row(g) for g in source.get_samples(6) if name_of(g) == "math"}
        assert min(rows) >= 40 * (1 - open_share)


def test_one_curriculum_for_all_sources(tmp_path: Path) -> None:
    """A mapping with a type is one value for all of them."""
    curriculum = {"type": "time", "initial_complexity_percentile": 50}
    source = open_source(tmp_path, data_source_curricula=curriculum)
    assert [s["open_share"] for s in source.source_status().values()] == [0.5, 0.5]


def test_focused_intervals_have_epochs_of_their_own(tmp_path: Path) -> None:
    """With focus_new_intervals the newest interval is drawn most."""
    focused = {**REWARD, "focus_new_intervals": True, "interval_decay": 0.5}
    source = open_source(tmp_path, data_source_curricula=[focused, None], **LOG)
    drive(source, "log", drop=False)
    rows = [row(g) for g in source.get_samples(60) if name_of(g) == "math"]
    newest = sum(r < 10 for r in rows)
    assert newest > len(rows) / 2.5


def test_samples_without_a_usable_reward_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """None and NaN are left out of the averages, with a count in the log."""
    source = open_source(tmp_path, **LOG)
    groups = source.get_samples(4)
    give_rewards(groups, 0)
    groups[0][0].reward, groups[1][0].reward = None, float("nan")
    custom_rollout_log_function(0, source.args, groups, {}, 1.0)
    assert "2 samples had no finite reward" in caplog.text
    assert learned(source)["updates"] == 1


def test_ids_may_be_numpy_numbers(tmp_path: Path) -> None:
    """An engine that makes arrays of ids loses no rewards."""
    source = open_source(tmp_path, **LOG)
    groups = source.get_samples(4)
    give_rewards(groups, 0)
    for sample in (sample for group in groups for sample in group):
        sample.group_index = np.int64(sample.group_index)
    custom_rollout_log_function(0, source.args, groups, {}, 1.0)
    assert learned(source)["updates"] == 1


def test_a_source_without_a_reward_has_its_configured_part(tmp_path: Path) -> None:
    """One that joins late is neither favoured nor held back by rewards that it has not had."""
    weights = [1, {"schedule": "piecewise", "points": [[7, 0], [8, 1]]}]
    source = open_source(tmp_path, data_source_weights=weights, data_source_curricula=None, **LOG)
    drive(source, "log", drop=False)
    source.set_rollout_step(8)
    assert source.source_status()["code"]["weight"] == pytest.approx(0.5)


def test_fully_asynchronous_rollouts_feed_at_their_log(tmp_path: Path) -> None:
    """Each logged rollout is one update, however the worker thread asks and returns."""
    source = open_source(tmp_path, **LOG)
    with FullyAsynchronousEngine(source, source.args, concurrency=4, seed=1) as engine:
        for rollout_id in range(5):
            engine.rollout(rollout_id, 6)
    source.raise_swallowed_error()
    assert learned(source)["updates"] == 5


@pytest.mark.parametrize("focus", [False, True])
def test_a_run_goes_on_exactly(tmp_path: Path, focus: bool) -> None:
    """Cut anywhere, averages, levels, weights and what is served go on as if it had not been."""
    source = open_source(
        tmp_path,
        data_source_curricula=[{**REWARD, "focus_new_intervals": focus}, None],
        partial_rollout=True,
        **FILTER,
        **LOG,
        **ALL,
    )

    def advance(source: DataSource, step: int) -> Any:
        engine = SynchronousEngine(source, source.args, batch=4, request=6, seed=step, drop=0.3)
        trained = [(group[0].prompt, group[0].index) for group in engine.rollout(step)]
        return trained, learned(source), source.source_status()

    def make() -> DataSource:
        return DataSource(argparse.Namespace(**vars(source.args)))

    check_resume(make, advance, 6, tmp_path)


def test_another_curriculum_on_resume_is_refused(tmp_path: Path) -> None:
    """What a level means must not change in silence; restart begins the source's next epoch."""
    source = open_source(tmp_path, **LOG)
    drive(source, "log", drop=False)
    state = source.state_dict()
    other = [{**REWARD, "num_intervals": 5}, None]
    with pytest.raises(CheckpointError, match=r"source 'math'.*its curriculum is another.*restart"):
        open_source(tmp_path, data_source_curricula=other, **LOG).load_state_dict(state)
    restarted = open_source(
        tmp_path, data_source_curricula=other, on_source_change="restart", **LOG
    )
    restarted.load_state_dict(state)
    status = restarted.source_status()
    assert status["math"]["level"] == 0
    assert status["math"]["epoch"] == source.source_status()["math"]["epoch"] + 1
    assert status["code"]["reward_ema"] == source.source_status()["code"]["reward_ema"]


def test_thresholds_and_adaptive_weights_may_change_on_resume(tmp_path: Path) -> None:
    """The level stays; averages that were not kept begin anew."""
    source = open_source(tmp_path, data_source_adaptive=None, **LOG)
    drive(source, "log", drop=False)
    changed = open_source(
        tmp_path, data_source_curricula=[{**REWARD, "reward_threshold": 0.9}, None], **LOG
    )
    changed.load_state_dict(source.state_dict())
    status = changed.source_status()["math"]
    assert status["level"] == source.source_status()["math"]["level"]
    assert "reward_ema" not in status


def test_renamed_sources_keep_their_averages(tmp_path: Path) -> None:
    """Averages, level and what waits to be counted follow the name."""
    source = open_source(tmp_path, **LOG)
    drive(source, "log", drop=False)
    again = open_source(
        tmp_path,
        prompt_data_source_names=["maths", "code"],
        data_source_curricula={"maths": REWARD, "code": None},
        renamed_from={"maths": "math"},
        **LOG,
    )
    again.load_state_dict(source.state_dict())
    for key in ("level", "reward_ema", "weight", "open_share"):
        assert again.source_status()["maths"][key] == source.source_status()["math"][key]


@pytest.mark.parametrize(
    ("changes", "piece"),
    [
        ({"data_source_curricula": {"maths": REWARD}}, "'maths'.*did you mean math"),
        ({"data_source_curricula": [REWARD]}, "one entry per source"),
        ({"data_source_curricula": [{"type": "tmie"}, None]}, "'math'.*'tmie'.*did you mean time"),
        ({"data_source_curricula": ["time", None]}, "'math'.*type, one of time, reward, "),
        ({"data_source_curricula": [{"type": ["time"]}, None]}, "'math'.*is not a curriculum"),
        ({"data_source_curricula": [{"type": "reward"}, None]}, "reward_threshold.*is required"),
        (
            {"data_source_curricula": [{"type": "time", "complexity_warmup_step": 5}, None]},
            "did you mean complexity_warmup_steps",
        ),
        (
            {"data_source_curricula": [{"type": "time", "complexity_warmup_steps": 0}, None]},
            "complexity_warmup_steps of source 'math' .0. must be a whole number",
        ),
        (
            {"data_source_curricula": [{"type": "time", "complexity_key": 3}, None]},
            "complexity_key of source 'math' .3. must be a text",
        ),
        ({"data_source_adaptive": {"alpha": 2}}, "data_source_adaptive.alpha .2. must be"),
        ({"data_source_adaptive": 3}, "must be true, false, or a mapping"),
        ({"data_source_weights": [1, 10]}, "at step 0.*more than max_source_ratio=3"),
        (
            {"data_source_weights": [1, {"schedule": "linear", "start": 1, "end": 9, "steps": 4}]},
            "at step 2.*max_source_ratio=3",
        ),
    ],
)  # fmt: skip
def test_keys_that_cannot_be_used(tmp_path: Path, changes: dict[str, Any], piece: str) -> None:
    """The error names the source, the key and what it must be."""
    with pytest.raises(ConfigurationError, match=piece):
        open_source(tmp_path, **changes)


def test_a_row_without_a_score_is_an_error(tmp_path: Path) -> None:
    """The count, the first row's file and line, and the key."""
    with pytest.raises(DataError, match=r"'math': 1 of its 40 rows.*complexity_score.*line 8"):
        open_source(tmp_path, skip=7)
