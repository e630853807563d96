from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from curriculum_learning.commands.inspect import look_at
from curriculum_learning.errors import CheckpointError, CurriculumLearningError, GroupError
from curriculum_learning.groups.fates import Outcome
from curriculum_learning.samples.codec import encode, encode_group
from curriculum_learning.service.account import TABLES
from curriculum_learning.service.messages import Draw, Load, Metadata, Return, Settle, told
from tests.harness import as_data, interrupt
from tests.service.clients import SIZES, Client, Service, ids, leases_of, state_of


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


def test_what_a_rollout_did_not_train_outlives_a_kill(tmp_path: Path) -> None:
    """Surplus and discarded groups wait in that order; those with a late lease are left alone."""
    service = Service(tmp_path)
    client, late = Client(service, "a"), Client(service, "late")
    groups = client.draw(4)
    late_index = ids(late.draw(1))[0]
    kept = encode_group(interrupt(groups[2]))
    outcome = Outcome([1], {2: kept, late_index: None}, [3])
    for content in (b"nonsense", encode_group(groups[3])):
        with pytest.raises(GroupError, match="group"):
            client.ask(Settle("trained", 0, [], Outcome([], {2: content}, [])))
    client.ask(Settle("trained", 0, told(groups[0], rewards=False), outcome))
    assert leases_of(service) == {"a": [], "late": [late_index]}
    fates = ("trained", "dropped", "surplus", "returned")
    assert [*map(service.counts, fates)] == [1, 1, 1, 2]
    before = state_of(service)
    service.kill_and_restart()
    assert state_of(service) == before
    again = client.draw(3)
    assert ids(again) == [2, 3, 5]
    assert [group[0].response for group in again] == ["xxx", "", ""]


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
        with pytest.raises(GroupError, match="no mapping"):
            client.ask(Metadata(content or b"nonsense"))
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
    service.kill_and_restart()
    assert state_of(service) == before
    assert ids(client.draw(8)) == [*range(1, 9)]


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
    assert actor._service.database is not None
    assert not actor._service.leases.clients
    assert not actor._service.database.read("clients")
    assert not actor._stays


def test_a_draw_that_waits_is_counted_once(tmp_path: Path) -> None:
    """Also if it waits for more than a second."""
    service = Service(tmp_path, {"max_leased_groups": 2, "draw_timeout": 1.2})
    client = Client(service, "a")
    client.draw(2)
    with pytest.raises(GroupError, match=r"waited 1.2 s for room"):
        client.draw(1)
    status = service.actor.service_status()["label/a"]
    assert status["waits"] == 1
    assert status["waited"] > 1.0


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


def test_leases_do_not_follow_the_wall_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be set while the service runs."""
    service = Service(tmp_path)
    client = Client(service, "a")
    client.draw(2)
    now = time.time()
    for jump in (1e6, -1e6):
        monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
        service.actor._end_silent(600.0)
        assert leases_of(service) == {"a": [0, 1]}
        assert service.actor.service_status()[""]["lease_age/max"] < 1e5


@pytest.mark.parametrize("waiting", [[], [0]])
def test_nothing_grows_with_the_number_of_operations(tmp_path: Path, waiting: list[int]) -> None:
    """Neither the rows of the database nor what is remembered of requests.

    A client that has groups ready fetches the answer to its request for others much later.
    """
    service = Service(tmp_path)
    client = Client(service, "a")
    client.ask(Draw(1, None))
    client.waiting = waiting
    sizes = []
    for _ in range(2):
        for _ in range(150):
            group, other = client.draw(2)
            client.give_back([interrupt(group)])
            client.settle([other])
            client.settle(client.draw(1))
        database = service.actor._service.database
        assert database is not None
        sizes.append([len(database.read(table)) for table in TABLES])
        assert len(service.actor._service.leases.clients["a"].answers) == 1 + len(waiting)
    assert sizes[0] == sizes[1]
