from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from curriculum_learning.errors import GroupError
from curriculum_learning.service.leases import CANCELLED, Client, Leases

CLIENTS = ("a", "b", "c")


def leases(*clients: str, timeout: float = 10.0) -> Leases:
    """An account that knows clients, at time 0."""
    new = Leases(timeout)
    for client in clients:
        new.clients[client] = Client("", 0.0)
    return new


def test_a_group_is_settled_under_the_lease_it_was_handed_out_by() -> None:
    """Also by another client, if it names the lease; without its number only by the holder."""
    account = leases("worker", "trainer")
    number = account.grant("worker", [1, 2], 0.0)
    account.check("trainer", [(1, number)])
    account.check("worker", [(2, None)])
    with pytest.raises(GroupError, match=r"\[2\]") as raised:
        account.check("trainer", [(1, number), (2, None)])
    assert raised.value.value == [2]
    assert account.status(0.0)[""]["late"] == 1


def test_a_late_answer_is_refused_though_the_same_client_holds_the_group_again() -> None:
    """The number of the lease is another one."""
    account = leases("a")
    before = account.grant("a", [7], 0.0)
    account.release([7], "expired")
    now = account.grant("a", [7], 1.0)
    assert account.is_late("a", (7, before))
    assert not account.is_late("a", (7, now))


def test_leases_of_another_run_are_late() -> None:
    """Runs count from different numbers."""
    old, new = Leases(10.0, first=0), Leases(10.0, first=1 << 32)
    for run in (old, new):
        run.clients["a"] = Client("", 0.0)
    lease = old.grant("a", [7], 0.0)
    new.grant("a", [7], 0.0)
    assert new.is_late("trainer", (7, lease))


def test_clients_that_are_silent_for_too_long_are_told() -> None:
    """A sign of life puts it off."""
    account = leases("a", "b")
    account.hear("b", 5.0, 0)
    assert account.silent(10.5, 10.0) == ["a"]
    assert account.silent(15.5, 10.0) == ["a", "b"]


def test_an_unknown_client_is_refused() -> None:
    """So what it was answered need not be kept."""
    account = leases("a")
    account.forget("a")
    with pytest.raises(GroupError, match="does not know client a"):
        account.hear("a", 1.0, 0)


def test_a_request_is_answered_again_until_its_answer_was_received() -> None:
    """Then it is forgotten, and a copy that comes late is refused; so is a cancelled one."""
    account = leases("a")
    account.clients["a"].answers = {0: None, 1: 17, 2: None}
    account.hear("a", 0.0, 3, waiting=[1])
    account.hear("a", 0.0, 2, waiting=[0, 1])  # it was sent before
    assert account.was_answered("a", 1)
    assert account.clients["a"].answers == {1: 17}
    assert not account.was_answered("a", 3)
    for number in (0, 2):
        with pytest.raises(GroupError, match=f"request {number}"):
            account.was_answered("a", number)
    account.clients["a"].answers[3] = CANCELLED
    with pytest.raises(GroupError, match="request 3"):
        account.was_answered("a", 3)


class Account(RuleBasedStateMachine):
    """Leases beside a plain account of who holds what."""

    def __init__(self) -> None:
        super().__init__()
        self.leases = leases(*CLIENTS)
        self.holders: dict[int, tuple[str, int]] = {}
        self.free: list[int] = []
        self.next = 0
        self.ended: Counter[str] = Counter()
        self.past: list[tuple[int, int]] = []

    @rule(client=st.sampled_from(CLIENTS), count=st.integers(0, 4))
    def draw(self, client: str, count: int) -> None:
        """Given-up groups come first, then fresh ones."""
        again, self.free = self.free[:count], self.free[count:]
        groups = [*again, *range(self.next, self.next + count - len(again))]
        self.next += count - len(again)
        number = self.leases.grant(client, groups, 0.0)
        self.holders |= dict.fromkeys(groups, (client, number))

    @rule(client=st.sampled_from(CLIENTS), part=st.integers(1, 3))
    def settle(self, client: str, part: int) -> None:
        """Every so many of a client's groups, by anyone who has their numbers."""
        mine = [g for g, (holder, _) in self.holders.items() if holder == client][::part]
        claims = [(g, self.holders[g][1]) for g in mine]
        self.leases.check("a", claims)
        self.leases.release(mine, "settled")
        self.past += claims
        self.ended["settled"] += len(mine)
        for group in mine:
            del self.holders[group]

    @rule(client=st.sampled_from(CLIENTS))
    def die(self, client: str) -> None:
        """What it held is free again."""
        held = self.leases.held(client)
        self.leases.release(held, "expired")
        self.leases.forget(client)
        self.leases.clients[client] = Client("", 0.0)
        self.past += [(g, self.holders.pop(g)[1]) for g in held]
        self.free += held
        self.ended["expired"] += len(held)

    @invariant()
    def accounts_agree(self) -> None:
        """Each group has the holder it should have; answers under ended leases are late."""
        for client in CLIENTS:
            held = {g for g, (holder, _) in self.holders.items() if holder == client}
            assert set(self.leases.held(client)) == held
        assert len(self.leases) == len(self.holders)
        assert all(self.leases.is_late(client, claim) for claim in self.past for client in CLIENTS)
        assert +self.ended == +self.leases.counts


Account.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestAccount = Account.TestCase
