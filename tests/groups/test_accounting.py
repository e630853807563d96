"""Random runs, held against a plain account of what must have become of every group."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import tempfile
from collections import Counter
from collections.abc import Collection
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from curriculum_learning import CheckpointError, GroupError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.groups.served import listed
from tests.harness import Group, arguments, interrupt, row_of, totals

NAMES = ("math", "code", "chat")
LOG = "curriculum_learning.custom_log.custom_rollout_log_function"
BOTH_HOOKS = {
    "custom_rollout_log_function_path": LOG,
    "rollout_all_samples_process_path": "curriculum_learning.custom_log.process_all_samples",
    "dynamic_sampling_filter_path": "tests.engine.keeps",
    "drop": 0.3,
    "mixture_target": "served",
}
FATES = ("trained", "refused", "surplus", "back", "lost")
RENEWED = ("data_source_rollout_step", "data_source_weight")
"""The tags that a group gets anew whenever it is served."""

SIZES = st.fixed_dictionaries({name: st.integers(5, 12) for name in NAMES})
WEIGHTS = st.fixed_dictionaries({name: st.integers(0, 4) for name in NAMES}).filter(
    lambda weights: any(weights.values())
)


class Entry(NamedTuple):
    """A group that is in flight or waits."""

    source: str
    row: int
    epoch: int
    step: int
    """At which it was served last."""
    fresh: str
    """As it was when it was drawn."""
    begun: str | None = None
    """As it was when it came back last."""


@dataclasses.dataclass
class Account:
    """What must be true at one moment of a run."""

    in_flight: dict[int, Entry] = dataclasses.field(default_factory=dict)
    waiting: dict[int, Entry] = dataclasses.field(default_factory=dict)
    """The one that is served next comes first."""
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    next_group: int = 0
    step: int = 0
    drawn: Counter[str] = dataclasses.field(default_factory=Counter)
    due: dict[str, Fraction] = dataclasses.field(
        default_factory=lambda: dict.fromkeys(NAMES, Fraction(0))
    )
    """What each source was to be drawn by now."""
    weights: dict[str, int] | None = None
    """Those of the latest draw."""
    varied: bool = False
    """The weights have not been the same for all draws."""
    history: int = 0
    """Stands for all draws so far and their weights."""

    def copy(self) -> Account:
        """The account as it is now."""
        return Account(**{key: copy.copy(value) for key, value in vars(self).items()})

    def settle(self, group_indices: Collection[int], fate: str) -> None:
        """Those of the groups that are in flight or wait are done with."""
        for group_index in group_indices:
            if self.in_flight.pop(group_index, None) or self.waiting.pop(group_index, None):
                self.counts[fate] += 1

    def take_back(self, group_index: int, begun: str | None) -> None:
        """A group in flight is to be served again."""
        self.waiting[group_index] = self.in_flight.pop(group_index)._replace(begun=begun)
        self.counts["returned"] += 1

    def resume(self) -> None:
        """The run goes on from here: what was in flight comes before what waits."""
        self.waiting = {**dict(sorted(self.in_flight.items())), **self.waiting}
        self.in_flight = {}


def contents(group: Group) -> str:
    """A group as it is now, without the tags that serving renews."""
    samples = [dict(sample.to_dict()) for sample in group]
    for sample in samples:
        metadata = sample["metadata"].items()
        sample["metadata"] = {key: value for key, value in metadata if key not in RENEWED}
    return json.dumps(samples, sort_keys=True)


def id_of(group: Group) -> int:
    """The id of a group."""
    return int(group[0].group_index)


class Books(RuleBasedStateMachine):
    """A data source and the account of it."""

    source: DataSource

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.account = Account()
        self.known: dict[int, Group] = {}
        """What was served last under each id, runs that were given up included."""
        self.order: dict[tuple[str, int], int] = {}
        """The row of each draw of a source, the same however often the run is resumed."""
        self.nexts: dict[int, str] = {}
        """The source that was next after a history of draws."""

    def open(self, sizes: dict[str, int], weights: dict[str, int], **changes: Any) -> None:
        """Begin a run."""
        self.sizes, self.weights = sizes, {name: weights[name] for name in sizes}
        self.args = arguments(
            Path(self.folder.name),
            sizes,
            data_source_weights=weights,
            num_rollout=1,  # the weights need not be tried at more steps: they are constant
            max_in_flight_rollouts=10**6,  # no group is given up, however long the run is
            **changes,
        )
        self.source = DataSource(self.args)

    def reopen(self, weights: dict[str, int]) -> None:
        """Go on with a new data source, with these weights and the sources in their order."""
        self.source.close()
        paths = [str(Path(self.folder.name) / f"{name}.jsonl") for name in weights]
        self.weights = weights
        self.args = argparse.Namespace(
            **{**vars(self.args), "prompt_data": paths, "data_source_weights": weights}
        )
        self.source = DataSource(self.args)

    def teardown(self) -> None:
        """End the run."""
        self.source.close()
        self.folder.cleanup()

    def serve(self, count: int, tokens: int = 0) -> list[Group]:
        """Ask for groups, compare them with those due, and begin to generate them."""
        account = self.account
        groups = self.source.get_samples(count)
        total = sum(self.weights.values())
        again = list(account.waiting)[:count]
        fresh = range(account.next_group, account.next_group + count - len(again))
        for group, group_index in zip(groups, [*again, *fresh], strict=True):
            if group_index in account.waiting:
                entry = account.waiting.pop(group_index)
                assert contents(group) == (entry.begun or entry.fresh)
            else:
                entry = self.draw(group)
            assert {sample.group_index for sample in group} == {group_index}
            assert [sample.index for sample in group] == [2 * group_index, 2 * group_index + 1]
            for sample in group:
                assert sample.prompt == f"{entry.source} {entry.row}"
                step, share = (sample.metadata[tag] for tag in RENEWED)
                assert step == account.step
                assert share == pytest.approx(self.weights[entry.source] / total)
            account.in_flight[group_index] = entry._replace(step=account.step)
            account.counts["served"] += 1
            self.known[group_index] = interrupt(group, tokens)
        return groups

    def draw(self, group: Group) -> Entry:
        """A group is of the row and the source whose turn it is."""
        account = self.account
        name, epoch, row = row_of(group)
        first, number = epoch * self.sizes[name], account.drawn[name]
        assert epoch == number // self.sizes[name]
        assert self.order.setdefault((name, number), row) == row
        served = {self.order[name, earlier] for earlier in range(first, number)}
        assert row in {*range(self.sizes[name])} - served
        # The order of the sources decides between equal claims.
        past = hash((account.history, *self.weights.items()))
        assert self.nexts.setdefault(past, name) == name
        account.history = hash((past, name))
        account.varied |= account.weights not in (None, self.weights)
        account.weights = self.weights
        account.next_group += 1
        account.drawn[name] += 1
        bound = sum(Fraction(1, n + 1) for n in range(len(NAMES))) + 1 if account.varied else 1
        for source, weight in self.weights.items():
            account.due[source] += Fraction(weight, sum(self.weights.values()))
            assert abs(account.drawn[source] - account.due[source]) < bound
        return Entry(name, row, epoch, account.step, contents(group))

    @invariant()
    def agrees(self) -> None:
        """The data source says of every group what the account says."""
        account, state = self.account, self.source.state_dict()
        groups = state["groups"]
        assert +totals(groups) == +account.counts
        for found, entries in (
            (sorted(listed(groups["in_flight"])), dict(sorted(account.in_flight.items()))),
            (state["waiting"], account.waiting),
        ):
            assert found == [
                [
                    group_index,
                    entry.source,
                    2 * group_index,
                    entry.row,
                    entry.epoch,
                    entry.step,
                    False,
                ]
                for group_index, entry in entries.items()
            ]
        out = len(account.in_flight) + len(account.waiting)
        assert account.counts["trained"] + account.counts["dropped"] + out == account.next_group
        assert groups["next_group"] == account.next_group
        assert groups["next_index"] == 2 * account.next_group
        assert self.source.rollout_step == account.step
        assert self.source.get_buffer_length() == len(account.waiting)
        waiting = Counter(entry.source for entry in account.waiting.values())
        for name, status in self.source.source_status().items():
            assert status["buffer_length"] == waiting[name]
            assert status["epoch"] == account.drawn[name] // self.sizes[name]
            assert state["mixture"]["sources"][name]["drawn"] == account.drawn[name]


class Reports(Books):
    """Requests, returns, reports, saves and resumes in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: dict[int, Account] = {}
        """At the end of the latest rollouts."""
        self.logged: int | None = None
        """The rollout that was logged, while nothing of the next one has been heard."""
        self.changed = False
        """Something came back or was reported since the rollout that was logged was written."""
        self.files: dict[tuple[str, int], Account] = {}
        """What lies in the folder; the file that was written last comes last."""
        self.unwritten = 0
        """States that are perhaps still being written in the background, at most."""

    @initialize(sizes=SIZES, weights=WEIGHTS, autosave=st.booleans())
    def start(self, sizes: dict[str, int], weights: dict[str, int], autosave: bool) -> None:
        """A run begins."""
        self.autosave = autosave
        self.open(sizes, weights, custom_rollout_log_function_path=LOG, autosave=autosave)

    @rule(count=st.integers(0, 7), tokens=st.integers(0, 3))
    def request(self, count: int, tokens: int) -> None:
        """What waits comes first, then fresh rows."""
        self.begins(None)
        self.serve(count, tokens)

    @precondition(lambda self: self.account.in_flight)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """Groups in flight come back, in any order."""
        groups = [self.known[index] for index in self.some(data, self.account.in_flight)]
        self.source.add_samples(groups)
        for group in groups:
            self.account.take_back(id_of(group), contents(group))
        self.changes()

    @precondition(lambda self: self.known)
    @rule(data=st.data(), fate=st.sampled_from(["trained", "dropped", "finished"]))
    def report(self, data: st.DataObject, fate: Any) -> None:
        """Only groups in flight and waiting ones change by a report."""
        group_indices = self.some(data, self.account.in_flight or self.known)
        group_indices += self.some(data, self.known)
        rollout_id = self.logged if fate != "trained" and data.draw(st.booleans()) else None
        self.begins(rollout_id)
        samples = [self.known[group_index] for group_index in group_indices]
        self.source.observe(samples, rollout_id=rollout_id, fate=fate)
        if fate != "finished":
            self.account.settle(group_indices, fate)
            self.changes()

    @rule(data=st.data(), again=st.booleans())
    def log(self, data: st.DataObject, again: bool) -> None:
        """A rollout ends, or one that has been logged is logged again."""
        rollout_id = max(0, self.account.step - again)
        group_indices = self.some(data, self.account.in_flight)
        self.begins(rollout_id)
        samples = [sample for index in group_indices for sample in self.known[index]]
        self.source.observe(samples, rollout_id=rollout_id, fate="trained")
        self.account.settle(group_indices, "trained")
        self.account.step = max(self.account.step, rollout_id + 1)
        self.logged = rollout_id
        self.keep()

    @rule(
        data=st.data(),
        count=st.integers(1, 12),
        late=st.sampled_from(["nothing", "returns", "drops"]),
        saves=st.booleans(),
    )
    def rollout(self, data: st.DataObject, count: int, late: str, saves: bool) -> None:
        """A whole rollout, of which something may be heard after its log."""
        self.request(count, 1)
        self.give_back(data)
        self.log(data, False)
        if late == "returns":
            self.give_back(data)
        elif late == "drops":
            self.report(data, "dropped")
        if saves:
            self.save(1)

    @precondition(lambda self: self.known)
    @rule(data=st.data(), kind=st.sampled_from(["out", "twice", "unknown", "short"]))
    def give_back_wrongly(self, data: st.DataObject, kind: str) -> None:
        """A group that cannot come back is an error, and none of its call is taken in."""
        account = self.account
        good = [self.known[index] for index in self.some(data, account.in_flight)]
        bad = good[:1]
        if kind == "out":
            out = sorted(self.known.keys() - account.in_flight.keys())
            bad = [self.known[data.draw(st.sampled_from(out))]] if out else []
        elif kind == "unknown":
            bad = [copy.deepcopy(self.known[min(self.known)])]
            for sample in bad[0]:
                sample.group_index = account.next_group
        elif kind == "short":
            good, bad = good[1:], [group[:1] for group in bad]
        if not bad:
            return
        before = self.source.state_dict()
        with pytest.raises(GroupError):
            self.source.add_samples([*good, *bad])
        assert self.source.state_dict() == before

    @rule(age=st.integers(-1, 6))
    def save(self, age: int) -> None:
        """The state at the end of a rollout is written; of one that did not end, that of now."""
        rollout_id = max(0, self.account.step - age)
        self.unwritten = 0
        if rollout_id == self.logged and self.changed:
            self.keep()
        if self.ended and rollout_id < min(self.ended):
            before = self.source.state_dict()
            with pytest.raises(CheckpointError, match="ended too long ago"):
                self.source.save(rollout_id)
            assert self.source.state_dict() == before
            return
        self.source.save(rollout_id)
        self.write("saved", rollout_id, self.ended.get(rollout_id, self.account))

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def look_back(self, data: st.DataObject) -> None:
        """From any state in the folder a run can go on, whatever has happened since."""
        self.save(1)  # and it waits for the automatic ones
        here = self.source, self.account, self.known
        for rollout_id in self.some(data, self.rollouts()):
            self.source = DataSource(argparse.Namespace(**{**vars(self.args), "autosave": False}))
            self.source.load(rollout_id)
            self.known = {}
            self.go_on_from(rollout_id)
            self.agrees()
            self.serve(len(self.account.waiting) + 3)
            self.source.close()
        self.source, self.account, self.known = here

    @rule(
        data=st.data(),
        how=st.sampled_from(["newest", "rollout", "last", "state_dict"]),
        count=st.integers(0, 12),
    )
    def resume(self, data: st.DataObject, how: str, count: int) -> None:
        """The run goes on from a state: here, or elsewhere with other weights and another order."""
        rollout_id, state = None, None
        saved = [number for kind, number in self.files if kind == "saved"]
        if how == "state_dict" or not (saved if how == "last" else self.files):
            state = self.source.state_dict()
        elif how == "last":
            rollout_id = saved[-1]
        elif how == "newest":
            rollout_id = max(self.rollouts())
        else:
            rollout_id = data.draw(st.sampled_from(self.rollouts()))
        if data.draw(st.booleans()):
            order = data.draw(st.permutations(NAMES))
            weights = data.draw(st.one_of(st.just(self.weights), WEIGHTS))
            self.reopen({name: weights[name] for name in order})
            self.unwritten = 0
        if state is None:
            self.source.load(None if how == "last" else rollout_id)
            self.unwritten = 0
        else:
            self.source.load_state_dict(state)
        self.go_on_from(rollout_id, last_saved=how == "last")
        if rollout_id is not None:
            there = self.rollouts()
            self.forget_later(rollout_id)
            for forgotten in {*there}.difference(self.rollouts()):
                self.has_no_state(forgotten)
        self.ended, self.logged, self.changed = {}, None, False
        self.request(count, 1)

    @rule(data=st.data())
    def resume_from_nothing(self, data: st.DataObject) -> None:
        """A rollout without a state is an error, and nothing has changed."""
        missing = {*range(max(self.rollouts(), default=0) + 4)}.difference(self.rollouts())
        self.has_no_state(data.draw(st.sampled_from(sorted(missing))))

    def some(self, data: st.DataObject, group_indices: Collection[int]) -> list[int]:
        """Some of the ids, in any order."""
        if not group_indices:
            return []
        ids = st.lists(st.sampled_from(sorted(group_indices)), unique=True, max_size=6)
        return list(data.draw(ids))

    def rollouts(self) -> list[int]:
        """Those of which there is a state in the folder."""
        return sorted({number for _, number in self.files})

    def has_no_state(self, rollout_id: int) -> None:
        """A rollout cannot be resumed, and the attempt changes nothing."""
        before = self.source.state_dict()
        with pytest.raises(CheckpointError, match="no data source state"):
            self.source.load(rollout_id)
        assert self.source.state_dict() == before
        self.unwritten = 0  # it has waited for them

    def go_on_from(self, rollout_id: int | None, last_saved: bool = False) -> None:
        """The account goes back to a state in the folder; None is the state of now."""
        account = self.account
        for (kind, number), written in self.files.items():  # the one written last counts
            if number == rollout_id and (kind == "saved" or not last_saved):
                account = written
        self.account = account.copy()
        self.account.resume()

    def begins(self, rollout_id: int | None) -> None:
        """Something is heard of ``rollout_id``, or of a rollout that has not said its number."""
        if self.unwritten > 1:
            # A disk too slow for all automatic states skips some; a save waits for them.
            self.save(1)
        if self.logged is None or self.logged == rollout_id:
            return
        if self.changed:
            self.keep()
        self.logged = None

    def changes(self) -> None:
        """Until another rollout begins, what happens is of the one that was logged."""
        self.changed = self.logged is not None
        if self.logged is not None:
            self.ended[self.logged] = self.account.copy()

    def keep(self) -> None:
        """The rollout that was logged has ended as it is now."""
        assert self.logged is not None
        self.changed = False
        self.ended[self.logged] = self.account.copy()
        self.ended = dict(sorted(self.ended.items())[-3:])
        if self.autosave:
            self.unwritten += 1
            self.write("auto", self.logged, self.account)
            self.forget_later(self.logged)
            autosaved = sorted(number for kind, number in self.files if kind == "auto")
            for number in autosaved[:-3]:
                del self.files["auto", number]

    def write(self, kind: str, rollout_id: int, account: Account) -> None:
        """A file is written."""
        self.files.pop((kind, rollout_id), None)
        self.files[kind, rollout_id] = account.copy()

    def forget_later(self, rollout_id: int) -> None:
        """The automatic states of later rollouts are of a run that was given up."""
        for kind, number in list(self.files):
            if kind == "auto" and number > rollout_id:
                del self.files[kind, number]


class BothHooks(Books):
    """Synchronous rollouts with both hooks, of whose groups everything is known at the end."""

    @initialize(sizes=SIZES, weights=WEIGHTS, surplus=st.sampled_from(["keep", "again", "drop"]))
    def start(self, sizes: dict[str, int], weights: dict[str, int], surplus: str) -> None:
        """A run begins."""
        self.surplus = surplus
        self.ended: Account | None = None
        """At the end of the rollout that was logged last, since the run was resumed."""
        self.open(sizes, weights, surplus=surplus, autosave=False, **BOTH_HOOKS)

    @rule(fates=st.lists(st.sampled_from(FATES)), back_first=st.booleans())
    def rollout(self, fates: list[str], back_first: bool) -> None:
        """At the end of a rollout nothing is in flight."""
        account = self.account
        groups = self.serve(len(fates), tokens=2)
        by_fate: dict[str, list[Group]] = {fate: [] for fate in FATES}
        for group, fate in zip(groups, fates, strict=True):
            by_fate[fate].append(group)
            if fate in ("trained", "refused", "surplus"):
                for sample in group:
                    sample.status = type(sample).Status.COMPLETED
                    sample.reward = 0.1 if fate == "refused" else 0.9
        trained, refused, surplus, back, lost = by_fate.values()
        if back_first:
            self.source.add_samples(back)
        self.source.rollout_finished([*surplus, *trained, *refused])
        if not back_first:
            self.source.add_samples(back)
        self.source.observe(trained, rollout_id=account.step, fate="trained")
        for group in back:
            account.take_back(id_of(group), contents(group))
        account.settle([id_of(group) for group in trained], "trained")
        account.settle([id_of(group) for group in refused], "dropped")
        for group in sorted(surplus, key=id_of):
            if self.surplus == "drop":
                account.settle([id_of(group)], "dropped")
            else:
                account.counts["surplus"] += 1
                account.take_back(id_of(group), contents(group) if self.surplus == "keep" else None)
        for group_index in sorted(map(id_of, lost)):
            account.take_back(group_index, account.in_flight[group_index].begun)
        assert not account.in_flight
        account.step += 1
        self.ended = account.copy()

    @precondition(lambda self: self.ended is not None)
    @rule(ahead=st.integers(0, 5))
    def resume(self, ahead: int) -> None:
        """The run goes on from the end of a rollout, though the next one has begun."""
        self.serve(ahead)
        self.source.save(self.account.step - 1)
        self.reopen(self.weights)
        self.source.load(self.account.step - 1)
        assert self.ended is not None
        self.account, self.ended = self.ended, None


TestReports = Reports.TestCase
TestReports.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, derandomize=True
)
TestBothHooks = BothHooks.TestCase
TestBothHooks.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, derandomize=True
)
