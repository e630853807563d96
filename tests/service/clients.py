"""A client without Ray, and kills without processes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest import mock

from curriculum_learning.config.plan import ServicePlan
from curriculum_learning.groups.served import listed
from curriculum_learning.samples.codec import encode, encode_group
from curriculum_learning.samples.sample import Group, flatten
from curriculum_learning.service.actor import ServiceActor
from curriculum_learning.service.draws import Draws
from curriculum_learning.service.messages import (
    Cancel,
    Draw,
    Fate,
    GiveUp,
    Load,
    Numbered,
    Request,
    Return,
    Settle,
    encode_message,
    told,
)
from tests.harness import arguments

SIZES = {"math": 40, "code": 30}
RAY_SIZES = {"math": 60, "code": 40}
"""Of the services on a cluster."""


class Service:
    """An actor in this process, which can be killed.

    Args:
        folder: For prompt files, and for the save folders of the incarnations.
        config: Keys of ``ray_service``.
        changes: Arguments of the data source.
    """

    def __init__(self, folder: Path, config: dict[str, Any] | None = None, **changes: Any) -> None:
        self._folder = folder
        self._incarnation = 0
        self.config = ServicePlan(**{"lease_timeout": 600.0, **(config or {})})
        self.changes: dict[str, Any] = changes
        self.run = "run"
        self.actor = self._start()

    @property
    def save(self) -> Path:
        """The save folder of now."""
        return self._folder / f"save-{self._incarnation}"

    @property
    def path(self) -> Path:
        """The database of now."""
        return self.save / "ray_service" / f"{self.config.name}.sqlite"

    def _start(self) -> ServiceActor:
        args = arguments(self._folder, SIZES, **{"save": str(self.save), **self.changes})
        return make_actor(args, self.run, self.config)

    def kill(self) -> None:
        """Leave everything as it lies on the disk, where no process holds it."""
        before = self.save
        self.actor._service._states.finish_writing()
        self._incarnation += 1
        shutil.copytree(before, self.save)

    def restart(self) -> None:
        """Start the next incarnation after a kill."""
        self.actor = self._start()

    def kill_and_restart(self) -> None:
        """Both."""
        self.kill()
        self.restart()

    def counts(self, what: str) -> int:
        """Groups of all sources."""
        counts = self.actor.figure("source_counts")
        return int(sum(by_source.get(what, 0) for by_source in counts.values()))


class Client:
    """Draws and reports as a remote client does."""

    def __init__(self, service: Service, name: str) -> None:
        self.service, self.name = service, name
        self.number = 0
        self.waiting: list[int] = []
        """Requests whose answers it never fetches."""
        self._draws = Draws(None, 2, 0)  # type: ignore[arg-type]  # it is not used
        service.actor.connect(name, "label", {})

    def encoded(self, request: Request, number: int | None = None) -> bytes:
        """A request as it is sent; without a number, the next one."""
        if number is None:
            number, self.number = self.number, self.number + 1
        waiting = [*self.waiting, *range(self.number, number)]
        return encode_message(Numbered(self.name, number, waiting, request))

    def ask(self, request: Request, number: int | None = None) -> bytes:
        """The answer to a request."""
        return self.service.actor.request(self.encoded(request, number))

    def groups(self, answer: bytes) -> list[Group]:
        """The groups of an answer."""
        return [leased.group for leased in self._draws._groups_of(answer, 0)]

    def draw(self, count: int, rollout: int | None = None) -> list[Group]:
        """Groups."""
        return self.groups(self.ask(Draw(count, rollout)))

    def settle(
        self, groups: Iterable[Group], rollout_id: int | None = None, fate: Fate = "trained"
    ) -> None:
        """Their fate is known."""
        self.ask(Settle(fate, rollout_id, told(flatten(groups), rewards=True)))

    def give_back(self, groups: Iterable[Group]) -> None:
        """They are not finished."""
        self.ask(Return([encode_group(group) for group in groups]))

    def give_up(self, groups: Iterable[Group]) -> None:
        """They are not wanted."""
        self.ask(
            GiveUp([(group, lease) for group, lease, _ in told(flatten(groups), rewards=False)])
        )

    def cancel(self, number: int) -> None:
        """Nobody waits for the answer to a request."""
        self.ask(Cancel(number))

    def load(self, rollout_id: int | None) -> None:
        """Go to a saved state."""
        self.ask(Load(rollout_id))


def make_actor(args: Any, run: str, config: ServicePlan) -> ServiceActor:
    """An actor that watches no clients: the thread would outlive the test."""
    with mock.patch.object(ServiceActor, "_watch"):
        return ServiceActor(args, {}, run, config)


def ids(groups: Iterable[Group]) -> list[int]:
    """The ids of groups."""
    return [next(flatten(group)).group_index for group in groups]


def state_of(service: Service) -> dict[str, Any]:
    """The state of its data source, as comparable data."""
    state = service.actor._service.state_dict()
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


def leased(client: Any) -> int:
    """Groups that all remote clients hold."""
    return int(client.service_status()[""]["leased"])


def wait_until(condition: Callable[[], Any]) -> None:
    """Waits for what other processes bring about."""
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
