"""The account of a sampler's rows: replacements of lost ones, counts, and resume."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from curriculum_learning.groups.row_account import LOSSES, RowAccount
from curriculum_learning.samplers import MultiSourceSampler
from tests.engines.sampler_data import Rows, config

WEIGHTS = {"a": 0.5, "b": 0.3, "c": 0.2}
LOST = {"a": 0.1, "b": 0.3, "c": 0.7}
"""The part of the groups of each source that is lost."""
DATA = Rows(dict.fromkeys(WEIGHTS, 50))


class Run:
    """An engine that takes prompts one by one, and trains the first 8 groups that are not lost.

    What becomes of a group is decided by its number, so that a resumed run sees the same.
    """

    def __init__(self, state: Any = None, **keys: Any) -> None:
        self.sampler = MultiSourceSampler(DATA, config(1, source_weights=WEIGHTS, **keys))
        self.account = self.sampler.keep_account()
        if state is not None:
            self.sampler.load_state_dict(state)
            assert self.sampler.account is not None
            self.account = self.sampler.account
        self._rows = iter(self.sampler)
        self.waiting: list[int] = self.account.in_flight
        self.trained: list[str] = []
        self.drawn: list[int] = []

    def fetch(self, count: int) -> None:
        """Take prompts, of all passes."""
        for _ in range(count):
            row = next(self._rows, None)
            if row is None:
                self._rows = iter(self.sampler)
                row = next(self._rows)
            self.drawn.append(row)
            self.waiting.append(self.account.opened - 1)

    def step(self) -> None:
        """One training step; 8 groups are in flight when it ends."""
        self.fetch(16 - len(self.waiting))
        batch: list[int] = []
        while len(batch) < 8:
            group = self.waiting.pop(0)
            served = self.account.served(group)
            assert served is not None
            luck = random.Random(group)
            if luck.random() < LOST[served.source]:
                self.account.end([group], luck.choice(LOSSES))
                self.fetch(1)
            else:
                batch.append(group)
                self.trained.append(served.source)
        self.account.end(batch, "trained")
        self.sampler.observe([], [])


def _shares(names: list[str]) -> dict[str, float]:
    return {name: count / len(names) for name, count in Counter(names).items()}


def test_what_is_trained_has_the_shares() -> None:
    """Lost groups are replaced by others of their source, by default."""
    run = Run()
    for _ in range(100):
        run.step()
    assert _shares(run.trained) == pytest.approx(WEIGHTS, abs=0.01)


def test_what_is_served_has_the_shares() -> None:
    """With ``mixture_target: served`` lost groups are only counted."""
    run = Run(mixture_target="served")
    for _ in range(100):
        run.step()
    assert _shares([DATA.rows[row]["data_source"] for row in run.drawn]) == pytest.approx(
        WEIGHTS, abs=0.002
    )
    assert _shares(run.trained) != pytest.approx(WEIGHTS, abs=0.1)
    assert "replaced/a" not in run.sampler.get_stats()


def test_without_losses_the_account_changes_nothing() -> None:
    """As long as all groups are trained, the rows are those of a sampler without an account."""
    run = Run()
    run.fetch(100)
    run.account.end(range(100), "trained")
    run.sampler.observe([], [])
    run.fetch(100)
    plain = MultiSourceSampler(DATA, config(1, source_weights=WEIGHTS))
    assert run.drawn[:150] == list(plain)
    assert plain.account is None
    assert "trained/a" not in plain.get_stats()


def test_a_resumed_run_goes_on() -> None:
    """At every step the state holds what is owed and what is in flight."""
    whole = Run()
    states = []
    for _ in range(12):
        whole.step()
        states.append((whole.sampler.state_dict(), len(whole.drawn)))
    for number, (state, drawn) in enumerate(states, start=1):
        resumed = Run(state)
        for _ in range(12 - number):
            resumed.step()
        assert resumed.drawn == whole.drawn[drawn:]
        assert resumed.sampler.get_stats() == whole.sampler.get_stats()


def test_counts() -> None:
    """Each group is counted once, by its source and by how it ended; a second end is ignored."""
    run = Run()
    run.fetch(10)
    for group, fate in enumerate(("trained", *LOSSES)):
        run.account.end([group, group], fate)
        run.account.end([group], "trained")
    stats = run.sampler.get_stats()
    for what, count in (("in_flight", 5), ("trained", 1), *((loss, 1) for loss in LOSSES)):
        assert sum(stats[f"{what}/{name}"] for name in WEIGHTS) == count
    assert run.account.in_flight == list(range(5, 10))
    assert run.account.served(0) is None
    assert run.account.served(10) is None


def test_target_that_changes_on_resume() -> None:
    """What was lost while nothing was replaced is not owed after a resume that replaces."""
    run = Run(mixture_target="served")
    for _ in range(10):
        run.step()
    resumed = Run(run.sampler.state_dict())
    assert all(resumed.sampler.get_stats()[f"owed/{name}"] == 0 for name in WEIGHTS)
    back = Run(resumed.sampler.state_dict(), mixture_target="served")
    assert back.account.in_flight == run.account.in_flight


def test_state_without_an_account() -> None:
    """A state of before, without an account, is resumed with an empty one."""
    plain = MultiSourceSampler(DATA, config(1, source_weights=WEIGHTS))
    rows = iter(plain)
    for _ in range(7):
        next(rows)
    run = Run(plain.state_dict())
    assert isinstance(run.account, RowAccount)
    run.fetch(20)
    assert run.account.opened == 20
    assert run.drawn == [next(rows) for _ in range(20)]
