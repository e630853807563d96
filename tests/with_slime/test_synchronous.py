"""slime's synchronous rollouts: over-sampled, filtered, and aborted when the batch is full."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

import pytest
from slime.utils.eval_config import build_eval_dataset_configs
from slime.utils.types import Sample

from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer
from curriculum_learning.groups.served import listed
from tests.harness import totals
from tests.with_slime.engine import (
    BOUND_FOR_VARYING,
    CONSTANT,
    ROLLOUTS,
    VARYING,
    InferenceServer,
    Run,
    Serving,
    farthest_from_shares,
    make_args,
    varying_shares,
)
from tests.with_slime.prompts import SOURCES, write_prompts

SAVED = 7
"""The rollout after which a run is saved and resumed."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A whole run, over, with weights that changed in every rollout."""
    args = make_args(tmp_path_factory.mktemp("run"), data_source_weights=VARYING)
    with Run(args) as run:
        for rollout_id in range(ROLLOUTS):
            run.generate(rollout_id)
    return run


def test_the_run_had_all_that_makes_it_hard(run: Run) -> None:
    """Groups were refilled, filtered, cut off half-way, served again, and their epochs ended."""
    assert len(run.requests) > ROLLOUTS
    assert any("drop_zero_std" in key for metrics in run.metrics for key in metrics)
    assert sum(serving.partial for serving in run.servings) > ROLLOUTS
    assert all(run.metrics[-1][f"rollout/{source}/epoch"] >= 1 for source in SOURCES)


def test_slime_trains_on_its_own_samples_and_knows_their_sources(tmp_path: Path) -> None:
    """The groups hold slime's ``Sample``, and slime's training data names their sources."""
    with Run(make_args(tmp_path, data_source_weights=CONSTANT)) as run:
        data = run.generate(0)
    (samples,) = run.samples
    assert all(type(sample) is Sample for sample in samples)
    assert data["source_names"] == [sample.prompt.split()[0] for sample in samples]
    assert len(set(data["rollout_ids"])) == len(samples)


def test_ids_are_given_once_and_stay(run: Run) -> None:
    """Groups and samples are numbered without a gap, and keep number and row when served again."""
    numbers = [serving.group_index for serving in run.drawn]
    assert numbers == list(range(len(numbers)))
    indices = [index for serving in run.drawn for index in serving.indices]
    assert indices == list(range(len(indices)))
    identities = {serving.group_index: serving.identity for serving in run.drawn}
    assert any(serving.again for serving in run.servings)
    assert all(serving.identity == identities[serving.group_index] for serving in run.servings)


def test_no_group_is_trained_twice(run: Run) -> None:
    """What slime trains on is a new set of whole groups in every rollout."""
    batches = [{sample.group_index for sample in samples} for samples in run.samples]
    assert [len(batch) for batch in batches] == [run.args.rollout_batch_size] * ROLLOUTS
    assert len(set.union(*batches)) == run.args.rollout_batch_size * ROLLOUTS


def test_returned_groups_are_served_first(run: Run) -> None:
    """Each request begins with the groups that came back, those that waited longest first."""
    assert run.returned > ROLLOUTS
    assert run.served_out_of_turn == []


def test_the_step_is_slimes_rollout(run: Run) -> None:
    """Every group carries the rollout it is served in, and its source's share of then."""
    assert {serving.step for serving in run.servings} == set(range(ROLLOUTS))
    for serving in run.servings:
        assert serving.step == serving.rollout_id
        assert serving.share == pytest.approx(varying_shares(serving.step)[serving.source])


def test_draws_follow_changing_shares(run: Run) -> None:
    """Whatever slime drops or gives back, the draws stay within the bound for changing shares."""
    assert farthest_from_shares(run.drawn, varying_shares) < BOUND_FOR_VARYING


@pytest.mark.parametrize("seed", range(2))
def test_draws_are_never_a_whole_group_off_constant_shares(tmp_path: Path, seed: int) -> None:
    """With constant weights each source is less than one group off its share after every draw."""
    args = make_args(tmp_path, data_source_weights=CONSTANT)
    with Run(args, server=InferenceServer(seed=seed)) as run:
        for rollout_id in range(ROLLOUTS):
            run.generate(rollout_id)
    assert run.returned > ROLLOUTS
    assert farthest_from_shares(run.drawn, lambda _: CONSTANT) < 1


def test_an_evaluation_changes_nothing(tmp_path: Path) -> None:
    """An evaluation sets slime's rollout back, and neither state nor step move by it."""
    args = make_args(tmp_path, data_source_weights=VARYING)
    held_out = {"name": "held_out", "path": write_prompts(tmp_path, "held_out", 8)}
    args.eval_datasets = build_eval_dataset_configs(args, [held_out], {})
    with Run(args) as run:
        run.generate(0)
        for rollout_id in range(1, 6):
            run.generate(rollout_id)
            state = run.source.state_dict()
            # As in slime's asynchronous loop: evaluated is the model of the rollout before.
            metrics = run.evaluate(rollout_id - 1)
            assert "eval/held_out" in metrics
            assert run.source.rollout_step == rollout_id + 1
            assert run.source.state_dict() == state
    assert [serving.step for serving in run.servings] == [
        serving.rollout_id for serving in run.servings
    ]


def test_the_tracker_gets_slimes_metrics_and_ours(run: Run) -> None:
    """With our log function the tracker gets all that slime logs by itself, and each source's."""
    for rollout_id, (metrics, slimes) in enumerate(
        zip(run.metrics, run.slime_metrics, strict=True)
    ):
        assert slimes
        assert {key: metrics.get(key) for key in slimes} == slimes
        assert metrics["rollout/step"] == rollout_id
        for source, share in varying_shares(rollout_id).items():
            prefix = f"rollout/{source}/"
            assert metrics[f"{prefix}weight"] == pytest.approx(share)
            own = [
                sample
                for sample in run.samples[rollout_id]
                if sample.metadata["data_source"] == source
            ]
            assert metrics[f"{prefix}sample_count"] == len(own)
            assert metrics[f"{prefix}trained_share"] == pytest.approx(
                len(own) / len(run.samples[rollout_id])
            )
            if own:
                rewards = [sample.reward for sample in own]
                lengths = [sample.response_length for sample in own]
                assert metrics[f"{prefix}raw_reward/mean"] == pytest.approx(sum(rewards) / len(own))
                assert metrics[f"{prefix}response_len/max"] == max(lengths)
        assert sum(metrics[f"rollout/{source}/trained_share"] for source in SOURCES) == (
            pytest.approx(1)
        )
    keys = set(itertools.chain(*run.metrics))
    assert {"rollout/response_len/mean", "perf/rollout_time"} <= keys


class Resume(NamedTuple):
    """A run that was saved and went on, and one that went on from what was saved."""

    before: Run
    """Rollouts 0 to ``SAVED``, and one more that no state tells of."""
    drawn_in_time: list[Serving]
    """What it had drawn when it was saved."""
    drawn_too_late: list[Serving]
    """What it drew in the last rollout."""
    unfinished: list[int]
    """The groups that were not trained when it was saved, in the order of serving again."""
    after: Run


@pytest.fixture(scope="module")
def resume(tmp_path_factory: pytest.TempPathFactory) -> Resume:
    """A resume half-way through a run."""
    folder = tmp_path_factory.mktemp("resume")
    with Run(make_args(folder, data_source_weights=CONSTANT)) as before:
        for rollout_id in range(SAVED + 1):
            before.generate(rollout_id)
        before.manager.save(SAVED)
        unfinished, drawn = before.unfinished(), len(before.drawn)
        before.generate(SAVED + 1)
    with Run(make_args(folder, data_source_weights=CONSTANT), waiting=unfinished) as after:
        after.manager.load(SAVED)
        for rollout_id in range(SAVED + 1, ROLLOUTS):
            after.generate(rollout_id)
    return Resume(before, before.drawn[:drawn], before.drawn[drawn:], unfinished, after)


def test_unfinished_groups_come_first_after_a_resume(resume: Resume) -> None:
    """What was in flight or waiting at the save is served first, with its ids, and only that."""
    count = len(resume.unfinished)
    assert count > resume.before.args.rollout_batch_size
    assert [group.group_index for group in resume.after.servings[:count]] == resume.unfinished
    assert resume.after.served_out_of_turn == []
    identities = {serving.group_index: serving.identity for serving in resume.drawn_in_time}
    again = [group for group in resume.after.servings if group.group_index in identities]
    assert all(serving.identity == identities[serving.group_index] for serving in again)
    trained = {s.group_index for samples in resume.before.samples[: SAVED + 1] for s in samples}
    assert trained.isdisjoint(serving.group_index for serving in resume.after.servings)


def test_a_resumed_run_draws_the_rows_that_were_next(resume: Resume) -> None:
    """The first fresh rows after a resume are those that the saved run drew next itself."""
    next_drawn = [serving.identity for serving in resume.drawn_too_late]
    assert next_drawn
    first_fresh = resume.after.drawn[: len(next_drawn)]
    assert [serving.identity for serving in first_fresh] == next_drawn


def test_steps_ids_and_shares_go_on_over_a_resume(resume: Resume) -> None:
    """Steps, ids and draws of both processes together are those of one run."""
    drawn = [*resume.drawn_in_time, *resume.after.drawn]
    assert [serving.group_index for serving in drawn] == list(range(len(drawn)))
    assert all(serving.step == serving.rollout_id for serving in drawn)
    assert farthest_from_shares(drawn, lambda _: CONSTANT) < 1


def test_two_resumes_of_one_state_serve_the_same(tmp_path: Path) -> None:
    """A state that slime had written gives the same groups whenever it is loaded."""
    settings = {"data_source_weights": VARYING, "over_sampling_batch_size": 48}
    with Run(make_args(tmp_path, **settings)) as run:
        for rollout_id in range(5):
            run.generate(rollout_id)
            run.manager.save(rollout_id)

    def next_groups() -> list[list[dict[str, object]]]:
        source = MultipleWeightedRolloutDataSourceWithBuffer(make_args(tmp_path, **settings))
        source.load(4)
        groups = [group for size in (1, 7, 64) for group in source.get_samples(size)]
        return [[sample.to_dict() for sample in group] for group in groups]

    first, second = next_groups(), next_groups()
    assert repr(first) == repr(second)
    assert any(sample["response"] for group in first for sample in group)


@pytest.mark.parametrize("partial", [True, False])
def test_with_both_hooks_no_group_is_left_unaccounted(tmp_path: Path, partial: bool) -> None:
    """At the end of each rollout of slime nothing is in flight: trained, dropped or waiting."""
    args = make_args(
        tmp_path,
        data_source_weights=CONSTANT,
        partial_rollout=partial,
        rollout_all_samples_process_path="curriculum_learning.custom_log.process_all_samples",
    )
    with Run(args) as run:
        for rollout_id in range(8):
            run.generate(rollout_id)
            groups = run.manager.data_source.state_dict()["groups"]
            assert listed(groups["in_flight"]) == []
    counts = totals(groups)
    assert counts["trained"] == 8 * args.rollout_batch_size
    assert counts["dropped"] > 0
    waiting = run.manager.data_source.get_buffer_length()
    assert counts["trained"] + counts["dropped"] + waiting == len(run.drawn)


@pytest.mark.parametrize("target", ["trained", "served"])
def test_what_slime_trains_has_the_configured_shares(tmp_path: Path, target: str) -> None:
    """Cut off, filtered and over-sampled by slime; with ``served`` the filter's skew remains."""
    args = make_args(
        tmp_path,
        data_source_weights=CONSTANT,
        rollout_all_samples_process_path="curriculum_learning.custom_log.process_all_samples",
        dynamic_sampling_filter_path="tests.with_slime.prompts.drop_many",
        mixture_target=target,
    )
    with Run(args) as run:
        for rollout_id in range(30):
            run.generate(rollout_id)
        counts = run.manager.data_source.source_counts()
    trained = {name: count["trained"] / (30 * 16) for name, count in counts.items()}
    farthest = max(abs(trained[name] - share) for name, share in CONSTANT.items())
    assert farthest < 0.03 if target == "trained" else farthest > 0.1, trained


def test_a_state_saved_late_is_that_of_its_rollout(tmp_path: Path) -> None:
    """Saved after the next rollout was generated, as in train_async, that one is drawn again."""
    args = make_args(tmp_path, data_source_weights=VARYING)
    with Run(args) as run:
        for rollout_id in range(4):
            run.generate(rollout_id)
        run.manager.save(2)
    last = {serving.group_index for serving in run.drawn if serving.rollout_id == 3}
    resumed = MultipleWeightedRolloutDataSourceWithBuffer(
        make_args(tmp_path, data_source_weights=VARYING)
    )
    resumed.load(2)
    assert resumed.rollout_step == 3
    identities = {serving.group_index: serving.identity for serving in run.drawn}
    groups = resumed.get_samples(resumed.get_buffer_length() + len(last))
    ids = {group[0].group_index for group in groups}
    assert last <= ids
    for group in groups:
        index, samples, *_ = identities[group[0].group_index]
        assert (index, samples) == (group[0].group_index, tuple(s.index for s in group))
