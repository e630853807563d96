"""miles' rollouts, synchronous and fully asynchronous, on our data source."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from miles.rollout.filter_hub.base_types import DynamicFilterOutput
from miles.utils.types import Sample

from curriculum_learning.reward_cap_filter import check_reward_cap_per_source
from tests.with_miles.engine import FULLY_ASYNC, ROLLOUTS, WEIGHTS, Run, make_args

BOTH_HOOKS = {
    "rollout_all_samples_process_path": "curriculum_learning.custom_log.process_all_samples"
}
PARTIAL = {"partial_rollout": True}
RETRIED = {"max_weight_staleness": 0, "async_unused_samples_handler": "retry"}


def _shares(sources: list[str]) -> dict[str, float]:
    return {source: count / len(sources) for source, count in Counter(sources).items()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A whole synchronous run, over."""
    with Run(make_args(tmp_path_factory.mktemp("run"), **BOTH_HOOKS, **PARTIAL)) as run:
        for rollout_id in range(ROLLOUTS):
            run.generate(rollout_id)
    return run


def test_miles_trains_on_its_own_samples(run: Run) -> None:
    """The groups hold miles' ``Sample``, in whole groups, each trained once."""
    assert all(type(sample) is Sample for samples in run.samples for sample in samples)
    groups = Counter(sample.group_index for samples in run.samples for sample in samples)
    assert len(groups) == ROLLOUTS * 16
    assert set(groups.values()) == {4}


def test_the_run_had_all_that_makes_it_hard(run: Run) -> None:
    """Groups were filtered, cut off half-way and served again, and epochs ended."""
    last = run.tracked[-1]
    assert run.returned > 0
    assert any("dynamic_filter/drop_zero_std" in key for log in run.tracked for key in log)
    assert all(last[f"rollout/{source}/epoch"] >= 1 for source in WEIGHTS)
    assert len({group for *_, group in run.served}) < len(run.served)


def test_steps_follow_the_rollouts_that_miles_logs(run: Run) -> None:
    """Miles does not name the rollout that it is in: it is the one after the last logged one."""
    steps = [step for *_, step, _ in run.served]
    assert sorted(set(steps)) == list(range(ROLLOUTS))
    assert steps == sorted(steps)


def test_what_is_trained_has_the_shares(run: Run) -> None:
    """With both hooks lost groups are replaced."""
    trained = [sample.metadata["data_source"] for samples in run.samples for sample in samples]
    assert _shares(trained) == pytest.approx(WEIGHTS, abs=0.02)
    assert sum(run.tracked[-1][f"rollout/{source}/dropped"] for source in WEIGHTS) > 0


def test_metrics_beside_those_of_miles(run: Run) -> None:
    """The tracker gets miles' own metrics of a rollout and ours of each source, by its step."""
    for rollout_id, log in enumerate(run.tracked):
        assert log["rollout/step"] == rollout_id
        assert "rollout/response_len/mean" in log
        assert {f"rollout/{source}/trained_share" for source in WEIGHTS} <= log.keys()


def test_fully_async(tmp_path: Path) -> None:
    """One group at a time: the draws have the shares, and groups that are too old come back."""
    args = make_args(tmp_path, **RETRIED)
    with Run(args, FULLY_ASYNC) as run:
        for rollout_id in range(ROLLOUTS):
            samples = run.generate(rollout_id)
            assert all(type(sample) is Sample for sample in samples)
            assert len(samples) == 64
    first = {group: source for source, _, _, group in run.served}
    assert _shares(list(first.values())) == pytest.approx(WEIGHTS, abs=0.01)
    trained = Counter(sample.group_index for samples in run.samples for sample in samples)
    assert set(trained.values()) == {4}
    assert run.tracked[-1]["rollout/step"] == ROLLOUTS - 1


@pytest.mark.parametrize("partial", [False, True])
def test_saved_and_resumed(tmp_path: Path, partial: bool) -> None:
    """A resumed run trains no group twice and serves those in flight again, with their tokens."""
    args = make_args(tmp_path, partial_rollout=partial, **BOTH_HOOKS)
    with Run(args) as before:
        for rollout_id in range(6):
            before.generate(rollout_id)
        before.source.save(5)
    waiting = [group for *_, group in before.served]
    trained = {sample.group_index for samples in before.samples for sample in samples}
    args = make_args(tmp_path, load=args.save, partial_rollout=partial, **BOTH_HOOKS)
    with Run(args) as after:
        after.source.load(5)
        for rollout_id in range(6, ROLLOUTS):
            after.generate(rollout_id)
    again = {group for *_, group in after.served if group <= max(waiting)}
    assert not trained & again
    assert {step for *_, step, _ in after.served} == set(range(6, ROLLOUTS))
    assert bool(again) or not partial
    samples = [sample for batch in after.samples for sample in batch]
    assert not trained & {sample.group_index for sample in samples}
    assert all(type(sample) is Sample for sample in samples)


def test_saved_and_resumed_asynchronously(tmp_path: Path) -> None:
    """What was in flight or waiting at the save is trained after it or not at all; none twice."""
    args = make_args(tmp_path, **RETRIED)
    with Run(args, FULLY_ASYNC) as before:
        for rollout_id in range(6):
            before.generate(rollout_id)
        before.source.save(5)
        trained = {sample.group_index for batch in before.samples for sample in batch}
        drawn = {group for *_, group in before.served}
    args = make_args(tmp_path, load=args.save, **RETRIED)
    with Run(args, FULLY_ASYNC) as after:
        after.source.load(5)
        for rollout_id in range(6, ROLLOUTS):
            after.generate(rollout_id)
    again = Counter(sample.group_index for batch in after.samples for sample in batch)
    assert not trained & again.keys()
    assert set(again.values()) == {4}
    assert min(again) < max(drawn)
    served = {group: source for source, _, _, group in [*before.served, *after.served]}
    assert sorted(served) == list(range(len(served)))
    assert _shares(list(served.values())) == pytest.approx(WEIGHTS, abs=0.02)


def test_saved_during_the_next_rollout(tmp_path: Path) -> None:
    """Miles saves a rollout while it generates the next one: its groups are served again."""
    args = make_args(tmp_path, **BOTH_HOOKS)
    with Run(args) as before:
        for rollout_id in range(3):
            before.generate(rollout_id)
        known = len(before.served)
        with ThreadPoolExecutor(max_workers=1) as pool:
            generating = pool.submit(before.generate, 3)
            while len(before.served) == known:
                time.sleep(0.001)
            before.source.save(2)
            generating.result()
    with Run(make_args(tmp_path, load=args.save, **BOTH_HOOKS)) as after:
        after.source.load(2)
        after.generate(3)
    trained = {sample.group_index for samples in before.samples[:3] for sample in samples}
    again = {group for *_, group in after.served}
    handed_out = {group for *_, group in before.served[known:]}
    assert again >= handed_out - trained
    assert not again & trained


def test_filter_speaks_miles_language(tmp_path: Path) -> None:
    """The verdict of our filter is of miles' class, so its reason is counted."""
    caps = {"short": 0.5}
    args = make_args(tmp_path, data_source_reward_caps=caps)
    samples = [
        Sample(reward=1.0, metadata={"data_source": "short", "source_name": "short"})
        for _ in range(4)
    ]
    verdict = check_reward_cap_per_source(args, samples)
    assert type(verdict) is DynamicFilterOutput
