from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning.commands.inspect import look_at
from curriculum_learning.errors import CheckpointError, GroupError
from curriculum_learning.samples.codec import decode, encode, encode_group
from curriculum_learning.samples.sample import Sample, flatten
from curriculum_learning.service.leases import Leases
from curriculum_learning.service.service import LEASE_KEY, ServedDataSource, Service, unpack_group
from tests.harness import Group, arguments, as_data, interrupt

SIZES = {"math": 40, "code": 30}


class Client:
    """Draws and reports as a remote client does, without a network."""

    def __init__(self, service: Service, name: str) -> None:
        self.service, self.name = service, name
        self.number = 0

    def ask(self, kind: str, body: Any) -> bytes:
        """A request."""
        answer = self.service.request(self.name, self.number, kind, encode(body))
        self.number += 1
        return answer

    def draw(self, count: int, rollout: int | None = None) -> list[Group]:
        """Groups, with their leases."""
        return groups_of(self.ask("draw", [count, rollout]))

    def settle(self, groups: list[Group], rollout_id: int | None = None) -> None:
        """They are trained on."""
        samples = [
            {
                "group_index": sample.group_index,
                "index": sample.index,
                "reward": sample.reward,
                "metadata": sample.metadata,
            }
            for sample in flatten(groups)
        ]
        self.ask("settle", ["trained", rollout_id, samples])

    def give_back(self, groups: list[Group]) -> None:
        """They are not finished."""
        self.ask("return", [encode_group(group) for group in groups])


def groups_of(answer: bytes) -> list[Group]:
    """What a request for groups was answered."""
    number, encoded = decode(answer)
    groups = [unpack_group(packed, Sample) for packed in encoded]
    for sample in flatten(groups):
        sample.metadata[LEASE_KEY] = number
    return groups


def ids(groups: list[Group]) -> list[int]:
    """The ids of groups."""
    return [group[0].group_index for group in groups]


def service(folder: Path, run: str = "run", resume: bool = False, **changes: Any) -> Service:
    """A service that keeps its files in ``folder``; made again, it is the restarted one."""
    return Service(
        ServedDataSource(arguments(folder, SIZES, **changes)),
        Leases(60.0),
        folder=folder / "save",
        name="test",
        run=run,
        resume=resume,
        checkpoint_interval=3,
        now=lambda: 0.0,
    )


def test_groups_of_a_dead_client_are_served_first(tmp_path: Path) -> None:
    """With the ids they had; what had come back unfinished is as it was then."""
    one = service(tmp_path)
    dead, other = Client(one, "dead"), Client(one, "other")
    groups = dead.draw(4)
    dead.give_back([interrupt(groups[1])])
    groups = dead.draw(2)
    interrupt(groups[0])
    assert ids(groups) == [1, 4]
    other.give_back(other.draw(1))
    one.give_up("dead", "given_up")
    again = other.draw(6)
    assert ids(again) == [0, 2, 3, 1, 4, 5]
    assert again[3][0].response == "xxx"


def test_a_state_shows_what_each_client_held(tmp_path: Path) -> None:
    """The command line reads the leases out of the state of a service."""
    one = service(tmp_path)
    Client(one, "a").draw(3)
    Client(one, "b").draw(2)
    one.checkpoint()()
    found = look_at(tmp_path / "save" / "ray_service" / "test.state")["latest"]
    leased = {name: client["leased"] for name, client in found["clients"].items()}
    assert leased == {"/a": 3, "/b": 2}
    assert found["groups"]["in_flight"] == 5


def test_a_late_answer_changes_nothing(tmp_path: Path) -> None:
    """The group is served to another client and settled by it, once."""
    one = service(tmp_path)
    late, other = Client(one, "late"), Client(one, "other")
    groups = late.draw(3)
    late.settle(groups[:1])
    one.give_up("late", "expired")
    again = other.draw(2)
    assert ids(again) == [1, 2]
    with pytest.raises(GroupError, match=r"\[1\].*do not train") as raised:
        late.settle(groups[1:2])
    assert raised.value.value == [1]
    with pytest.raises(GroupError, match=r"\[2\]"):
        late.give_back([interrupt(groups[2])])
    other.settle(again)
    assert one.leases.counts == {"settled": 3, "expired": 2, "late": 2}
    assert one.source.source_counts()["math"]["trained"] == 2


def test_a_request_that_is_sent_again_is_answered_again(tmp_path: Path) -> None:
    """After a kill too: with the groups of the first time, which are not drawn again."""
    one = service(tmp_path)
    client = Client(one, "a")
    first = client.ask("draw", [3, None])
    assert one.answered("a", 0) == first
    for _ in range(2):
        one = service(tmp_path)
        assert as_data(groups_of(one.answered("a", 0) or b"")) == as_data(groups_of(first))
    assert one.leases.held("a") == [0, 1, 2]
    assert ids(Client(one, "b").draw(2)) == [3, 4]


def test_a_service_that_is_killed_at_any_moment_goes_on(tmp_path: Path) -> None:
    """Over 60 random operations of 3 clients, killed and not, groups and leases are the same."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    outcomes = [_history(tmp_path / name, name == "killed") for name in ("whole", "killed")]
    assert outcomes[0] == outcomes[1]


def _history(folder: Path, killed: bool) -> list[Any]:
    randomness = random.Random(3)
    one = service(folder)
    clients = [Client(one, name) for name in "abc"]
    held: dict[str, list[Group]] = {name: [] for name in "abc"}
    seen: list[Any] = []
    for operation in range(60):
        client = randomness.choice(clients)
        mine = held[client.name]
        kind = randomness.randrange(5)
        if kind < 2:
            groups = client.draw(randomness.randrange(4), operation // 10)
            seen.append(as_data(groups))
            mine += groups
        elif kind == 2 and mine:
            client.settle(mine[:3], rollout_id=operation // 10)
            del mine[:3]
        elif kind == 3 and mine:
            client.give_back([interrupt(mine.pop(0))])
        elif kind == 4 and randomness.random() < 0.3:
            one.give_up(client.name, "expired")
            mine.clear()
        written, restarted = randomness.random() < 0.5, randomness.random() < 0.4
        if one.checkpoint_due:
            write = one.checkpoint()
            if written or not killed:  # else a kill comes before it is
                write()
        if killed and restarted:
            one = service(folder)
            for client in clients:
                client.service = one
    return [seen, one.source.source_counts(), {name: one.leases.held(name) for name in "abc"}]


def test_an_operation_that_was_cut_short_has_not_been_carried_out(tmp_path: Path) -> None:
    """It was not answered either; the one before it counts."""
    one = service(tmp_path)
    client = Client(one, "a")
    client.draw(2)
    client.draw(2)
    assert one.operations is not None
    path = one.operations.path
    path.write_bytes(path.read_bytes()[:-3])
    one = service(tmp_path)
    assert one.leases.held("a") == [0, 1]
    assert one.answered("a", 1) is None


def test_another_run_begins_anew_or_resumes(tmp_path: Path) -> None:
    """With ``resume`` what the clients of the former run held is served first."""
    Client(service(tmp_path), "a").draw(3)
    resumed = service(tmp_path, run="second", resume=True)
    assert ids(Client(resumed, "b").draw(4)) == [0, 1, 2, 3]
    fresh = service(tmp_path, run="third")
    assert len(fresh.leases) == 0
    assert ids(Client(fresh, "c").draw(1)) == [0]


def test_what_cannot_be_carried_out_again_is_refused(tmp_path: Path) -> None:
    """A restart with other rows does not go on from the old state."""
    Client(service(tmp_path), "a").draw(3)
    path = tmp_path / "math.jsonl"
    text = path.read_text()
    with pytest.raises(CheckpointError, match="math"):
        Service(
            ServedDataSource(
                {
                    **vars(arguments(tmp_path, SIZES)),
                    "prompt_data": [_changed(path, text), str(tmp_path / "code.jsonl")],
                    "prompt_data_source_names": ["math", "code"],
                }
            ),
            Leases(60.0),
            folder=tmp_path / "save",
            name="test",
            run="run",
            resume=False,
            checkpoint_interval=20,
            now=lambda: 0.0,
        )


def _changed(path: Path, text: str) -> str:
    changed = path.with_name("changed.jsonl")
    changed.write_text(text.replace("math 7", "maths 7"))
    return str(changed)


def test_loading_a_rollout_ends_all_leases(tmp_path: Path) -> None:
    """It is refused while other clients hold groups; a restart stays at what was loaded."""
    one = service(tmp_path)
    client, other = Client(one, "a"), Client(one, "b")
    client.settle(client.draw(2), rollout_id=0)
    one.source.save(0)
    client.draw(2)
    other.draw(1)
    with pytest.raises(GroupError, match="3 groups are leased"):
        one.load("a", client.number, 0)
    one.give_up("b", "given_up")
    one.load("a", client.number, 0)
    one = service(tmp_path)
    assert one.answered("a", client.number) is not None
    assert ids(Client(one, "c").draw(2)) == [2, 3]
