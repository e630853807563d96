from __future__ import annotations

import dataclasses
import itertools
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning.errors import CheckpointError, GroupError
from curriculum_learning.samples.sample import flatten
from curriculum_learning.service.messages import Step
from tests.harness import Group, interrupt
from tests.service.clients import Client, Service, ids, leases_of, state_of

REWARD = {"reward_threshold": 0.4, "min_batches_per_level": 1, "check_frequency": 1}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "stale": {"max_staleness": 1, "on_stale": "drop"},
    "reset": {"max_staleness": 0},
    "filtered": {"buffer_filter_path": "tests.service.test_recovery.drop_some"},
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
            service.actor.heartbeat(client.name, 0, [], [])
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
    weights = ["tests.service.test_recovery.weigh", 1.0]
    service = Service(tmp_path, data_source_weights=weights)
    client = Client(service, "a")
    drawn = [client.draw(3, rollout) for rollout in range(6)]
    rows = {
        ids([group])[0]: group[0].metadata["data_source_row"] for group in itertools.chain(*drawn)
    }
    service.kill_and_restart()
    ledger = service.actor._service._run.groups.ledger
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


def damage(service: Service, table: str, key: Any) -> None:
    """Changes a byte of a row in the database of a killed service."""
    with sqlite3.connect(service.path) as connection:
        select = f"SELECT data FROM {table} WHERE key = ?"  # not a user's text
        (data,) = connection.execute(select, [key]).fetchone()
        damaged = data[:-1] + bytes([data[-1] ^ 1])
        connection.execute(f"UPDATE {table} SET data = ? WHERE key = ?", [damaged, key])
    connection.close()


def test_a_damaged_row_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The service starts without the group, logs it, and counts it in the status."""
    service = Service(tmp_path)
    client = Client(service, "a")
    groups = client.draw(4)
    client.give_back([interrupt(groups[3])])
    service.kill()
    damage(service, "groups", 1)
    damage(service, "partials", 3)
    service.restart()
    assert "groups 1 is damaged, and set aside" in caplog.text
    assert service.actor.service_status()[""]["set_aside"] == 2
    assert leases_of(service) == {"a": [0, 2]}
    client.settle([groups[0], groups[2]])
    (again,) = client.draw(1)
    assert (ids([again]), again[0].response) == ([3], "")
    service.kill_and_restart()
    assert service.actor.service_status()[""]["set_aside"] == 2


@pytest.mark.parametrize("part", ["mixture", "constants", "source math"])
def test_a_damaged_part_says_what_to_do(tmp_path: Path, part: str) -> None:
    """The service cannot go on without it."""
    service = Service(tmp_path)
    Client(service, "a").draw(2)
    service.kill()
    damage(service, "parts", part)
    with pytest.raises(CheckpointError, match=r"a part of the state is missing.* Move .*\* away"):
        service.restart()


def test_a_damaged_database_says_what_to_do(tmp_path: Path) -> None:
    """Moved away, it makes room for the state of a rollout."""
    service = Service(tmp_path)
    client = Client(service, "a")
    client.settle(client.draw(3), rollout_id=0)
    service.actor.save(0)
    client.draw(2)
    service.kill()
    log = service.path.with_name(f"{service.path.name}-wal")
    log.write_bytes(log.read_bytes()[:-5000])
    for _ in range(2):
        with pytest.raises(
            CheckpointError, match=r"transactions are lost\. Move .*\* away"
        ) as error:
            service.restart()
    assert service.path.name in str(error.value)
    for file in service.path.parent.iterdir():
        file.rename(tmp_path / file.name)
    service.restart()
    client = Client(service, "b")
    client.load(0)
    assert ids(client.draw(2)) == [3, 4]
    assert service.counts("trained") == 3
