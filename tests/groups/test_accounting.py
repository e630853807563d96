"""Random runs, held against a plain account of every group."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from curriculum_learning import CheckpointError, GroupError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from tests.groups.books import NAMES, SIZES, WEIGHTS, Account, Books, contents, id_of

LOG = "curriculum_learning.custom_log.custom_rollout_log_function"


class Reports(Books):
    """Requests, returns, reports, saves and resumes in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: dict[int, Account] = {}
        """The accounts at the end of the latest rollouts."""
        self.logged: int | None = None
        """The rollout logged last, until a report or request of the next one."""
        self.changed = False
        """Groups came back or were reported since the state of the logged rollout was written."""
        self.files: dict[tuple[str, int], Account] = {}
        """The state files, in the order of writing."""
        self.unwritten = 0
        """The most states that may still be being written in the background."""
        self.resumed_after: int | None = None
        """The next state written sets aside the states of later rollouts."""

    @initialize(sizes=SIZES, weights=WEIGHTS, autosave=st.booleans())
    def start(self, sizes: dict[str, int], weights: dict[str, int], autosave: bool) -> None:
        """A run begins."""
        self.autosave = autosave
        self.open(sizes, weights, custom_rollout_log_function_path=LOG, autosave=autosave)

    @rule(count=st.integers(0, 7), tokens=st.integers(0, 3))
    def request(self, count: int, tokens: int) -> None:
        """Waiting groups come first, then fresh rows."""
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
        """A report changes only groups in flight and waiting ones."""
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
        """A rollout ends, or the last one is logged again."""
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
        """A whole rollout, with reports or returns after its log."""
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
        """A group that cannot come back is an error, and the call takes in no group."""
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
        """Save writes the state at the end of a rollout, or the present one if it has not ended."""
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
        """A run can resume from any state in the folder."""
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
        """The run resumes from a state: here, or in a new data source with other weights."""
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
            self.unwritten, self.resumed_after = 0, None
        if state is None:
            self.source.load(None if how == "last" else rollout_id)
            self.unwritten = 0
        else:
            self.source.load_state_dict(state)
        self.go_on_from(rollout_id, last_saved=how == "last")
        if state is None:
            self.resumed_after = rollout_id
        self.ended, self.logged, self.changed = {}, None, False
        self.request(count, 1)

    @rule(data=st.data())
    def resume_from_nothing(self, data: st.DataObject) -> None:
        """Loading a rollout without a state is an error and changes nothing."""
        missing = {*range(max(self.rollouts(), default=0) + 4)}.difference(self.rollouts())
        self.has_no_state(data.draw(st.sampled_from(sorted(missing))))

    def some(self, data: st.DataObject, group_indices: Collection[int]) -> list[int]:
        """Some of the ids, in any order."""
        if not group_indices:
            return []
        ids = st.lists(st.sampled_from(sorted(group_indices)), unique=True, max_size=6)
        return list(data.draw(ids))

    def rollouts(self) -> list[int]:
        """The rollouts with a state in the folder."""
        return sorted({number for _, number in self.files})

    def has_no_state(self, rollout_id: int) -> None:
        """Checks that a rollout cannot be resumed, and that the attempt changes nothing."""
        before = self.source.state_dict()
        with pytest.raises(CheckpointError, match="no data source state"):
            self.source.load(rollout_id)
        assert self.source.state_dict() == before
        self.unwritten = 0  # it has waited for them

    def go_on_from(self, rollout_id: int | None, last_saved: bool = False) -> None:
        """Sets the account back to a state in the folder; None is the present state."""
        account = self.account
        for (kind, number), written in self.files.items():  # the one written last counts
            if number == rollout_id and (kind == "saved" or not last_saved):
                account = written
        self.account = account.copy()
        self.account.resume()

    def begins(self, rollout_id: int | None) -> None:
        """A request or report of ``rollout_id`` arrives; None is a rollout without a number."""
        if self.unwritten > 1:
            # A disk too slow for all automatic states skips some; a save waits for them.
            self.save(1)
        if self.logged is None or self.logged == rollout_id:
            return
        if self.changed:
            self.keep()
        self.logged = None

    def changes(self) -> None:
        """Counts a change for the logged rollout, until the next one begins."""
        self.changed = self.logged is not None
        if self.logged is not None:
            self.ended[self.logged] = self.account.copy()

    def keep(self) -> None:
        """The logged rollout has ended with the present account."""
        assert self.logged is not None
        self.changed = False
        self.ended[self.logged] = self.account.copy()
        self.ended = dict(sorted(self.ended.items())[-3:])
        if self.autosave:
            self.unwritten += 1
            self.write("auto", self.logged, self.account)
            autosaved = [number for kind, number in self.files if kind == "auto"]
            for number in autosaved[:-3]:
                del self.files["auto", number]

    def write(self, kind: str, rollout_id: int, account: Account) -> None:
        """A file is written; the first one of a resumed run sets aside what it supersedes."""
        if self.resumed_after is not None:
            for other in [key for key in self.files if key[1] > self.resumed_after]:
                del self.files[other]
            self.resumed_after = None
        self.files.pop((kind, rollout_id), None)
        self.files[kind, rollout_id] = account.copy()


TestReports = Reports.TestCase
TestReports.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, derandomize=True
)
