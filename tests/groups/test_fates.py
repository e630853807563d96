from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import ConfigurationError, DataError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.custom_log import custom_rollout_log_function, process_all_samples
from curriculum_learning.groups.served import listed
from curriculum_learning.samples.sample import Sample
from tests.engine import SynchronousEngine
from tests.harness import Group, arguments, data_source, row_of, totals

SIZES = {"math": 120, "code": 90, "chat": 60}
HOOKS = {
    "custom_rollout_log_function_path": (
        "curriculum_learning.custom_log.custom_rollout_log_function"
    ),
    "rollout_all_samples_process_path": "curriculum_learning.custom_log.process_all_samples",
    "dynamic_sampling_filter_path": "tests.engine.keeps",
    "drop": 0.3,
}


def in_flight(source: DataSource) -> list[int]:
    """The ids of the groups in flight."""
    return [entry[0] for entry in listed(source.state_dict()["groups"]["in_flight"])]


@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.parametrize("surplus", [None, "keep", "again"])
def test_with_both_hooks_every_group_is_accounted_for(
    tmp_path: Path, partial: bool, surplus: str | None
) -> None:
    """At the end of each rollout nothing is in flight; at the end of an epoch no row is missing."""
    args = arguments(tmp_path, SIZES, **HOOKS, partial_rollout=partial, surplus=surplus)
    fates: dict[tuple[str, int, int], list[str]] = {}
    source = DataSource(args)
    for rollout_id in range(40):
        if rollout_id % 7 == 0:  # resumed now and then
            source = DataSource(args)
            source.load(rollout_id - 1)
        engine = SynchronousEngine(
            source, args, batch=4, request=9, seed=rollout_id, drop=args.drop
        )
        for group in engine.rollout(rollout_id):
            fates.setdefault(row_of(group), []).append("trained")
        for group in engine.dropped:
            fates.setdefault(row_of(group), []).append("dropped")
        assert in_flight(source) == []
        source.save(rollout_id)
    assert all(len(fate) == 1 for fate in fates.values()), "a row was trained or dropped twice"
    by_source = source.source_counts().values()
    drawn = sum(count["drawn"] + count["replaced"] for count in by_source)
    assert len(fates) + source.get_buffer_length() == drawn
    counts = totals(source.state_dict()["groups"])
    told = Counter(fate for (fate,) in fates.values())
    assert (counts["trained"], counts["dropped"]) == (told["trained"], told["dropped"])
    assert counts["surplus"] > 0


@pytest.mark.parametrize(
    ("surplus", "status"), [("keep", "completed"), ("again", "pending"), ("drop", None)]
)
def test_what_becomes_of_surplus(tmp_path: Path, surplus: str, status: str | None) -> None:
    """A finished group without room is kept, generated again, or dropped, as configured."""
    args = arguments(tmp_path, SIZES, **HOOKS, surplus=surplus)
    source = DataSource(args)
    groups = source.get_samples(3)
    for group in groups:
        for sample in group:
            sample.status, sample.reward = Sample.Status.COMPLETED, 0.5
    process_all_samples(args, groups, source.get_samples)
    source.observe(groups[:2], rollout_id=0, fate="trained")
    (following,) = source.get_samples(1)
    if status is None:
        assert following[0].group_index == 3
        assert totals(source.state_dict()["groups"])["dropped"] == 1
    else:
        assert [sample.index for sample in following] == [4, 5]
        assert following[0].status.value == status
        assert (following[0].reward is None) == (status == "pending")


def test_a_row_that_cannot_be_read_loses_no_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a group cannot be made again at a log, all stay in flight, and the log can be repeated."""
    args = arguments(tmp_path, SIZES, **HOOKS, surplus="again")
    source = DataSource(args)
    groups = source.get_samples(4)
    for sample in (sample for group in groups for sample in group):
        sample.reward = 1.0
    process_all_samples(args, groups[:3], source.get_samples)

    def unreadable(*_: object) -> Any:
        raise DataError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr("curriculum_learning.prompts.prompts.Prompts.read", unreadable)
        with pytest.raises(DataError):
            source.observe(groups[:2], rollout_id=0, fate="trained")
    assert in_flight(source) == [0, 1, 2, 3]
    source.observe(groups[:2], rollout_id=0, fate="trained")
    assert in_flight(source) == []
    assert [group[0].group_index for group in source.get_samples(3)] == [2, 3, 4]
    assert source.rollout_step == 1


def fragile_filter(args: Any, samples: Group) -> bool:
    """A dynamic filter that cannot judge a group without metadata."""
    return bool(samples[0].metadata["judge"])


@pytest.mark.parametrize("raises", ["filter", "metadata"])
def test_a_log_that_raises_changes_nothing(tmp_path: Path, raises: str) -> None:
    """What the user's filter or metadata raise comes out, and the log can be repeated."""
    args = arguments(
        tmp_path, SIZES, **{**HOOKS, "dynamic_sampling_filter_path": f"{__name__}.fragile_filter"},
        data_source_adaptive={"alpha": 0.5, "update_frequency": 1},
    )  # fmt: skip
    source = DataSource(args)
    groups = source.get_samples(4)
    for sample in (sample for group in groups for sample in group):
        sample.reward = 1.0
    trained = groups[:2]
    process_all_samples(args, groups, source.get_samples)
    before = source.state_dict()
    if raises == "metadata":
        trained = [*trained, [Fragile()]]
    for _ in range(2):
        with pytest.raises((KeyError, RuntimeError), match=r"judge|no metadata"):
            custom_rollout_log_function(0, args, trained, None, 1.0)
        assert source.state_dict() == before
    for group in groups:
        for sample in group:
            sample.metadata["judge"] = False
    custom_rollout_log_function(0, args, groups[:2], None, 1.0)
    counts = totals(source.state_dict()["groups"])
    assert (counts["trained"], counts["dropped"]) == (2, 2)
    assert source.rollout_step == 1


class Fragile:
    """A sample of the engine's own, not to be looked at."""

    group_index = 2

    @property
    def metadata(self) -> Any:
        """Nothing."""
        raise RuntimeError("no metadata")


def test_what_cannot_be_stored_is_generated_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A surplus group that a state file cannot hold loses its generation, not its prompt."""
    args = arguments(tmp_path, SIZES, **HOOKS, surplus="keep")
    source = DataSource(args)
    (group,) = source.get_samples(1)
    group[0].reward = group[1].reward = 1.0
    group[0].metadata["handle"] = object()
    process_all_samples(args, [group], source)
    source.observe([], rollout_id=0, fate="trained")
    assert "generated again: 'metadata.handle'" in caplog.text.replace("[0].", "")
    (again,) = source.get_samples(1)
    assert again[0].index == 0
    assert again[0].reward is None


def test_without_the_first_hook_groups_may_be_in_flight(tmp_path: Path) -> None:
    """The log hook alone decides nothing about groups that may still be generating."""
    source = data_source(tmp_path, SIZES)
    groups = source.get_samples(4)
    source.observe(groups[:1], fate="finished")
    source.observe(groups[:1], rollout_id=0, fate="trained")
    assert in_flight(source) == [1, 2, 3]
    assert source.get_buffer_length() == 0


@pytest.mark.parametrize("own_log", [False, True])
def test_with_the_all_samples_hook_alone_finished_is_settled(tmp_path: Path, own_log: bool) -> None:
    """Without a log of ours what was finished is done with; a log that tells is listened to."""
    hooks = {"rollout_all_samples_process_path": HOOKS["rollout_all_samples_process_path"]}
    args = arguments(
        tmp_path, SIZES, **hooks, custom_rollout_log_function_path="tests.engine.keeps"
    )
    source = DataSource(args)
    groups = source.get_samples(6)
    process_all_samples(args, groups[:4], source.get_samples)
    source.add_samples(groups[4:5])
    if own_log:
        source.observe(groups[:3], rollout_id=0, fate="trained")
    source.save(0)
    counts = totals(source.state_dict()["groups"])
    assert (counts["finished"], counts["trained"]) == ((0, 3) if own_log else (4, 0))
    for resumed in (source, DataSource(args)):
        resumed.load(0)
        served = [group[0].group_index for group in resumed.get_samples(4)]
        assert served == ([4, 3, 5, 6] if own_log else [5, 4, 6, 7])


def test_a_bad_policy_is_refused(tmp_path: Path) -> None:
    """An unknown value of surplus is an error that names the known ones."""
    with pytest.raises(ConfigurationError, match="'keep', 'again' or 'drop'"):
        data_source(tmp_path, SIZES, surplus="later")


def test_a_stranger_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With no data source of ours the hook says so and goes on."""
    from curriculum_learning import custom_log

    custom_log._told_not_found = False
    group: Group = [Sample()]
    stranger: Any = object()
    process_all_samples(arguments(tmp_path, SIZES), [group], stranger)
    assert "made from these args" in caplog.text
