"""What a client on a real cluster is interrupted in, or the service cannot take back at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

ray = pytest.importorskip("ray")

from curriculum_learning.errors import CheckpointError  # noqa: E402
from curriculum_learning.ray_service import RemoteDataSource  # noqa: E402
from curriculum_learning.service.draws import Draws  # noqa: E402
from curriculum_learning.service.messages import (  # noqa: E402
    Cancel,
    GiveUp,
    Request,
    decode_request,
)
from tests.service.clients import ids, leased, wait_until  # noqa: E402


def test_an_interrupted_draw_leaks_no_lease(connect: Callable[..., RemoteDataSource]) -> None:
    """A coroutine is cancelled at any time, or the user interrupts."""
    client = connect({"max_leased_groups": 4})

    async def cancelled(seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            client.observe(
                await asyncio.wait_for(client.get_samples_async(3), seconds), fate="trained"
            )

    for wait in (0.0, 0.0003, 0.001, 0.002, 0.005):
        asyncio.run(cancelled(wait))
        client.observe(client.get_samples(3), fate="trained")
    groups = client.get_samples(3)
    asyncio.run(cancelled(0.3))
    with pytest.raises(KeyboardInterrupt), alarm(0.3):
        client.get_samples(2)
    assert leased(client) == 3
    client.observe(groups, fate="trained")
    groups = client.get_samples(4)
    client.observe(groups, fate="trained")
    assert leased(client) == 0
    assert client.service_status()[""]["settled"] == max(ids(groups)) + 1


@pytest.mark.parametrize("place", ["_groups_of", "_fetch_ahead"])
def test_an_answer_whose_reading_is_interrupted_leaks_no_lease(
    connect: Callable[..., RemoteDataSource], place: str
) -> None:
    """It is taken back, and nothing that was held ready is served twice."""
    client = connect({"prefetch": 3})
    real, trained = getattr(Draws, place), []

    def interrupted(*args: Any) -> None:
        real(*args)
        raise KeyboardInterrupt

    for _ in range(3):
        groups = client.get_samples(2)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Draws, place, interrupted)
            with pytest.raises(KeyboardInterrupt):
                client.get_samples(4)
        groups += client.get_samples(5)
        client.observe(groups, fate="trained")
        trained += ids(groups)
        wait_until(lambda: leased(client) == 3)
    client.close()
    rest = ids(connect().get_samples(30))
    assert sorted(trained + rest) == [*range(len(trained) + 30)]


class Refusing:
    """A method of the actor that fails once for a kind of request, as on a full disk."""

    def __init__(self, method: Any, kind: type[Request]) -> None:
        self._method, self._kind, self.refused = method, kind, 0

    def remote(self, data: bytes) -> Any:
        """Calls it, or an error."""
        if isinstance(decode_request(data).request, self._kind) and not self.refused:
            self.refused += 1
            return ray.remote(num_cpus=0)(refuse).remote()
        return self._method.remote(data)


def refuse() -> None:
    """What a service raises that cannot write."""
    raise CheckpointError("the disk is full")


def test_a_cancel_that_fails_is_sent_again(connect: Callable[..., RemoteDataSource]) -> None:
    """Else the groups of a draw that nobody waits for are leased for good."""
    client = connect({"max_leased_groups": 4, "lease_timeout": 5.0})
    methods = client._channel._methods
    methods[False] = refusing = Refusing(methods[False], Cancel)
    groups = client.get_samples(3)
    with contextlib.suppress(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(client.get_samples_async(2), 0.3))
    wait_until(lambda: refusing.refused)
    client.observe(groups, fate="trained")
    wait_until(lambda: not client._channel._cancelled)
    assert leased(client) == 0
    assert ids(client.get_samples(4)) == [3, 4, 5, 6]


def test_what_cannot_be_given_back_is_kept(connect: Callable[..., RemoteDataSource]) -> None:
    """What was fetched ahead of a load that fails comes next."""
    client = connect({"prefetch": 3})
    client.get_samples(1)
    wait_until(lambda: leased(client) == 4)
    client.get_samples(1)  # those that were coming are ready
    methods = client._channel._methods
    methods[False] = Refusing(methods[False], GiveUp)
    with pytest.raises(CheckpointError, match="the disk is full"):
        client.load()
    wait_until(lambda: not client._channel._cancelled)
    assert ids(client.get_samples(5)) == [2, 3, 4, 5, 6]


def test_a_group_that_is_drawn_again_before_its_return_is_heard_of_is_held(
    connect: Callable[..., RemoteDataSource],
) -> None:
    """Two coroutines of a client; one transaction may answer both, in any order."""
    client = connect()
    groups = client.get_samples(1)
    returning = client._returning(groups)
    answer = ray.get(next(returning).reference)
    again = client.get_samples(1)
    with pytest.raises(StopIteration):
        returning.send(answer)
    assert ids(again) == ids(groups)
    assert client.recognises(again[0][0])


def test_a_load_beside_a_draw_that_waits(connect: Callable[..., RemoteDataSource]) -> None:
    """The draw returns groups that are leased after the load, and the client knows them."""
    client = connect({"max_leased_groups": 4, "prefetch": 2})
    client.get_samples(2)
    wait_until(lambda: leased(client) == 4)
    client.save(0)
    drawn: list[Any] = []
    draw = threading.Thread(target=lambda: drawn.extend(client.get_samples(3)), daemon=True)
    draw.start()
    wait_until(lambda: client.service_status()[""]["waits"])
    client.load(0)
    draw.join(60)
    assert sorted(client._held) == sorted(ids(drawn))
    client.observe(drawn, fate="trained")


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Interrupt, as a user does."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
