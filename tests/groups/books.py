"""A data source beside a plain account of what must be true of every group."""

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
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant

from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.groups.served import listed
from tests.harness import Group, arguments, interrupt, row_of, totals

NAMES = ("math", "code", "chat")
RENEWED = ("data_source_rollout_step", "data_source_weight")
"""The tags that each serving renews."""

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
    """The rollout step at which it was last served."""
    fresh: str
    """Its content when it was drawn."""
    begun: str | None = None
    """Its content when it last came back."""


@dataclasses.dataclass
class Account:
    """What must be true at one moment of a run."""

    in_flight: dict[int, Entry] = dataclasses.field(default_factory=dict)
    waiting: dict[int, Entry] = dataclasses.field(default_factory=dict)
    """In the order in which they will be served."""
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    next_group: int = 0
    step: int = 0
    drawn: Counter[str] = dataclasses.field(default_factory=Counter)
    due: dict[str, Fraction] = dataclasses.field(
        default_factory=lambda: dict.fromkeys(NAMES, Fraction(0))
    )
    """The sum of the shares of each source over all draws."""
    weights: dict[str, int] | None = None
    """The weights of the latest draw."""
    varied: bool = False
    """Whether the weights have changed between draws."""
    history: int = 0
    """A hash of all draws so far and their weights."""

    def copy(self) -> Account:
        """Returns a copy of the account."""
        return Account(**{key: copy.copy(value) for key, value in vars(self).items()})

    def settle(self, group_indices: Collection[int], fate: str) -> None:
        """Ends those of the groups that are in flight or waiting."""
        for group_index in group_indices:
            if self.in_flight.pop(group_index, None) or self.waiting.pop(group_index, None):
                self.counts[fate] += 1

    def take_back(self, group_index: int, begun: str | None) -> None:
        """Moves a group from in flight to waiting."""
        self.waiting[group_index] = self.in_flight.pop(group_index)._replace(begun=begun)
        self.counts["returned"] += 1

    def resume(self) -> None:
        """Resumes here: groups in flight wait before all others."""
        self.waiting = {**dict(sorted(self.in_flight.items())), **self.waiting}
        self.in_flight = {}


def contents(group: Group) -> str:
    """The content of a group without the tags that serving renews."""
    samples = [dict(sample.to_dict()) for sample in group]
    for sample in samples:
        metadata = sample["metadata"].items()
        sample["metadata"] = {key: value for key, value in metadata if key not in RENEWED}
    return json.dumps(samples, sort_keys=True)


def id_of(group: Group) -> int:
    """The id of a group."""
    return int(group[0].group_index)


class Books(RuleBasedStateMachine):
    """A data source and its account."""

    source: DataSource

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.account = Account()
        self.known: dict[int, Group] = {}
        """The group last served under each id, also in runs that were given up."""
        self.order: dict[tuple[str, int], int] = {}
        """The row of each draw of a source; a resume does not change it."""
        self.nexts: dict[int, str] = {}
        """The source drawn after each history of draws."""

    def open(self, sizes: dict[str, int], weights: dict[str, int], **changes: Any) -> None:
        """Begins a run."""
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
        """Continues with a new data source, with the weights and the order of ``weights``."""
        self.source.close()
        paths = [str(Path(self.folder.name) / f"{name}.jsonl") for name in weights]
        self.weights = weights
        self.args = argparse.Namespace(
            **{**vars(self.args), "prompt_data": paths, "data_source_weights": weights}
        )
        self.source = DataSource(self.args)

    def teardown(self) -> None:
        """Ends the run."""
        self.source.close()
        self.folder.cleanup()

    def serve(self, count: int, tokens: int = 0) -> list[Group]:
        """Asks for groups, compares them with the expected ones, and starts to generate them."""
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
        """Checks that a fresh group has the expected source and row."""
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
        """Checks that the data source and the account agree on every group."""
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
