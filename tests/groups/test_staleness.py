"""Groups that wait too long: generated anew with their ids, or dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.samples.sample import Sample
from tests.harness import Group, arguments, interrupt, totals

LOG = "curriculum_learning.custom_log.custom_rollout_log_function"


def open_source(folder: Path, **changes: Any) -> DataSource:
    """A data source of one small file; groups of two samples."""
    return DataSource(
        arguments(folder, {"math": 50}, custom_rollout_log_function_path=LOG, **changes)
    )


def end_rollout(source: DataSource, rollout_id: int, groups: list[Group] | None = None) -> None:
    """A rollout is over in which these groups were trained."""
    source.observe(groups or [], rollout_id=rollout_id, fate="trained")


def begin(source: DataSource) -> Group:
    """A group begun at step 0, interrupted in steps 0 and 1, and waiting at step 2."""
    (group,) = source.get_samples(1)
    source.add_samples([interrupt(group)])
    end_rollout(source, 0)
    (group,) = source.get_samples(1)
    source.add_samples([interrupt(group)])
    end_rollout(source, 1)
    return group


@pytest.mark.parametrize("on_stale", [None, "reset"])
def test_an_old_group_is_generated_anew(tmp_path: Path, on_stale: str | None) -> None:
    """Older than max_staleness: the same ids and prompt, none of its tokens, and counted."""
    source = open_source(tmp_path, max_staleness=1, on_stale=on_stale)
    old = begin(source)
    (group,) = source.get_samples(1)
    for sample, before in zip(group, old, strict=True):
        assert (sample.group_index, sample.index) == (before.group_index, before.index)
        assert sample.prompt == before.prompt
        assert (sample.response, sample.tokens, sample.status) == ("", [], Sample.Status.PENDING)
        assert sample.metadata["data_source_rollout_step"] == 2
    assert source.source_counts()["math"]["stale_reset"] == 1
    # Its age begins again with its first new token.
    source.add_samples([interrupt(group)])
    assert source.source_status()["math"]["buffer_age/max"] == 0
    end_rollout(source, 2)
    (again,) = source.get_samples(1)
    assert again[0].response == "xxx"
    assert source.source_counts()["math"]["stale_reset"] == 1


def test_a_group_within_the_limit_goes_on(tmp_path: Path) -> None:
    """As old as max_staleness allows: it is served with all its tokens."""
    source = open_source(tmp_path, max_staleness=2)
    begin(source)
    assert source.source_status()["math"]["buffer_age/mean"] == 2
    (group,) = source.get_samples(1)
    assert group[0].response == "xxxxxx"


def test_an_old_group_can_be_dropped(tmp_path: Path) -> None:
    """With on_stale: drop it is gone, counted, and where what is trained is the target, owed."""
    source = open_source(tmp_path, max_staleness=1, on_stale="drop", mixture_target="trained")
    old = begin(source)
    (group,) = source.get_samples(1)
    assert group[0].group_index != old[0].group_index
    assert source.get_buffer_length() == 0
    counts = source.source_counts()["math"]
    assert (counts["stale_dropped"], counts["owed"] + counts["replaced"]) == (1, 1)


def test_a_group_without_a_token_has_no_age(tmp_path: Path) -> None:
    """What came back untouched can wait for ever, and its age begins with its first token."""
    source = open_source(tmp_path, max_staleness=0)
    (group,) = source.get_samples(1)
    source.add_samples([group])
    assert "buffer_age/max" not in source.source_status()["math"]
    for rollout_id in range(5):
        end_rollout(source, rollout_id)
    (group,) = source.get_samples(1)
    source.add_samples([interrupt(group)])
    assert source.source_status()["math"]["buffer_age/max"] == 0
    assert totals(source.state_dict()["groups"])["reset"] == 0


@pytest.mark.parametrize("in_flight", [False, True])
def test_ages_survive_a_resume(tmp_path: Path, in_flight: bool) -> None:
    """A group's age is that of its first token, whether it waits or is in flight at the save."""
    source = open_source(tmp_path, max_staleness=2)
    begin(source)
    if in_flight:
        source.get_samples(1)
    again = open_source(tmp_path, max_staleness=2)
    again.load_state_dict(source.state_dict())
    assert again.source_status()["math"]["buffer_age/max"] == 2
    end_rollout(again, 2)
    (group,) = again.get_samples(1)
    assert group[0].response == ""
    assert again.source_counts()["math"]["stale_reset"] == 1


def test_old_groups_are_gone_before_a_buffer_filter_sees_them(tmp_path: Path) -> None:
    """A user's filter chooses among groups that may be served."""
    seen: list[str] = []

    def choose(args: Any, rollout_id: None, buffer: list[Group], room: int) -> list[Group]:
        seen.extend(group[0].response for group in buffer)
        chosen, buffer[:] = buffer[:room], buffer[room:]
        return chosen

    source = open_source(tmp_path, max_staleness=1, buffer_filter_path=choose)
    begin(source)
    seen.clear()
    source.get_samples(1)
    assert seen == [""]
