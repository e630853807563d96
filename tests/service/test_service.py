from __future__ import annotations

import contextlib
import dataclasses
import itertools
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curriculum_learning.commands.inspect import look_at
from curriculum_learning.errors import CheckpointError, CurriculumLearningError, GroupError
from curriculum_learning.groups.served import listed
from curriculum_learning.samples.codec import encode
from curriculum_learning.samples.sample import flatten
from curriculum_learning.service.database import Changes, NotWrittenError
from curriculum_learning.service.messages import Draw, Load, Request, Return, Settle, Step, told
from tests.harness import Group, as_data, interrupt
from tests.service.clients import SIZES, Client, Service, ids


def state_of(service: Service) -> dict[str, Any]:
    """The state of its data source, as comparable data."""
    state = service.actor._service.source.state_dict()
    groups = state["groups"]
    for place in ("in_flight", "presumed"):
        groups[place] = sorted(listed(groups[place]))
    partials = zip(state.pop("generated_begun"), state.pop("generated_data"), strict=True)
    state["generated"] = dict(zip(state["generated"], partials, strict=True))
    state["feedback"] = encode(state["feedback"])
    return state


def leases_of(service: Service) -> dict[str, list[int]]:
    """What each client holds."""
    leases = service.actor._service.leases
    return {name: sorted(leases.held(name)) for name in leases.clients}


def test_groups_of_a_dead_client_are_served_first(tmp_path: Path) -> None:
    """With the ids they had; what had come back unfinished is as it was then."""
    service = Service(tmp_path)
    dead, other = Client(service, "dead"), Client(service, "other")
    groups = dead.draw(4)
    dead.give_back([interrupt(groups[1])])
    groups = dead.draw(2)
    interrupt(groups[0])
    assert ids(groups) == [1, 4]
    other.give_back(other.draw(1))
    service.actor.disconnect("dead")
    again = other.draw(6)
    assert ids(again) == [0, 2, 3, 1, 4, 5]
    assert again[3][0].response == "xxx"


def test_a_late_answer_changes_nothing(tmp_path: Path) -> None:
    """The group is served to another client and settled by it, once."""
    service = Service(tmp_path)
    late, other = Client(service, "late"), Client(service, "other")
    groups = late.draw(3)
    late.settle(groups[:1])
    service.actor._service.end("late", "expired")
    again = other.draw(2)
    assert ids(again) == [1, 2]
    with pytest.raises(GroupError, match=r"\[1\].*do not train") as raised:
        late.settle(groups[1:2])
    assert raised.value.value == [1]
    with pytest.raises(GroupError, match=r"\[2\]"):
        late.give_back([interrupt(groups[2])])
    other.settle(again)
    status = service.actor.service_status()[""]
    assert (status["settled"], status["expired"], status["late"]) == (3, 2, 2)
    assert service.counts("trained") == 3


def test_a_request_that_is_sent_again_is_answered_again(tmp_path: Path) -> None:
    """After a kill too: with the groups of the first time, which are not drawn again."""
    service = Service(tmp_path)
    client = Client(service, "a")
    client.give_back([interrupt(client.draw(1)[0])])
    first = client.groups(client.ask(Draw(3, None), 7))
    for _ in range(2):
        assert as_data(client.groups(client.ask(Draw(3, None), 7))) == as_data(first)
        service.kill_and_restart()
    assert ids(Client(service, "b").draw(2)) == [3, 4]


REWARD = {"reward_threshold": 0.4, "min_batches_per_level": 1, "check_frequency": 1}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "stale": {"max_staleness": 1, "on_stale": "drop"},
    "reset": {"max_staleness": 0},
    "filtered": {"buffer_filter_path": "tests.service.test_service.drop_some"},
    "presumed": {"max_in_flight_rollouts": 1},
    "trained": {"mixture_target": "trained"},
    "adaptive": {"data_source_adaptive": {"update_frequency": 2, "temperature": 0.2, "alpha": 0.5}},
    "curricula": {
        "data_source_curricula": {
            "math": {"type": "reward", "complexity_key": "id", "num_intervals": 3, **REWARD},
            "code": {"type": "learnability"},
        }
    },
    "focused": {
        "data_source_curricula": {
            "math": {
                "type": "reward",
                "complexity_key": "id",
                "focus_new_intervals": True,
                **REWARD,
            },
            "code": {"type": "time", "complexity_key": "id", "complexity_warmup_steps": 6},
        }
    },
    "engine's own": {"rollout_global_dataset": False},
}


def drop_some(_: Any, __: Any, buffer: list[Group], count: int) -> list[Group]:
    """Serves waiting groups but for every third, which it drops."""
    chosen = buffer[:count]
    del buffer[:count]
    return [group for group in chosen if group[0].group_index % 3]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_service_that_is_killed_at_any_moment_goes_on(tmp_path: Path, variant: str) -> None:
    """After each of 80 random operations of 3 clients it would come back exactly as it is."""
    service = Service(tmp_path, **VARIANTS[variant])
    randomness = random.Random(3)
    clients = [Client(service, name) for name in "abc"]
    held: dict[str, list[Group]] = {name: [] for name in "abc"}
    for operation in range(80):
        client = randomness.choice(clients)
        mine = held[client.name]
        kind = randomness.randrange(6)
        if kind < 2:
            mine += client.draw(randomness.randrange(4), operation // 10)
        elif kind == 2 and mine:
            for sample in flatten(mine[:3]):
                sample.reward = randomness.random()
            client.settle(mine[:3], operation // 10 if randomness.random() < 0.3 else None)
            del mine[:3]
        elif kind == 3 and mine:
            client.give_back([interrupt(mine.pop(0))])
        elif kind == 4 and mine:
            client.settle(mine[:1], fate="finished")
        elif kind == 5 and randomness.random() < 0.5:
            service.actor._service.end(client.name, "expired")
            service.actor.heartbeat(client.name, 0, [])
            mine.clear()
            client.ask(Step(operation // 10))
        before = state_of(service), leases_of(service), service.actor.service_status()[""]
        service.kill_and_restart()
        after = state_of(service), leases_of(service), service.actor.service_status()[""]
        before[2]["lease_age/max"] = after[2]["lease_age/max"]
        assert after == before


def weigh(step: int) -> float:
    """A schedule that is no function of its step."""
    return next(_weights)


_weights = itertools.cycle([1.0, 9.0, 0.5, 4.0])


def test_schedules_need_not_be_pure(tmp_path: Path) -> None:
    """After a kill the groups that were handed out are those that are booked."""
    weights = ["tests.service.test_service.weigh", 1.0]
    service = Service(tmp_path, data_source_weights=weights)
    client = Client(service, "a")
    drawn = [client.draw(3, rollout) for rollout in range(6)]
    rows = {
        ids([group])[0]: group[0].metadata["data_source_row"] for group in itertools.chain(*drawn)
    }
    service.kill_and_restart()
    ledger = service.actor._service.source.run.groups.ledger
    booked = {group_index: ledger.served(group_index) for group_index in ledger}
    assert {index: served and served.row for index, served in booked.items()} == rows


def test_another_configuration_goes_through_the_rules_of_a_resume(tmp_path: Path) -> None:
    """Other weights are taken up; a source less is refused, or adopted where that is set."""
    service = Service(tmp_path)
    groups = Client(service, "a").draw(10)
    service.kill()
    code = str(tmp_path / "code.jsonl")
    service.changes = {"prompt_data": [code], "data_source_weights": [1.0]}
    with pytest.raises(CheckpointError, match="math"):
        service.restart()
    service.kill()
    service.changes["on_source_change"] = "adopt"
    service.restart()
    kept = [group for group in groups if group[0].metadata["data_source"] == "code"]
    assert leases_of(service)["a"] == ids(kept)


def test_another_run_begins_anew_or_resumes(tmp_path: Path) -> None:
    """With ``resume`` what the clients of the former run held is served first."""
    service = Service(tmp_path)
    late = Client(service, "a").draw(3)
    service.kill()
    service.run, service.config = "second", dataclasses.replace(service.config, resume=True)
    service.restart()
    client = Client(service, "b")
    assert ids(client.draw(4)) == [0, 1, 2, 3]
    with pytest.raises(GroupError, match="another run"):
        client.settle(late)
    service.kill()
    service.run, service.config = "third", dataclasses.replace(service.config, resume=False)
    service.restart()
    assert ids(Client(service, "c").draw(1)) == [0]
    assert len(list(service.path.parent.glob("*.aside"))) == 1


def test_what_a_client_sends_is_checked(tmp_path: Path) -> None:
    """Nonsense is refused, and nothing has changed."""
    service = Service(tmp_path)
    client = Client(service, "a")
    groups = client.draw(2)
    before = state_of(service)
    unknown = Client(service, "b")
    unknown.name = "nobody"
    for data in (
        b"",
        b"nonsense",
        client.encoded(Draw(-1, None), 50),
        client.encoded(Settle("sold", None, []), 50),  # type: ignore[arg-type]
        client.encoded(Settle("trained", None, [("x", 1, [])]), 50),  # type: ignore[list-item]
        unknown.encoded(Draw(1, None)),
    ):
        with pytest.raises(GroupError):
            service.actor.request(data)
    with pytest.raises(GroupError):
        client.give_back([groups[0][:1]])
    for content in (b"", b"nonsense", encode([]), encode([{}]), encode([{"status": 3}])):
        with pytest.raises(GroupError):
            client.ask(Return([content]))
    with pytest.raises(CurriculumLearningError, match="figure"):
        service.actor.figure("state_dict")
    assert state_of(service) == before


def test_a_refused_draw_changes_nothing(tmp_path: Path) -> None:
    """Not even the step that its client is at, which was told before a row could not be read."""
    service = Service(tmp_path)
    client = Client(service, "a")
    client.settle(client.draw(1), rollout_id=0)
    before = state_of(service)
    path = tmp_path / "math.jsonl"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"{", b"?"))
    with pytest.raises(CurriculumLearningError):
        client.draw(8, rollout=5)
    path.write_bytes(content)
    assert service.actor.figure("rollout_step") == 1
    assert state_of(service) == before
    assert ids(client.draw(8)) == [*range(1, 9)]


class Failing:
    """Lets transactions of a database fail, before or after they were written.

    Args:
        service: The service.
        monkeypatch: Puts it in the place of ``write``.
    """

    def __init__(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        assert service.actor._database is not None
        self._write = service.actor._database.write
        self.plan: Iterator[str] = itertools.repeat("well")
        monkeypatch.setattr(service.actor._database, "write", self.write)

    def write(self, changes: Changes) -> None:
        """As planned: ``well``, ``not at all``, or ``unheard``."""
        outcome = next(self.plan)
        if outcome != "not at all":
            self._write(changes)
        if outcome != "well":
            raise NotWrittenError("the disk is full")


def test_a_transaction_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups, leases and answers are as before; when there is room, the service goes on."""
    service = Service(tmp_path)
    client = Client(service, "a")
    groups = client.draw(4)
    failing = Failing(service, monkeypatch)
    before = state_of(service), leases_of(service)
    claims = told(flatten(groups), rewards=False)
    requests: list[Request] = [Draw(3, None), Settle("trained", 0, claims)]
    for number, request in enumerate(requests):
        failing.plan = iter(["not at all", *["well"] * 9])
        with pytest.raises(CheckpointError, match="the disk is full"):
            client.ask(request, 50 + number)
        assert (state_of(service), leases_of(service)) == before
    assert ids(client.draw(2)) == [4, 5]


def test_a_transaction_that_was_written_unheard_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk may fail after the data has reached it: the request is answered, then."""
    service = Service(tmp_path)
    client = Client(service, "a")
    Failing(service, monkeypatch).plan = itertools.cycle(["unheard", "well"])
    groups = client.draw(3)
    assert ids(groups) == [0, 1, 2]
    client.settle(groups)
    assert leases_of(service) == {"a": []}
    assert service.counts("trained") == 3


def test_requests_that_share_a_failing_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 clients at once, a third of the transactions fail: no group is lost or doubled."""
    service = Service(tmp_path)
    randomness = random.Random(0)
    outcomes = ["well", "well", "well", "well", "not at all", "unheard"]
    settled: list[int] = []

    def work(client: Client) -> None:
        for _ in range(30):
            groups = until_written(lambda: client.draw(2))
            until_written(lambda groups=groups: client.settle(groups))
            settled.extend(ids(groups))

    def until_written(call: Any) -> Any:
        while True:
            with contextlib.suppress(CheckpointError):
                return call()

    clients = [Client(service, str(number)) for number in range(8)]
    Failing(service, monkeypatch).plan = iter(lambda: randomness.choice(outcomes), None)
    threads = [threading.Thread(target=work, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [group for groups in leases_of(service).values() for group in groups]
    assert sorted(settled) == [*range(480)]
    assert held == []
    assert service.counts("trained") == 480


def test_a_cancelled_draw_leaks_no_lease(tmp_path: Path) -> None:
    """Whether it came before or comes after."""
    service = Service(tmp_path)
    client = Client(service, "a")
    client.ask(Draw(3, None), 7)
    client.cancel(7)
    client.cancel(8)
    for number in (7, 8):
        with pytest.raises(GroupError, match="cancelled"):
            client.ask(Draw(3, None), number)
    assert leases_of(service)["a"] == []
    service.kill_and_restart()
    with pytest.raises(GroupError, match="cancelled"):
        client.ask(Draw(3, None), 8)
    assert ids(client.draw(4)) == [0, 1, 2, 3]


def test_a_client_that_ends_while_it_waits_is_not_served(tmp_path: Path) -> None:
    """Nor one whose draw was cancelled."""
    service = Service(tmp_path, {"max_leased_groups": 2})
    for end in ("disconnect", "cancel"):
        client = Client(service, end)
        client.draw(2)
        errors: list[GroupError] = []

        def draw(client: Client = client, errors: list[GroupError] = errors) -> None:
            try:
                client.ask(Draw(1, None), 90)
            except GroupError as error:
                errors.append(error)

        thread = threading.Thread(target=draw)
        thread.start()
        while not service.actor.service_status()[f"label/{end}"]["waits"]:
            pass
        if end == "disconnect":
            service.actor.disconnect(client.name)
        else:
            client.cancel(90)
        thread.join()
        assert len(errors) == 1
    assert len(service.actor._service.leases) == 2


def test_loading_a_rollout_ends_all_leases(tmp_path: Path) -> None:
    """It is refused while other clients hold groups; a restart stays at what was loaded."""
    service = Service(tmp_path)
    client, other = Client(service, "a"), Client(service, "b")
    client.settle(client.draw(2), rollout_id=0)
    service.actor.save(0)
    client.draw(2)
    other.draw(1)
    with pytest.raises(GroupError, match="3 groups are leased"):
        client.load(0)
    service.actor.disconnect("b")
    client.load(0)
    assert leases_of(service) == {"a": []}
    service.kill_and_restart()
    assert ids(client.draw(2)) == [2, 3]


def test_a_load_that_finds_nothing_changes_nothing(tmp_path: Path) -> None:
    """An engine that starts again while the service is in use loads nothing."""
    service = Service(tmp_path)
    client = Client(service, "a")
    client.draw(3)
    before = state_of(service)
    for rollout_id in (None, -1):
        client.load(rollout_id)
    with pytest.raises(CheckpointError):
        client.ask(Load(5))
    assert state_of(service) == before
    assert leases_of(service) == {"a": [0, 1, 2]}


def test_the_latest_rollouts_can_be_saved_and_loaded_after_a_kill(tmp_path: Path) -> None:
    """As they were when they ended, with what came back before the next one began."""
    service = Service(tmp_path)
    client = Client(service, "a")
    for rollout_id in range(5):
        groups = client.draw(4, rollout_id)
        client.settle(groups[:2], rollout_id)
        client.give_back([interrupt(groups[2])])
        client.give_up([groups[3]])
    service.kill_and_restart()
    client.draw(6, 5)
    for rollout_id in (4, 3, 2):
        service.actor.save(rollout_id)
    with pytest.raises(CheckpointError, match="too long ago"):
        service.actor.save(1)
    service.kill_and_restart()
    service.actor.disconnect("a")
    client = Client(service, "b")
    for rollout_id in (2, 3, 4):
        client.load(rollout_id)
        assert service.counts("trained") == 2 * (rollout_id + 1)
        assert service.actor.figure("get_buffer_length") == 2


def test_values_of_samples_are_any(tmp_path: Path) -> None:
    """Arrays, NaN and the like travel as they are, and are not compared."""
    service = Service(tmp_path)
    client = Client(service, "a")
    group = client.draw(1)[0]
    for sample in group:
        sample.metadata |= {"array": np.arange(6.0).reshape(2, 3), "nan": float("nan")}
        sample.response, sample.response_length = "x", 1
    client.give_back([group])
    service.kill_and_restart()
    (again,) = client.draw(1)
    np.testing.assert_array_equal(again[1].metadata["array"], np.arange(6.0).reshape(2, 3))
    assert again[0].metadata["nan"] != again[0].metadata["nan"]
    assert again[0].index != again[1].index


def test_gone_clients_are_forgotten(tmp_path: Path) -> None:
    """Nothing of them is kept, in memory or on the disk."""
    service = Service(tmp_path)
    for number in range(20):
        Client(service, str(number)).draw(2)
        service.actor.disconnect(str(number))
    actor = service.actor
    assert actor._database is not None
    assert not actor._service.leases.clients
    assert not actor._database.read("clients")
    assert not actor._ends
    assert not actor._stays


def test_silent_clients_lose_their_groups_and_are_forgotten_later(tmp_path: Path) -> None:
    """One that comes back in between goes on; one that comes later is refused."""
    service = Service(tmp_path, {"lease_timeout": 500.0})
    client, actor = Client(service, "a"), service.actor
    client.draw(2)
    known = actor._service.leases.clients["a"]
    known.heard -= 501.0
    actor._end_silent(500.0)
    assert leases_of(service) == {"a": []}
    assert ids(client.draw(1)) == [0]
    known.heard -= 60 * 500.0 + 1
    actor._end_silent(500.0)
    assert leases_of(service) == {}
    with pytest.raises(GroupError, match="does not know client a"):
        client.draw(1)


def test_a_state_shows_what_each_client_held(tmp_path: Path) -> None:
    """The command line reads the leases out of the database of a service, which may be alive."""
    service = Service(tmp_path)
    Client(service, "a").draw(3)
    Client(service, "b").draw(2)
    found = look_at(service.path)["latest"]
    leased = {name: client["leased"] for name, client in found["clients"].items()}
    assert leased == {"label/a": 3, "label/b": 2}
    assert found["groups"]["in_flight"] == 5
    assert SIZES.keys() == found["sources"].keys()
