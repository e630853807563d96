from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import GroupError
from curriculum_learning.samples.sample import Sample
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
LOG = {"custom_rollout_log_function_path": "curriculum_learning.custom_log.custom_rollout_log_function"}  # fmt: skip  # noqa: E501 - one value


def test_returned_groups_come_first_oldest_first(tmp_path: Path) -> None:
    """Waiting groups go before fresh rows, in the order of their return, over all sources."""
    source = data_source(tmp_path, THREE, data_source_weights=SHARES)
    out = source.get_samples(12)
    for number in (7, 2, 9, 4):
        source.add_samples([interrupt(out[number])])
    assert source.get_buffer_length() == 4
    served = source.get_samples(3) + source.get_samples(4)
    assert [indices(group)[0] for group in served] == [7, 2, 9, 4, 12, 13, 14]
    assert served[0] is out[7]


def test_returned_groups_are_served_when_the_weight_has_fallen_to_0(tmp_path: Path) -> None:
    """A returned group does not wait for its source's weight to come back."""
    weights = ["lambda s: 1 if s < 1 else 0", 1]
    source = data_source(tmp_path, {"a": 5, "b": 5}, data_source_weights=weights)
    out = [group for group in source.get_samples(6) if name_of(group) == "a"]
    source.add_samples(out)
    source.set_rollout_step(1)
    assert [name_of(group) for group in source.get_samples(5)] == ["a", "a", "a", "b", "b"]


def test_a_fan_out_group_is_taken_back(tmp_path: Path) -> None:
    """A group whose elements are lists of samples is buffered and served unchanged."""
    source = data_source(tmp_path, THREE)
    (first, second) = source.get_samples(1)[0]
    twin = Sample.from_dict(first.to_dict())
    group = [[first, twin], [second]]
    source.add_samples([group])
    assert source.get_samples(1) == [group]


def test_a_bad_return_takes_nothing_in(tmp_path: Path) -> None:
    """Each kind of bad group raises an error that names it; the call takes in no group."""
    source = data_source(tmp_path, THREE, data_source_weights=SHARES)
    other = data_source(tmp_path, THREE)
    out = source.get_samples(10)
    good = out[0]

    def changed(group: Group, **changes: Any) -> Group:
        copies = [Sample.from_dict({**s.to_dict(), "metadata": dict(s.metadata)}) for s in group]
        for key, value in changes.items():
            setattr(copies[1], key, value)
        return copies

    def tagged(group: Group, **tags: Any) -> Group:
        copies = changed(group)
        for copy in copies:
            copy.metadata.update(tags)
        return copies

    cases: list[tuple[Any, str]] = [
        (out[1][:1], "has 1 samples; a group has n_samples_per_prompt=2"),
        (out[1] + out[2], "has 4 samples"),
        (out[1][0], "not a list of samples"),
        ([1, 2], "objects that are not Samples"),
        ([out[1][0], out[2][1]], "group_index"),
        (changed(out[1], group_index=None), "group_index"),
        (changed(out[1], index=77), "index"),
        (changed(out[1], metadata={}), "source tags"),
        (changed(out[1], metadata=None), "source tags"),
        (tagged(out[1], data_source="nosuch", source_name="nosuch"), "nosuch"),
        (tagged(out[1], data_source="chat"), "source tags"),
        (tagged(out[0], data_source="chat", source_name="chat"), "was served from 'code'"),
        (other.get_samples(20)[15], "group_index 15, was never served"),
        (changed(out[1], metadata={**out[1][1].metadata, "bad": object()}), "metadata.bad"),
        (good, "given back already"),
        ([[out[1][0], out[1][1]], []], "objects that are not Samples"),
        ([[out[1][0]], [out[1][0]]], "index"),
        (changed(out[1], group_index=[1]), "group_index"),
        (changed(out[1], index=[1]), "index"),
        (tagged(out[1], data_source=["code"]), "source tags"),
    ]
    for bad, piece in cases:
        with pytest.raises(GroupError) as raised:
            source.add_samples([good, bad])
        assert piece in str(raised.value)
        assert source.get_buffer_length() == 0
    with pytest.raises(GroupError, match="list of groups"):
        source.add_samples(good[0])
    source.add_samples([good, out[1]])
    with pytest.raises(GroupError, match="given back already"):
        source.add_samples([out[1]])
    source.observe(out[2], fate="trained")
    with pytest.raises(GroupError, match="trained, dropped or given back already"):
        source.add_samples([out[2]])
    assert [indices(group)[0] for group in source.get_samples(3)] == [0, 1, 10]


def test_a_group_must_say_its_row_where_nobody_else_knows(tmp_path: Path) -> None:
    """Without reports the ledger forgets groups; it then refuses a group that has lost its row."""
    source = data_source(tmp_path, THREE, rollout_batch_size=1)
    (group,) = source.get_samples(1)
    source.get_samples(60)
    source.get_samples(1)
    for sample in group:
        sample.metadata = {key: sample.metadata[key] for key in ("data_source", "source_name")}
    with pytest.raises(GroupError, match="data_source_row"):
        source.add_samples([group])


def test_a_group_that_is_trained_while_it_waits_is_not_served_again(tmp_path: Path) -> None:
    """A group that an engine gives back and trains all the same is not served again."""
    source = data_source(tmp_path, THREE)
    out = source.get_samples(3)
    source.add_samples(out[:2])
    source.observe(out[0], fate="trained")
    assert [indices(group)[0] for group in source.get_samples(2)] == [1, 3]
    assert totals(source.state_dict()["groups"])["trained"] == 1
    with pytest.raises(GroupError, match="trained, dropped or given back"):
        source.add_samples([out[0]])


@pytest.mark.parametrize("accounting", [True, False])
def test_a_group_of_another_run_is_refused(tmp_path: Path, accounting: bool) -> None:
    """Ids are the same in every run; the row and the epoch tell that a group is another one."""
    source = data_source(tmp_path, {"math": 40})
    other = data_source(tmp_path, {"math": 40}, rollout_seed=7)
    if accounting:
        source.observe([], fate="trained")
    out, foreign = source.get_samples(4), other.get_samples(4)
    mixed = [out[1][0], Sample.from_dict(out[1][1].to_dict())]
    mixed[1].metadata = {**mixed[1].metadata, "data_source_epoch": 1}
    for group, key in ((foreign[0], "data_source_row"), (mixed, "data_source_epoch")):
        with pytest.raises(GroupError, match=rf"'{key}'.*another run") as raised:
            source.add_samples([out[2], group])
        assert raised.value.key == key
        assert source.get_buffer_length() == 0
    source.add_samples(out)
    assert source.get_samples(4) == out


def test_a_group_that_loses_its_metadata_while_it_waits_is_tagged_anew(tmp_path: Path) -> None:
    """An engine may clear the metadata of samples that it has given back; nothing is lost."""
    source = data_source(tmp_path, THREE)
    out = source.get_samples(6)
    expected = [dict(group[0].metadata) for group in out]
    source.add_samples([interrupt(group) for group in out])
    for number, group in enumerate(out):
        for sample in group:
            sample.metadata = (None, {}, {"id": 5})[number % 3]
    served = source.get_samples(6)
    assert [indices(group)[0] for group in served] == [0, 1, 2, 3, 4, 5]
    for group, before in zip(served, expected, strict=True):
        tags = {key: value for key, value in before.items() if key != "id"}
        assert all(sample.metadata.items() >= tags.items() for sample in group)
        source.add_samples([group])


def test_surplus_without_metadata_is_served_again(tmp_path: Path) -> None:
    """A finished group whose metadata the engine has cleared is kept, and tagged anew."""
    source = data_source(tmp_path, THREE, surplus="keep", **LOG)
    out = source.get_samples(2)
    for sample in out[1]:
        sample.metadata, sample.response, sample.response_length = None, "done", 4
    source.rollout_finished(out)
    source.observe(out[0], rollout_id=0, fate="trained")
    resumed = data_source(tmp_path, THREE, surplus="keep", **LOG)
    resumed.load_state_dict(source.state_dict())
    for one in (source, resumed):
        (again,) = one.get_samples(1)
        assert indices(again)[0] == 1
        assert again[0].response == "done"
        assert {sample.metadata["data_source"] for sample in again} <= set(THREE)
