from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import GroupError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from tests.harness import (
    Group,
    data_source,
    indices,
    interrupt,
    name_of,
    totals,
)

THREE = {"math": 40, "code": 70, "chat": 25}
SHARES = {"math": 0.3, "code": 0.5, "chat": 0.2}


calls: list[tuple[Any, Any, list[int], int]] = []


behaviour = types.SimpleNamespace(pick=lambda buffer, room: [])


def recording_filter(args: Any, rollout_id: Any, buffer: list[Group], room: int) -> list[Group]:
    """Records its calls and picks as the test has set."""
    calls.append((args, rollout_id, [group[0].group_index for group in buffer], room))
    return behaviour.pick(buffer, room)  # type: ignore[no-any-return]  # set by the tests


@pytest.fixture
def filtered(tmp_path: Path) -> tuple[DataSource, list[Group]]:
    """A data source with a buffer filter and 8 waiting groups, returned in reverse order."""
    calls.clear()
    source = data_source(
        tmp_path, THREE, data_source_weights=SHARES,
        buffer_filter_path="tests.groups.test_buffers.recording_filter",
    )  # fmt: skip
    out = source.get_samples(8)
    assert calls == []
    source.add_samples([interrupt(group) for group in reversed(out)])
    return source, out


def take(buffer: list[Group], count: int) -> list[Group]:
    """Remove and return the first groups, as slime's filters do."""
    taken = buffer[:count]
    del buffer[:count]
    return taken


def test_a_filter_is_called_once_per_source_oldest_first(
    filtered: tuple[DataSource, list[Group]],
) -> None:
    """The filter is called per source, oldest group first, with the room that is left."""
    source, out = filtered
    behaviour.pick = lambda buffer, room: take(buffer, 2)
    served = source.get_samples(20)
    by_source: dict[str, list[int]] = {}
    for group in reversed(out):
        by_source.setdefault(name_of(group), []).append(group[0].group_index)
    assert [(call[1], call[2], call[3]) for call in calls] == [
        (None, waiting, 20 - sum(min(2, len(w)) for w in list(by_source.values())[:i]))
        for i, waiting in enumerate(by_source.values())
    ]
    assert calls[0][0] is source.args
    expected = [index for waiting in by_source.values() for index in waiting[:2]]
    assert [indices(group)[0] for group in served[: len(expected)]] == expected
    assert [indices(group)[0] for group in served[len(expected) :]] == list(
        range(8, 8 + 20 - len(expected))
    )
    assert source.get_buffer_length() == 8 - len(expected)


def test_a_filter_that_takes_nothing_leaves_all_waiting(
    filtered: tuple[DataSource, list[Group]],
) -> None:
    """Fresh rows are served, and all groups keep waiting, in order."""
    source, _ = filtered
    behaviour.pick = lambda buffer, room: []
    assert [indices(group)[0] for group in source.get_samples(5)] == [8, 9, 10, 11, 12]
    behaviour.pick = take
    assert sorted(indices(group)[0] for group in source.get_samples(8)) == list(range(8))
    assert source.get_buffer_length() == 0


def test_a_filter_is_not_asked_when_there_is_no_room(
    filtered: tuple[DataSource, list[Group]],
) -> None:
    """Once the request is full the filter is not called for the remaining sources."""
    source, _ = filtered
    behaviour.pick = take
    assert len(source.get_samples(1)) == 1
    assert len(calls) == 1


def test_what_a_filter_removes_is_counted_as_dropped(
    filtered: tuple[DataSource, list[Group]],
) -> None:
    """Groups that the filter removes without returning them count as dropped."""
    source, _ = filtered

    def discard(buffer: list[Group], room: int) -> list[Group]:
        buffer.clear()
        return []

    behaviour.pick = discard
    assert [indices(group)[0] for group in source.get_samples(2)] == [8, 9]
    assert source.get_buffer_length() == 0
    assert totals(source.state_dict()["groups"])["dropped"] == 8


@pytest.mark.parametrize(
    ("pick", "problem"),
    [
        (lambda buffer, room: take(buffer, room + 1), "at most num_samples"),
        (lambda buffer, room: buffer[:1], "still in the buffer"),
        (lambda buffer, room: None, "returned a NoneType"),
        (lambda buffer, room: take(buffer, 1) * 2, "twice"),
        (lambda buffer, room: [[1, 2]], "not in the buffer"),
        (lambda buffer, room: buffer.append([1, 2]) or [], "only remove groups"),
    ],
)
def test_a_filter_that_breaks_its_contract_loses_nothing(
    filtered: tuple[DataSource, list[Group]], pick: Any, problem: str
) -> None:
    """Too many groups, one still in the buffer or a foreign one: an error, and all keep waiting."""
    source, _ = filtered
    behaviour.pick = pick
    with pytest.raises(GroupError, match=problem) as raised:
        source.get_samples(2)
    assert raised.value.key == "buffer_filter_path"
    assert source.get_buffer_length() == 8
    behaviour.pick = take
    assert sorted(indices(group)[0] for group in source.get_samples(9)) == list(range(9))
