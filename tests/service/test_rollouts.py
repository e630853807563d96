"""What a service keeps of the ends of rollouts, over failures, saves, loads and kills."""

from __future__ import annotations

from pathlib import Path

import pytest

from curriculum_learning.errors import CheckpointError, GroupError
from curriculum_learning.samples.sample import flatten
from curriculum_learning.service.database import Changes, NotWrittenError
from curriculum_learning.service.messages import Settle, Step, told
from curriculum_learning.state.files import states_in
from tests.harness import interrupt
from tests.service.clients import Client, Service, ids, state_of
from tests.service.test_recovery import damage


def test_what_comes_in_before_a_save_is_part_of_the_rollout_after_a_kill(tmp_path: Path) -> None:
    """The save takes the state of the rollout again, and the database has that one."""
    service = Service(tmp_path, load=str(tmp_path / "save-0"), autosave=False)
    client = Client(service, "a")
    groups = client.draw(4)
    client.settle(groups[:2], 0)
    client.settle(groups[2:3], 0, fate="dropped")
    client.give_back([interrupt(groups[3])])
    service.actor.save(0)
    before = state_of(service)
    service.kill_and_restart()
    service.actor.disconnect("a")
    assert state_of(service) == before
    client = Client(service, "b")
    client.load(0)
    assert (service.counts("trained"), service.counts("dropped")) == (2, 1)
    (again,) = client.draw(1)
    assert (ids([again]), again[0].response) == ([3], "xxx")


@pytest.mark.parametrize("step", [2**31 - 1, 2**63, -1])
def test_a_step_that_no_state_can_hold_is_refused(tmp_path: Path, step: int) -> None:
    """Else the service could not start again."""
    service = Service(tmp_path)
    client = Client(service, "a")
    groups = client.draw(1)
    with pytest.raises(GroupError, match="sent no request"):
        client.ask(Step(step))
    with pytest.raises(GroupError, match="sent no request"):
        client.ask(Settle("trained", step, told(flatten(groups), rewards=False)))
    service.kill_and_restart()
    client.settle(groups, 2**31 - 2)
    service.kill_and_restart()
    assert service.actor.figure("rollout_step") == 2**31 - 1


def test_a_save_beside_a_failing_write_holds_what_is_in_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rollout that has not ended is not saved as if it had."""
    service = Service(tmp_path, autosave=False)
    client = Client(service, "a")
    groups = client.draw(3)
    client.settle(groups[:1], 0)
    store = service.actor._service.database
    assert store is not None

    def fail(changes: Changes) -> None:
        raise NotWrittenError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", fail)
        with pytest.raises(CheckpointError, match="the disk is full"):
            client.settle(groups[1:], 1)
        with pytest.raises(CheckpointError, match="the disk is full"):
            service.actor.save(1)
    assert not [*states_in(service.save)]
    service.actor.save(0)
    assert [state.rollout_id for state in states_in(service.save)] == [0]
    client.settle(groups[1:], 1)
    assert service.counts("trained") == 3


def test_a_refused_load_changes_nothing(tmp_path: Path) -> None:
    """A saved rollout still has the content of groups that have begun."""
    service = Service(tmp_path, load=str(tmp_path / "save-0"))
    client = Client(service, "a")
    groups = client.draw(2)
    client.settle(groups[:1], 0)
    client.give_back([interrupt(groups[1])])
    service.actor.save(0)
    before = state_of(service)
    with pytest.raises(CheckpointError, match="99"):
        client.load(99)
    assert state_of(service) == before
    client.load(0)
    (again,) = client.draw(1)
    assert (ids([again]), again[0].response) == ([1], "xxx")


def test_prompts_of_the_engine_are_loaded_too(tmp_path: Path) -> None:
    """Also by a service whose database is lost."""
    service = Service(tmp_path, rollout_global_dataset=False, load=str(tmp_path / "save-1"))
    client = Client(service, "a")
    client.settle(client.draw(3), 0)
    service.actor.save(0)
    service.kill()
    for file in service.path.parent.iterdir():
        file.unlink()
    service.restart()
    client = Client(service, "b")
    client.load(0)
    assert ids(client.draw(1)) == [3]


def test_a_rollout_whose_state_is_damaged_is_not_saved(tmp_path: Path) -> None:
    """The state of now would stand in the place of the one of then."""
    service = Service(tmp_path, autosave=False)
    client = Client(service, "a")
    for rollout_id in range(3):
        client.settle(client.draw(2, rollout_id), rollout_id)
    service.kill()
    damage(service, "rollouts", 1)
    service.restart()
    with pytest.raises(CheckpointError, match="rollout 1 "):
        service.actor.save(1)
    service.actor.save(2)
    assert [state.rollout_id for state in states_in(service.save)] == [2]


def test_the_same_rollouts_are_kept_after_a_kill(tmp_path: Path) -> None:
    """Clients with rollout counts of their own may log them in any order."""
    service = Service(tmp_path, autosave=False)
    client = Client(service, "a")
    for rollout_id in (7, 4, 5, 6):
        client.settle(client.draw(2), rollout_id)
    service.kill_and_restart()
    client.settle(client.draw(2), 3)
    for rollout_id in (7, 4, 2):
        with pytest.raises(CheckpointError, match=r"ended too long ago.*\[3, 5, 6\]"):
            service.actor.save(rollout_id)
    for rollout_id in (5, 6, 3):
        service.actor.save(rollout_id)


def test_a_client_holds_its_groups_in_the_same_order_after_a_kill(tmp_path: Path) -> None:
    """So the answer to a request that is sent again is the same, whatever was reported since."""
    service = Service(tmp_path)
    client = Client(service, "a")
    groups = client.draw(4)
    groups = [*groups, *client.draw(2)]
    client.settle([groups[3], groups[0]], fate="finished")
    service.kill_and_restart()
    assert service.actor._service.leases.held("a") == [0, 1, 2, 3, 4, 5]
