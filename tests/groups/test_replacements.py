"""Which groups have the configured shares: those served, or those trained."""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum_learning import DataError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from tests.engine import FullyAsynchronousEngine, SynchronousEngine
from tests.harness import Group, arguments, check_resume, name_of, write_rows

SHARES = {"math": 0.5, "code": 0.3, "chat": 0.2}
DROPS = {"math": 0.6, "chat": 0.8}
BATCH = 32
HOOKS = {
    "custom_rollout_log_function_path": "curriculum_learning.custom_log"
    ".custom_rollout_log_function",
    "rollout_all_samples_process_path": "curriculum_learning.custom_log.process_all_samples",
    "dynamic_sampling_filter_path": "tests.engine.keeps",
}


def run_arguments(folder: Path, drops: dict[str, float], **changes: Any) -> argparse.Namespace:
    """Arguments of a run with both hooks, in which a filter drops groups."""
    settings = {
        "data_source_weights": list(SHARES.values()),
        "n_samples_per_prompt": 1,
        "partial_rollout": True,
        "drops": drops,
        "save": None,
        "num_rollout": 10,
        **HOOKS,
        **changes,
    }
    return arguments(folder, dict.fromkeys(SHARES, 500), **settings)


def errors(trained: Counter[str]) -> dict[str, float]:
    """How far the share of each source is from its configured one."""
    return {name: trained[name] / trained.total() - share for name, share in SHARES.items()}


def train(args: argparse.Namespace, rollouts: int) -> tuple[DataSource, list[Counter[str]]]:
    """What had been trained of each source after each rollout."""
    source = DataSource(args)
    engine = SynchronousEngine(source, args, batch=BATCH, request=48, seed=1)
    trained: Counter[str] = Counter()
    history = []
    for rollout_id in range(rollouts):
        trained.update(name_of(group) for group in engine.rollout(rollout_id))
        history.append(trained.copy())
    return source, history


def test_what_is_trained_has_the_configured_shares(tmp_path: Path) -> None:
    """With interruption, surplus and two filtered sources: within 1.5 % over 50, 0.5 % over 200."""
    source, history = train(run_arguments(tmp_path, DROPS), 200)
    assert source.config.mixture_target == "trained"
    assert max(map(abs, errors(history[49]).values())) < 0.015
    assert max(map(abs, errors(history[199]).values())) < 0.005
    for counts in source.source_counts().values():
        assert counts["lapsed"] == 0


def test_a_served_target_leaves_the_skew(tmp_path: Path) -> None:
    """With ``served`` the draws have the shares, and what the filter leaves of them has not."""
    args = run_arguments(tmp_path, DROPS, mixture_target="served")
    source, history = train(args, 50)
    assert errors(history[-1])["code"] > 0.2
    counts = source.source_counts()
    drawn = sum(count["drawn"] for count in counts.values())
    for name, share in SHARES.items():
        assert abs(counts[name]["drawn"] - drawn * share) < 1
        assert "replaced" not in counts[name]


def test_the_books_stay_exact(tmp_path: Path) -> None:
    """Replacements are off the books: draws on them are less than 1 off, all groups have an end."""
    source, _ = train(run_arguments(tmp_path, DROPS), 20)
    counts = source.source_counts()
    drawn = sum(count["drawn"] for count in counts.values())
    for name, share in SHARES.items():
        count = counts[name]
        assert abs(count["drawn"] - drawn * share) < 1
        waiting = source.source_status()[name]["buffer_length"]
        out = count["in_flight"] + waiting
        assert count["drawn"] + count["replaced"] == count["trained"] + count["dropped"] + out
        assert count["owed"] == count["dropped"] - count["replaced"] - count["lapsed"]


@pytest.mark.parametrize("never", [("math",), ("chat",), ("math", "chat")])
def test_a_source_that_is_never_trained_does_not_take_over(
    tmp_path: Path, never: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """The others keep their shares of the rest; what is owed beyond the bound lapses, told once."""
    caplog.set_level(logging.WARNING)
    args = run_arguments(tmp_path, dict.fromkeys(never, 2.0))
    source, history = train(args, 40)
    trained = history[-1]
    rest = sum(share for name, share in SHARES.items() if name not in never)
    for name, share in SHARES.items():
        expected = 0 if name in never else share / rest
        assert trained[name] / trained.total() == pytest.approx(expected, abs=0.01)
    counts = source.source_counts()
    fresh = {name: count["drawn"] + count["replaced"] for name, count in counts.items()}
    for name in never:
        assert fresh[name] <= 4 * SHARES[name] * sum(fresh.values()) + 4
        assert counts[name]["lapsed"] > 0
    # At least one group in four is one that the ledger drew.
    assert sum(count["drawn"] for count in counts.values()) * 4 >= sum(fresh.values()) - 4
    told = [record.message for record in caplog.records if "holds back" in record.message]
    assert len(told) == 1
    assert all(f"'{name}'" in told[0] for name in never)


def test_replacements_are_spread_among_the_draws(tmp_path: Path) -> None:
    """What is owed after a rollout does not go out as a block, in requests of any size."""
    sequences = []
    for size in (1, 7, 96):
        args = run_arguments(tmp_path, {}, mixture_target="trained")
        source = DataSource(args)
        groups = source.get_samples(96)
        lost = [group for group in groups if name_of(group) == "chat"]
        source.observe(lost, fate="dropped")
        kept = [group for group in groups if name_of(group) != "chat"]
        source.observe(kept, rollout_id=0, fate="trained")
        served = [g for _ in range(0, 96, size) for g in source.get_samples(min(size, 96))][:96]
        names = [name_of(group) for group in served]
        sequences.append(names)
        gaps = [
            len(run)
            for run in "".join("x" if n == "chat" else " " for n in names).split(" ")
            if run
        ]
        assert max(gaps) <= 4
        assert names.count("chat") > 2 * 0.2 * 96
    assert sequences[0] == sequences[1][:96] == sequences[2]


def test_a_group_is_replaced_once(tmp_path: Path) -> None:
    """A group given up and then dropped is replaced once; one trained after all is owed no more."""
    args = run_arguments(tmp_path, {}, mixture_target="trained", max_in_flight_rollouts=1)
    source = DataSource(args)
    first = source.get_samples(10)
    for rollout_id in range(3):
        source.observe([], rollout_id=rollout_id, fate="trained")
        source.get_samples(1)
    owed = [count["owed"] + count["replaced"] for count in source.source_counts().values()]
    assert sum(owed) == 10 + 1  # and the one that was asked for after rollout 0
    source.observe(first[:5], fate="dropped")
    source.observe(first[5:], fate="trained")
    owed = [count["owed"] + count["replaced"] for count in source.source_counts().values()]
    assert sum(owed) == 5 + 1


def test_a_request_that_fails_has_replaced_nothing(tmp_path: Path) -> None:
    """A row that cannot be read any more leaves what is owed as it was."""
    args = run_arguments(tmp_path, {}, mixture_target="trained")
    source = DataSource(args)
    source.observe(source.get_samples(40), rollout_id=0, fate="dropped")
    before = source.state_dict()
    for path in args.prompt_data:
        write_rows(Path(path), [{"input": "short"}])
    with pytest.raises(DataError):
        source.get_samples(30)
    assert source.state_dict() == before


def test_a_run_goes_on_exactly(tmp_path: Path) -> None:
    """Cut anywhere, what is owed, the bounds and the rotation go on as if it had not been."""
    args = run_arguments(tmp_path, DROPS)

    def advance(source: DataSource, step: int) -> Any:
        engine = SynchronousEngine(source, source.args, batch=6, request=9, seed=step)
        trained = [(name_of(group), group[0].index) for group in engine.rollout(step)]
        return trained, source.source_counts()

    check_resume(lambda: DataSource(argparse.Namespace(**vars(args))), advance, 7, tmp_path)


def test_what_was_lost_under_another_target_is_not_owed(tmp_path: Path) -> None:
    """A run that changes from ``served`` to ``trained`` replaces what is lost from then on."""
    source, _ = train(run_arguments(tmp_path, DROPS, mixture_target="served"), 5)
    again = DataSource(run_arguments(tmp_path, DROPS))
    again.load_state_dict(source.state_dict())
    assert all(count["owed"] <= 0 for count in again.source_counts().values())


@pytest.mark.parametrize(
    ("hooks", "target"),
    [
        (HOOKS, "trained"),
        ({}, "served"),
        ({**HOOKS, "rollout_all_samples_process_path": None}, "served"),
    ],
)
def test_the_default_follows_the_hooks(tmp_path: Path, hooks: dict[str, Any], target: str) -> None:
    """``trained`` where both hooks tell of every group, else ``served``."""
    args = arguments(tmp_path, {"a": 5}, **hooks)
    assert DataSource(args).config.mixture_target == target


def test_fully_asynchronous_rollouts_reach_the_target_too(tmp_path: Path) -> None:
    """With an engine that reports its drops, what is trained has the shares."""
    args = run_arguments(
        tmp_path, DROPS, mixture_target="trained", rollout_all_samples_process_path=None
    )
    source = DataSource(args)
    trained: Counter[str] = Counter()
    with FullyAsynchronousEngine(source, args, concurrency=8, seed=3) as engine:
        for rollout_id in range(40):
            trained.update(name_of(group) for group in engine.rollout(rollout_id, 16))
    source.raise_swallowed_error()
    assert max(map(abs, errors(trained).values())) < 0.04


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    moves=st.lists(
        st.tuples(st.integers(0, 12), st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40))),
        max_size=12,
    ),
    most=st.sampled_from([1, 1.5, 4]),
)
def test_any_run_keeps_its_account(
    tmp_path_factory: pytest.TempPathFactory,
    moves: list[tuple[int, set[int], set[int]]],
    most: float,
) -> None:
    """Whatever is lost: draws by the ledger are exact; in the end each loss is replaced once."""
    folder = tmp_path_factory.mktemp("run")
    source = DataSource(run_arguments(folder, {}, mixture_target="trained", max_oversampling=most))
    out: list[Group] = []
    for rollout_id, (asked, lost, trained) in enumerate(moves):
        out += source.get_samples(asked)
        dropped = [group for at, group in enumerate(out) if at in lost]
        kept = [group for at, group in enumerate(out) if at in trained - lost]
        out = [group for at, group in enumerate(out) if at not in lost | trained]
        source.observe(dropped, fate="dropped")
        source.observe(kept, rollout_id=rollout_id, fate="trained")
        counts = source.source_counts()
        drawn = sum(counts[name]["drawn"] for name in SHARES)
        ids = source.state_dict()["groups"]["next_group"]
        assert drawn + sum(counts[name]["replaced"] for name in SHARES) == ids
        if most == 1:
            assert drawn == ids
        for name, share in SHARES.items():
            assert abs(counts[name]["drawn"] - drawn * share) < 1
    # Once nothing is lost any more, what was replaced in vain is made up for.
    for rollout_id in range(len(moves), len(moves) + 8):
        source.observe([*out, *source.get_samples(30)], rollout_id=rollout_id, fate="trained")
        out = []
    for count in source.source_counts().values():
        assert count["replaced"] <= count["dropped"]
        assert count["replaced"] + count["lapsed"] >= count["dropped"]


def go_on(
    args: argparse.Namespace, state: dict[str, Any], first: int, rollouts: int
) -> Counter[str]:
    """Resume from a state and train; what is trained of each source."""
    source = DataSource(args)
    source.load_state_dict(state)
    engine = SynchronousEngine(source, args, batch=BATCH, request=48, seed=2)
    trained: Counter[str] = Counter()
    for rollout_id in range(first, first + rollouts):
        trained.update(name_of(group) for group in engine.rollout(rollout_id))
    return trained


def test_hooks_may_be_added_on_a_resume(tmp_path: Path) -> None:
    """What was served when nothing was told does not count as lost, or as still to be lost."""
    none = dict.fromkeys(HOOKS)
    source = DataSource(run_arguments(tmp_path, DROPS, **none))
    for step in range(30):
        source.set_rollout_step(step)
        source.get_samples(BATCH)
    trained = go_on(run_arguments(tmp_path, DROPS), source.state_dict(), 30, 50)
    assert max(map(abs, errors(trained).values())) < 0.015


def test_the_target_may_be_switched_to_and_fro(tmp_path: Path) -> None:
    """Trained, then served, then trained: the shares are reached again."""
    source, _ = train(run_arguments(tmp_path, DROPS), 10)
    other = DataSource(run_arguments(tmp_path, DROPS, mixture_target="served"))
    other.load_state_dict(source.state_dict())
    trained = go_on(run_arguments(tmp_path, DROPS), other.state_dict(), 10, 50)
    assert max(map(abs, errors(trained).values())) < 0.015


def test_a_state_from_the_middle_of_a_rollout_goes_on_exactly(tmp_path: Path) -> None:
    """Cut between two requests of a rollout, the second one is the same."""
    args = run_arguments(tmp_path, DROPS)
    source, _ = train(args, 7)
    source.get_samples(10)
    state = source.state_dict()
    rest = [(name_of(group), group[0].prompt) for group in source.get_samples(100)]
    again = DataSource(args)
    again.load_state_dict(state)
    again.get_samples(10)
    assert [(name_of(group), group[0].prompt) for group in again.get_samples(100)] == rest


def test_a_source_of_a_former_name_is_owed_nothing(tmp_path: Path) -> None:
    """Removed and added again, or another one renamed to its name: counts are the source's own."""
    keys: dict[str, Any] = {"on_source_change": "adopt"}
    args = run_arguments(tmp_path, DROPS, **keys)
    source, _ = train(args, 6)

    def with_sources(names: dict[str, str], **changes: Any) -> argparse.Namespace:
        paths = [str(tmp_path / f"{file}.jsonl") for file in names.values()]
        weights = [SHARES[file] for file in names.values()]
        return argparse.Namespace(
            **{
                **vars(args),
                "prompt_data": paths,
                "prompt_data_source_names": list(names),
                "data_source_weights": weights,
                **changes,
            }
        )

    without = DataSource(with_sources({"code": "code", "chat": "chat"}))
    without.load_state_dict(source.state_dict())
    state = without.state_dict()
    readded = DataSource(args)
    readded.load_state_dict(state)
    assert set(readded.source_counts()["math"].values()) == {0}
    renamed = DataSource(
        with_sources({"math": "chat", "code": "code"}, renamed_from={"math": "chat"})
    )
    renamed.load_state_dict(state)
    assert renamed.source_counts()["math"] == without.source_counts()["chat"]


def test_a_rollout_reported_in_parts_is_one(tmp_path: Path) -> None:
    """A log without samples, or with half of them, does not make replacements a block."""
    sequences = []
    for parts in (1, 2):
        source = DataSource(run_arguments(tmp_path, {}, mixture_target="trained"))
        groups = source.get_samples(64)
        lost = [group for group in groups if name_of(group) == "math"]
        kept = [group for group in groups if name_of(group) != "math"]
        source.observe(lost, fate="dropped")
        if parts == 2:
            source.observe(kept[::2], fate="trained")
        source.observe(kept[parts - 1 :: parts], rollout_id=0, fate="trained")
        source.observe([], rollout_id=1, fate="trained")
        sequences.append([name_of(group) for group in source.get_samples(40)])
    assert sequences[0] == sequences[1]
    assert sequences[0][:12].count("math") < 12


def test_a_target_that_nothing_tells_of_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With ``trained`` and no report of what is trained, one warning says what to set."""
    args = run_arguments(tmp_path, {}, mixture_target="trained", **dict.fromkeys(HOOKS))
    source = DataSource(args)
    for step in range(3):
        source.set_rollout_step(step)
        source.get_samples(4)
    told = [
        r.message for r in caplog.records if "nothing reports which groups are trained" in r.message
    ]
    assert len(told) == 1
