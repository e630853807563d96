from __future__ import annotations

import random
from pathlib import Path

import pytest

from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from tests.harness import (
    arguments,
    as_data,
    interrupt,
    row_of,
)

THREE = {"math": 11, "code": 7, "chat": 5}
WEIGHTS = [0.3, "lambda step: 0.2 + min(step / 10, 1)", {"schedule": "levels", "values": [1, 0, 1], "steps": 9}]  # fmt: skip  # noqa: E501 - one table


def test_cut_anywhere_with_groups_in_flight(tmp_path: Path) -> None:
    """After any rollout, resumed once or twice: groups in flight first, then waiting, then new."""
    for cut in range(1, 18):
        args = arguments(
            tmp_path, THREE, data_source_weights=WEIGHTS, max_in_flight_rollouts=99,
            save=str(tmp_path / f"cut at {cut}"),
        )  # fmt: skip
        randomness = random.Random(0)
        source = DataSource(args)
        in_flight: set[int] = set()
        for rollout_id in range(cut):
            groups = source.get_samples(randomness.randrange(1, 7))
            fates = randomness.choices(["trained", "back", "in flight"], k=len(groups))
            told = list(zip(fates, groups, strict=True))
            in_flight |= {group[0].group_index for group in groups}
            gone = [group for fate, group in told if fate != "in flight"]
            in_flight -= {group[0].group_index for group in gone}
            source.add_samples([interrupt(group) for fate, group in told if fate == "back"])
            source.observe(
                [group for fate, group in told if fate == "trained"],
                rollout_id=rollout_id,
                fate="trained",
            )
        source.save(cut - 1)
        for _ in range(2):
            resumed = DataSource(args)
            resumed.load(cut - 1)
            resumed.save(cut - 1)
        again = resumed.get_samples(len(in_flight))
        assert [group[0].group_index for group in again] == sorted(in_flight)
        waiting = source.get_buffer_length()
        assert as_data(resumed.get_samples(waiting + 9)) == as_data(source.get_samples(waiting + 9))


def test_groups_in_flight_are_served_again_first(tmp_path: Path) -> None:
    """After a resume groups in flight come first, as drawn, with their ids; then waiting ones."""
    args = arguments(tmp_path, THREE, data_source_weights=[0.3, 0.5, 0.2])
    source = DataSource(args)
    out = source.get_samples(9)
    before = as_data(out)
    source.observe(out[0], rollout_id=0, fate="trained")
    interrupt(out[4])
    source.add_samples([out[4]])
    source.save(0)
    following = [row_of(group) for group in source.get_samples(4)[1:]]
    resumed = DataSource(args)
    resumed.load(0)
    served = resumed.get_samples(11)
    again = [1, 2, 3, 5, 6, 7, 8, 4]
    assert [group[0].group_index for group in served] == [*again, 9, 10, 11]
    for group, index in zip(served, again, strict=False):
        assert [sample.index for sample in group] == [2 * index, 2 * index + 1]
        if index != 4:
            for sample, old in zip(group, before[index], strict=True):
                new = sample.to_dict()
                for key in ("data_source_rollout_step", "data_source_weight"):
                    assert key in new["metadata"]
                    old["metadata"][key] = new["metadata"][key]
                assert new == old
    assert served[7][0].tokens == [0, 1, 2]
    assert [row_of(group) for group in served[8:]] == following


def test_partial_groups_in_flight_come_back_whole(tmp_path: Path) -> None:
    """A group in flight that had come back before keeps the tokens it had then."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    groups = source.get_samples(4)
    source.add_samples([interrupt(groups[1])])
    expected = as_data([groups[1]])
    source.observe(groups[0], rollout_id=0, fate="trained")
    (again,) = source.get_samples(1)
    interrupt(again)  # generated further, which nobody has given back
    source.observe(groups[2], rollout_id=1, fate="trained")
    source.save(1)
    for _ in range(2):  # the second time from a state where it waits
        resumed = DataSource(args)
        resumed.load(1)
        resumed.save(1)
        served = resumed.get_samples(3)
        assert [group[0].group_index for group in served] == [1, 3, 4]
        for old, new in zip(expected[0], as_data(served[:1])[0], strict=True):
            assert new.pop("metadata")["id"] == old["metadata"]["id"]
            assert new == {key: value for key, value in old.items() if key != "metadata"}


def test_without_reports_groups_in_flight_are_not_served_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without reports a resume continues after the last group issued, and the log says so."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.get_samples(5)
    source.save(0)
    source.save(0)
    assert caplog.text.count("nothing has reported which groups were trained") == 1
    resumed = DataSource(args)
    resumed.load(0)
    assert resumed.get_samples(1)[0][0].group_index == 5
    assert "5 groups were in flight" in caplog.text
    assert "custom_rollout_log_function_path" in caplog.text


def test_reports_that_begin_with_a_resume_do_not_reach_back(tmp_path: Path) -> None:
    """A state without reports serves nothing again, even if reports are configured later."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.get_samples(5)
    source.save(0)
    args.custom_rollout_log_function_path = (
        "curriculum_learning.custom_log.custom_rollout_log_function"
    )
    for rollout_id in (0, 1):  # the second time from a state with reports
        resumed = DataSource(args)
        resumed.load(rollout_id)
        assert resumed.get_samples(1)[0][0].group_index == 5
        resumed.load(rollout_id)
        resumed.save(1)
