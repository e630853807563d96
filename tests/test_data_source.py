from __future__ import annotations

import argparse
import dataclasses
import datetime
import gc
import random
import sys
import types
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum_learning import ConfigurationError, DataError, GroupError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.groups.served import listed
from curriculum_learning.samples.sample import Prompt, Sample, make_group
from tests.engine import SynchronousEngine
from tests.harness import (
    Group,
    arguments,
    as_data,
    data_source,
    interrupt,
    name_of,
    row_of,
    totals,
    write_rows,
)

THREE = {"math": 40, "code": 70, "chat": 25}
SHARES = {"math": 0.3, "code": 0.5, "chat": 0.2}


def indices(group: Group) -> tuple[int, list[int]]:
    """The ids of a group and of its samples."""
    (group_index,) = {sample.group_index for sample in group}
    return group_index, [sample.index for sample in group]


# The mixture


@pytest.mark.parametrize("request_size", [1, 7, 256])
def test_request_size_does_not_matter(tmp_path: Path, request_size: int) -> None:
    """Asked 1, 7 or 256 at a time: the same sequence, counts below 1 off at every group."""
    by_one = data_source(tmp_path, THREE, data_source_weights=SHARES)
    expected = [row_of(by_one.get_samples(1)[0]) for _ in range(1000)]
    source = data_source(tmp_path, THREE, data_source_weights=SHARES)
    served: list[Group] = []
    while len(served) < 1000:
        served += source.get_samples(request_size)
    assert [row_of(group) for group in served[:1000]] == expected
    counts: Counter[str] = Counter()
    for number, group in enumerate(served, 1):
        counts[name_of(group)] += 1
        assert all(abs(counts[name] - number * share) < 1 for name, share in SHARES.items())


def test_a_source_of_weight_0_is_never_served(tmp_path: Path) -> None:
    """Weights .5/.5/0 serve half each and nothing of the third."""
    source = data_source(tmp_path, THREE, data_source_weights=[0.5, 0.5, 0])
    counts = Counter(name_of(group) for n in (3, 1, 96) for group in source.get_samples(n))
    assert counts == {"math": 50, "code": 50}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.sampled_from([3, 20, 200]))
def test_the_mixture_of_draws_is_exact_whatever_comes_back(
    tmp_path_factory: pytest.TempPathFactory, seed: int, size: int
) -> None:
    """With groups returned at random draws stay below 1 off, and no group is charged twice."""
    randomness = random.Random(seed)
    sizes = {f"s{i}": randomness.randrange(1, 30) for i in range(size)}
    weights = [randomness.random() ** 3 + 1e-3 for _ in sizes]
    source = data_source(
        tmp_path_factory.mktemp("mix"), sizes, data_source_weights=weights, n_samples_per_prompt=1
    )
    shares = {name: weight / sum(weights) for name, weight in zip(sizes, weights, strict=True)}
    drawn: Counter[str] = Counter()
    seen: set[int] = set()
    out: list[Group] = []
    for _ in range(40):
        for group in source.get_samples(randomness.choice([1, 2, 7, 20])):
            out.append(group)
            if group[0].group_index in seen:
                continue
            seen.add(group[0].group_index)
            drawn[name_of(group)] += 1
            total = len(seen)
            assert all(abs(drawn[name] - total * share) < 1 for name, share in shares.items())
        randomness.shuffle(out)
        back = [out.pop() for _ in range(randomness.randrange(len(out) + 1))]
        source.add_samples([interrupt(group) for group in back])


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_varying_schedules_stay_within_the_bound(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Under any schedule a source is at most H(S) + 1 off the sum of its shares."""
    points = st.lists(st.floats(0, 10), min_size=12, max_size=12)
    values = [data.draw(points) for _ in range(3)]
    values[0] = [value + 0.1 for value in values[0]]
    weights = [{"schedule": "levels", "values": v, "steps": 12} for v in values]
    source = data_source(
        tmp_path_factory.mktemp("mix"), {"a": 3, "b": 3, "c": 3}, data_source_weights=weights
    )
    expected, counts = Counter[str](), Counter[str]()
    for step in range(12):
        source.set_rollout_step(step)
        total = sum(column[step] for column in values)
        for group in source.get_samples(data.draw(st.integers(0, 9))):
            counts[name_of(group)] += 1
            for name, column in zip("abc", values, strict=True):
                expected[name] += column[step] / total  # type: ignore[assignment]  # shares
        assert all(abs(counts[name] - expected[name]) <= 1 / 3 + 1 / 2 + 1 + 1 for name in "abc")


def test_sources_are_interleaved_within_a_request(tmp_path: Path) -> None:
    """A request is in ledger order: cutting off its tail costs no source more than one group."""
    source = data_source(tmp_path, THREE, data_source_weights=SHARES)
    request = source.get_samples(60)
    for cut in range(61):
        counts = Counter(name_of(group) for group in request[:cut])
        assert all(abs(counts[name] - cut * share) < 1 for name, share in SHARES.items())


def test_a_request_may_be_larger_than_several_epochs(tmp_path: Path) -> None:
    """A source of 5 rows asked for 16 serves 16, each row once per epoch."""
    groups = data_source(tmp_path, {"tiny": 5}).get_samples(16)
    rows = [row_of(group) for group in groups]
    assert [epoch for _, epoch, _ in rows] == [0] * 5 + [1] * 5 + [2] * 5 + [3]
    assert len(set(rows)) == 16


def test_equal_sources_have_orders_of_their_own(tmp_path: Path) -> None:
    """Two sources of equal size are not walked in step; without shuffle it is file order."""
    groups = data_source(tmp_path, {"a": 50, "b": 50}).get_samples(100)
    orders = [[row_of(g)[2] for g in groups if name_of(g) == name] for name in "ab"]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(50))
    plain = data_source(tmp_path, {"a": 5, "b": 5}, rollout_shuffle=False).get_samples(20)
    assert [row_of(g)[2] for g in plain if name_of(g) == "a"] == [0, 1, 2, 3, 4] * 2


# Ids, tags and samples


def test_300_rollouts_keep_every_promise(tmp_path: Path) -> None:
    """Ids are unique and never change, no row comes twice in an epoch, no returned group waits."""
    args = arguments(tmp_path, THREE, data_source_weights=SHARES)
    source = DataSource(args)
    ids: dict[tuple[str, int, int], tuple[int, list[int]]] = {}
    rows: dict[int, tuple[str, int, int]] = {}
    served_again = 0

    def check(group: Group) -> None:
        nonlocal served_again
        row = row_of(group)
        served_again += row in ids
        assert ids.setdefault(row, indices(group)) == indices(group)
        assert rows.setdefault(group[0].group_index, row) == row
        if group[0].status is Sample.Status.PENDING:
            assert source.get_buffer_length() == 0, "a fresh row was served while groups wait"

    engine = SynchronousEngine(source, args, batch=8, request=11, seed=5, drop=0.2, on_served=check)
    for rollout_id in range(300):
        engine.rollout(rollout_id)
    samples = [index for _, group in ids.values() for index in group]
    assert sorted(samples) == list(range(len(samples)))
    assert sorted(rows) == list(range(len(rows)))
    assert served_again > 300
    assert len(rows) > 300 * 8


def test_the_tags_of_a_sample(tmp_path: Path) -> None:
    """Every sample names its source twice, with the share and the step in force."""
    source = data_source(tmp_path, {"a": 3, "b": 3}, data_source_weights=["lambda s: s + 1", 1])
    source.set_rollout_step(2)
    group = next(group for group in source.get_samples(4) if name_of(group) == "a")
    assert [sample.metadata for sample in group] == [
        {
            "id": group[0].metadata["data_source_row"], "data_source": "a", "source_name": "a",
            "data_source_weight": 0.75, "data_source_rollout_step": 2,
            "data_source_row": group[0].metadata["data_source_row"], "data_source_epoch": 0,
        }
    ] * 2  # fmt: skip
    assert group[0].rollout_id is None
    interrupt(group)
    source.add_samples([group])
    source.set_rollout_step(4)
    (again,) = source.get_samples(1)
    assert again[0].metadata["data_source_weight"] == pytest.approx(5 / 6)
    assert again[0].metadata["data_source_rollout_step"] == 4
    assert again[0].tokens == [0, 1, 2]


def test_samples_share_nothing_that_can_change(tmp_path: Path) -> None:
    """Changing a sample's metadata at any depth changes no other, now or an epoch later."""
    path = write_rows(tmp_path / "a.jsonl", [{"input": "a", "metadata": {"deep": {"list": [1]}}}])
    source = DataSource({"prompt_data": path, "n_samples_per_prompt": 3})
    (group,) = source.get_samples(1)
    group[0].metadata["deep"]["list"].append(2)
    group[0].metadata["new"] = 1
    (later,) = source.get_samples(1)
    for sample in (*group[1:], *later):
        assert sample.metadata["deep"] == {"list": [1]}
        assert "new" not in sample.metadata


def test_samples_are_those_of_the_constructor(tmp_path: Path) -> None:
    """Whatever kind of class samples are, a new one is equal to one that its constructor made."""

    @dataclasses.dataclass
    class Counted(Sample):
        made: int = 0

        def __post_init__(self) -> None:
            self.made = len(self.prompt)

    class Slotted:
        __slots__ = ("group_index", "index", "label", "metadata", "prompt")

        def __init__(self, **values: Any) -> None:
            for name, value in values.items():
                setattr(self, name, value)

    prompt = Prompt("ab", "c", {"id": [1]})
    chat = [{"role": "user", "content": "x"}]
    (talk, _) = make_group(Sample, Prompt(chat, [1], {}), {}, 0, range(2))
    assert talk == Sample(group_index=0, index=0, prompt=chat, label=None) or talk.label == [1]
    assert talk.prompt is not chat
    odd: dict[str, Any] = {"day": datetime.date(2026, 1, 1), "both": (1, [2]), "big": 2**70}
    (dated,) = make_group(Sample, Prompt("", "", odd), {}, 0, range(1))
    assert dated.metadata == odd
    assert dated.metadata["both"][1] is not odd["both"][1]
    for number in (2**70, 1):
        plain = Prompt("", "", {"tests": [{"n": number, "x": [float("inf"), None]}]}, is_json=True)
        first, second = make_group(Sample, plain, {"t": 1}, 0, range(2))
        assert first.metadata == second.metadata == {**plain.metadata, "t": 1}
        assert first.metadata["tests"][0] is not second.metadata["tests"][0]
    for kind in (Sample, Counted, Slotted):
        first, second = make_group(kind, prompt, {"t": 1}, 3, range(6, 8))
        assert (first.group_index, first.index, second.index) == (3, 6, 7)
        assert first.metadata == second.metadata == {"id": [1], "t": 1}
        assert first.metadata["id"] is not second.metadata["id"]
        if kind is not Slotted:
            assert first == kind(group_index=3, index=6, prompt="ab", label="c", metadata={"id": [1], "t": 1})  # fmt: skip  # noqa: E501 - one object
            for field in dataclasses.fields(Sample):
                value = getattr(first, field.name)
                if isinstance(value, (list, dict, Sample.SpecInfo, Sample.PrefixCacheInfo)):
                    assert value is not getattr(second, field.name), field.name


def test_the_contract_of_a_bare_object() -> None:
    """The contract test of slime builds args with three attributes and wants empty samples."""

    class Args:
        rollout_global_dataset = False
        buffer_filter_path = None
        n_samples_per_prompt = 2

    source = DataSource(Args())
    groups = source.get_samples(2)
    assert as_data(groups) == as_data(
        [[Sample(group_index=g, index=2 * g + i) for i in range(2)] for g in range(2)]
    )
    source.add_samples([groups[1]])
    assert source.get_buffer_length() == 1
    assert [indices(group)[0] for group in source.get_samples(2)] == [1, 2]
    assert len(source) == 0
    assert source.dataset is None
    source.save(0)
    source.load(0)


def test_the_rest_of_the_protocol(tmp_path: Path) -> None:
    """len, dataset, metadata and close do what slime and its forks expect."""
    source = data_source(tmp_path, THREE)
    assert len(source) == len(source.dataset or ()) == 135
    assert source.get_metadata() == {}
    source.update_metadata({"a": [1, (2, 3)]})
    assert source.get_metadata() == {"a": [1, (2, 3)]}
    with pytest.raises(ConfigurationError, match=r"'b' is a builtins\.object"):
        source.update_metadata({"b": object()})
    assert source.get_samples(0) == []
    for bad in (-1, 1.5, True, None):
        with pytest.raises(ConfigurationError, match="whole number"):
            source.get_samples(bad)  # type: ignore[arg-type]  # that is the test
    source.close()
    source.close()
    for act in (lambda: source.get_samples(1), lambda: source.load(0)):
        with pytest.raises(ConfigurationError, match="closed"):
            act()


def test_a_data_source_can_be_let_go(tmp_path: Path) -> None:
    """Nothing keeps a data source alive but its owner."""
    source = data_source(tmp_path, THREE)
    source.get_samples(3)
    reference = weakref.ref(source)
    del source
    gc.collect()
    assert reference() is None


# Returned groups


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
    """A group whose elements have become lists of samples is buffered and served as it is."""
    source = data_source(tmp_path, THREE)
    (first, second) = source.get_samples(1)[0]
    twin = Sample.from_dict(first.to_dict())
    group = [[first, twin], [second]]
    source.add_samples([group])
    assert source.get_samples(1) == [group]


def test_a_bad_return_takes_nothing_in(tmp_path: Path) -> None:
    """Each kind of bad group is an error that names it, and the good ones of the call stay out."""
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


def test_an_unreadable_row_costs_nothing(tmp_path: Path) -> None:
    """A row that cannot be read costs nothing: mended, the run goes on as if it had been good."""
    args = arguments(tmp_path, THREE, data_source_weights=SHARES)
    expected = as_data(DataSource(args).get_samples(60))
    source = DataSource(args)
    waiting = source.get_samples(2)
    source.add_samples(waiting)
    path = Path(args.prompt_data[1])
    content = path.read_bytes()
    path.write_bytes(b"#" * len(content))
    for _ in range(3):
        with pytest.raises(DataError, match="'code'"):
            source.get_samples(30)
        assert source.get_buffer_length() == 2
    path.write_bytes(content)
    assert as_data(source.get_samples(60)) == expected


# Buffer filters


calls: list[tuple[Any, Any, list[int], int]] = []
behaviour = types.SimpleNamespace(pick=lambda buffer, room: [])


def recording_filter(args: Any, rollout_id: Any, buffer: list[Group], room: int) -> list[Group]:
    """Records its calls and does what the test wants."""
    calls.append((args, rollout_id, [group[0].group_index for group in buffer], room))
    return behaviour.pick(buffer, room)  # type: ignore[no-any-return]  # set by the tests


@pytest.fixture
def filtered(tmp_path: Path) -> tuple[DataSource, list[Group]]:
    """A source with a buffer filter, and 8 of its groups waiting, returned in reverse order."""
    calls.clear()
    source = data_source(
        tmp_path, THREE, data_source_weights=SHARES,
        buffer_filter_path="tests.test_data_source.recording_filter",
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
    """Sources come in the order of their oldest group, with the room that is left."""
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
    """Fresh rows are served while everything keeps waiting, in its order."""
    source, _ = filtered
    behaviour.pick = lambda buffer, room: []
    assert [indices(group)[0] for group in source.get_samples(5)] == [8, 9, 10, 11, 12]
    behaviour.pick = take
    assert sorted(indices(group)[0] for group in source.get_samples(8)) == list(range(8))
    assert source.get_buffer_length() == 0


def test_a_filter_is_not_asked_when_there_is_no_room(
    filtered: tuple[DataSource, list[Group]],
) -> None:
    """Once the request is full the remaining sources are not asked."""
    source, _ = filtered
    behaviour.pick = take
    assert len(source.get_samples(1)) == 1
    assert len(calls) == 1


def test_what_a_filter_removes_is_counted_as_dropped(
    filtered: tuple[DataSource, list[Group]],
) -> None:
    """Groups removed without being returned are gone, and counted."""
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
    """Too many, a group still in the buffer, a foreign one: an error, and everything stays."""
    source, _ = filtered
    behaviour.pick = pick
    with pytest.raises(GroupError, match=problem) as raised:
        source.get_samples(2)
    assert raised.value.key == "buffer_filter_path"
    assert source.get_buffer_length() == 8
    behaviour.pick = take
    assert sorted(indices(group)[0] for group in source.get_samples(9)) == list(range(9))


# The step


def varying(folder: Path, **changes: Any) -> DataSource:
    """A source whose weights change with every step."""
    weights = [{"schedule": "linear", "start": 0, "end": 1, "steps": 1000}, 1]
    return data_source(folder, {"a": 50, "b": 50}, data_source_weights=weights, **changes)


def test_20_calls_per_rollout_move_the_schedule_one_step(tmp_path: Path) -> None:
    """The step follows the logged rollouts, whatever the number of calls."""
    source = varying(
        tmp_path,
        custom_rollout_log_function_path=(
            "curriculum_learning.custom_log.custom_rollout_log_function"
        ),
    )
    for rollout_id in range(30):
        groups = [group for _ in range(20) for group in source.get_samples(3)]
        steps = {sample.metadata["data_source_rollout_step"] for g in groups for sample in g}
        assert steps == {rollout_id} == {source.rollout_step}
        source.observe(groups, fate="finished")
        source.observe(groups, rollout_id=rollout_id, fate="trained")


def test_the_step_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rollout of slime counts where its module is loaded; evaluating changes nothing."""
    source = varying(tmp_path)
    module = types.ModuleType("slime.rollout.sample_hooks")
    monkeypatch.setitem(sys.modules, "slime.rollout.sample_hooks", module)
    for rollout_id in range(40, 60):
        module._current_rollout_id = rollout_id  # type: ignore[attr-defined]  # slime's own name
        assert source.rollout_step == rollout_id
        group = source.get_samples(300)[0]
        assert source.rollout_step == rollout_id
        source.observe(group, rollout_id=rollout_id, fate="trained")
        assert source.rollout_step == rollout_id + 1
        module._current_rollout_id = rollout_id - 3  # type: ignore[attr-defined]  # an evaluation
        assert source.rollout_step == rollout_id + 1


def test_without_an_engine_drawn_groups_stand_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Until a rollout is told, groups drawn // rollout_batch_size is the step of each draw."""
    source = varying(tmp_path, rollout_batch_size=4)
    groups = source.get_samples(10)
    assert [group[0].metadata["data_source_rollout_step"] for group in groups] == [
        0, 0, 0, 0, 1, 1, 1, 1, 2, 2,
    ]  # fmt: skip
    source.add_samples([interrupt(group) for group in groups[:3]])
    source.get_samples(3)
    assert source.rollout_step == 2
    source.get_samples(50)
    assert caplog.text.count("has not told which rollout") == 1
    source.observe([], rollout_id=3, fate="trained")
    assert source.rollout_step == 4
    source.get_samples(50)
    assert source.rollout_step == 4


def test_without_a_batch_size_either_a_warning_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Schedules that cannot move are pointed out, once; constant weights need no step."""
    source = varying(tmp_path, rollout_batch_size=None)
    source.get_samples(40)
    assert caplog.text.count("rollout_batch_size is not set") == 1
    caplog.clear()
    data_source(tmp_path, THREE, rollout_batch_size=None).get_samples(40)
    assert not caplog.records


def test_set_rollout_step_holds_until_the_next_log(tmp_path: Path) -> None:
    """An explicit step, lower ones included, holds until a rollout is logged."""
    source = varying(tmp_path)
    source.observe([], rollout_id=9, fate="trained")
    source.set_rollout_step(3)
    source.get_samples(100)
    assert source.rollout_step == 3
    source.observe([], fate="trained")
    assert source.rollout_step == 3
    source.observe([], rollout_id=10, fate="trained")
    assert source.rollout_step == 11
    source.observe([], rollout_id=2, fate="trained")
    assert source.rollout_step == 11
    for bad in (-1, 1.5, True, "1"):
        with pytest.raises(ConfigurationError, match="set_rollout_step"):
            source.set_rollout_step(bad)  # type: ignore[arg-type]  # that is the test


def test_observe_takes_flat_and_grouped_samples(tmp_path: Path) -> None:
    """Fates settle groups once, however samples are nested; an unknown fate is an error."""
    source = data_source(tmp_path, THREE)
    out = source.get_samples(6)
    source.observe(out[0], fate="trained")
    source.observe([out[0], out[1]], fate="trained")
    source.observe([[[out[2][0]], out[2][1]]], fate="dropped")
    source.observe(out[3], fate="finished")
    source.observe([Sample()], fate="trained")
    state = source.state_dict()["groups"]
    assert {key: totals(state)[key] for key in ("served", "trained", "dropped")} == {
        "served": 6, "trained": 2, "dropped": 1,
    }  # fmt: skip
    assert [entry[0] for entry in listed(state["in_flight"])] == [3, 4, 5]
    with pytest.raises(ConfigurationError, match="'lost'"):
        source.observe(out[4], fate="lost")  # type: ignore[arg-type]  # that is the test


def test_unheard_of_groups_do_not_pile_up(tmp_path: Path) -> None:
    """After 8 rollouts without news a group is not waited for; it may still come back."""
    source = data_source(tmp_path, THREE)
    out: list[list[Group]] = []
    for rollout_id in range(30):
        out.append(source.get_samples(5))
        source.observe(out[-1][:4], rollout_id=rollout_id, fate="trained")
    assert len(listed(source.state_dict()["groups"]["in_flight"])) <= 10
    source.add_samples([out[2][4]])
    assert source.get_samples(1) == [out[2][4]]
    source.observe(out[1][4], fate="trained")
    with pytest.raises(GroupError, match="trained, dropped or given back"):
        source.add_samples([out[1][4]])
    late = out[4][4]
    row = row_of(late)
    for sample in late:  # the ledger still knows the row, though the group does not say it
        sample.metadata = {"data_source": row[0], "source_name": row[0]}
    source.add_samples([late])
    state = source.state_dict()
    resumed = data_source(tmp_path, THREE)
    resumed.load_state_dict(state)
    served = {group[0].group_index: group for group in resumed.get_samples(20)}
    assert served[late[0].group_index][0].prompt == late[0].prompt


def test_groups_given_up_are_remembered_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group that was given up may still be trained or come back, the latest of them at least."""
    monkeypatch.setattr("curriculum_learning.groups.in_flight._PRESUMED_KEPT", 3)
    source = data_source(tmp_path, {"math": 90}, max_in_flight_rollouts=1)
    groups = source.get_samples(6)
    source.observe([], rollout_id=4, fate="trained")
    source.get_samples(1)
    state = source.state_dict()["groups"]
    assert [entry[0] for entry in listed(state["presumed"])] == [3, 4, 5]
    assert totals(state)["presumed"] == 6
    source.observe(groups[4], fate="trained")
    source.add_samples([groups[5]])
    with pytest.raises(GroupError, match="not in flight"):
        source.add_samples([groups[0]])
    counts = totals(source.state_dict()["groups"])
    assert (counts["presumed"], counts["trained"], counts["returned"]) == (4, 1, 1)


def test_a_group_must_say_its_row_where_nobody_else_knows(tmp_path: Path) -> None:
    """Without reports the ledger forgets; a group that has lost its row is then refused."""
    source = data_source(tmp_path, THREE, rollout_batch_size=1)
    (group,) = source.get_samples(1)
    source.get_samples(60)
    source.get_samples(1)
    for sample in group:
        sample.metadata = {key: sample.metadata[key] for key in ("data_source", "source_name")}
    with pytest.raises(GroupError, match="data_source_row"):
        source.add_samples([group])


def test_a_group_that_is_trained_while_it_waits_is_not_served_again(tmp_path: Path) -> None:
    """What an engine gave back and trained all the same is done with."""
    source = data_source(tmp_path, THREE)
    out = source.get_samples(3)
    source.add_samples(out[:2])
    source.observe(out[0], fate="trained")
    assert [indices(group)[0] for group in source.get_samples(2)] == [1, 3]
    assert totals(source.state_dict()["groups"])["trained"] == 1
    with pytest.raises(GroupError, match="trained, dropped or given back"):
        source.add_samples([out[0]])


def test_a_log_function_of_somebody_else_reports_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With another log function configured the schedule moves, and nothing trained comes again."""
    source = varying(tmp_path, custom_rollout_log_function_path="my.log", rollout_batch_size=4)
    source.get_samples(80)
    assert source.rollout_step == 20
    assert "has not told which rollout" in caplog.text
    resumed = varying(tmp_path, custom_rollout_log_function_path="my.log", rollout_batch_size=4)
    resumed.load_state_dict(source.state_dict())
    assert resumed.get_samples(1)[0][0].group_index == 80


def test_arguments_are_left_alone(tmp_path: Path) -> None:
    """Nothing is attached to args, which engines pickle and send around."""
    args = arguments(tmp_path, THREE)
    before = argparse.Namespace(**vars(args))
    DataSource(args).get_samples(5)
    assert args == before
