"""The way from a client to the service: numbered requests, signs of life, plain errors."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
import uuid
import weakref
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple, TypeVar

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from curriculum_learning import errors
from curriculum_learning.config.plan import ServicePlan
from curriculum_learning.errors import CurriculumLearningError, GroupError
from curriculum_learning.service.actor import ServiceActor
from curriculum_learning.service.messages import Cancel, Draw, Numbered, Request, encode_message

_TRIES = 10
"""Seconds to wait until Ray has noticed that a service is dead."""
_HEARTBEATS = 5
"""So many are sent in a ``lease_timeout``."""
_THREADS = {"draws": 256, "stays": 256, "heartbeats": 16}
"""Calls that may wait at once in the actor; further ones wait outside."""
_RAISED = re.compile(rf"\b{re.escape(errors.__name__)}\.(\w+): (.*)", re.DOTALL)
"""An error of ours at the end of a traceback: Ray keeps only the text of a constructor's."""
_REQUESTS = 64
"""Other calls at once: so many requests share a transaction."""


class Sent(NamedTuple):
    """A request on its way."""

    number: int
    reference: Any
    at: float


T = TypeVar("T")
Steps = Generator[Sent, bytes, T]
"""What waits for the answer to each request that it yields."""


class Channel:
    """Connects one client to the service of a name, which it starts if there is none.

    A request is carried out once, however often Ray sends it. All methods may be called from any
    thread. The arguments are those of ``ServiceActor``, and ``saves``: it survives a kill.

    Raises:
        CurriculumLearningError: The service cannot start, is dead, or refuses this client.
    """

    def __init__(self, args: Any, texts: dict[str, str], config: ServicePlan, saves: bool) -> None:
        context = ray.get_runtime_context()
        self._session = context.get_session_name()
        self._config = config
        self._client = uuid.uuid4().hex[:16]
        self.rows: int | None
        """Rows of all sources; None if they have no end."""
        self.learns: bool
        """Whether rewards are of use to the service."""
        self._lock = threading.Lock()
        self._next = 0
        self._unanswered: set[int] = set()
        self._cancelled: set[int] = set()
        """Those whose answer nobody waits for, until the service has taken it back."""
        self._heard = self._since = time.monotonic()
        """When the latest request was sent to which the service has answered, and since when the
        service has heard this client without a pause of ``lease_timeout``."""
        self._closed = threading.Event()
        service = ray.remote(concurrency_groups=_THREADS)(ServiceActor).options(
            name=config.name,
            namespace=config.namespace,
            get_if_exists=True,
            lifetime="detached" if config.detached else None,
            max_restarts=config.max_restarts if saves else 0,
            max_task_retries=-1 if saves and config.max_restarts else 0,
            max_concurrency=_REQUESTS,
            num_cpus=0,
        )
        # Services of one name, namespace and cluster are of one run: each continues the last.
        run = f"{self._session}/{config.namespace or context.namespace}/{config.name}"
        label = f"{ray.util.get_node_ip_address()}:{os.getpid()}"
        for tries in reversed(range(_TRIES)):
            self._actor: Any = service.remote(args, texts, run, config)
            try:
                self.rows, self.learns = self.call("connect", self._client, label, texts)
                break
            except CurriculumLearningError as error:
                died = error.__cause__
                if not tries or not isinstance(died, RayActorError) or died.actor_init_failed:
                    raise
            time.sleep(1.0)  # it has died with the process that made it: Ray forgets it soon
        request = self._actor.request
        # Requests that wait for the disk hold up no sign of life.
        self._heartbeat = self._actor.heartbeat.options(concurrency_group="heartbeats")
        self._methods = {True: request.options(concurrency_group="draws"), False: request}
        # This process owns the object that ``stay`` will return; heartbeats tell the service.
        self._stay = self._actor.stay.options(concurrency_group="stays").remote(self._client)
        threading.Thread(
            target=_beat,
            args=(weakref.ref(self), self._closed, config.lease_timeout / _HEARTBEATS),
            name="curriculum_learning heartbeat",
            daemon=True,
        ).start()

    def call(self, method: str, *args: Any) -> Any:
        """Calls a method of the actor that may be called twice."""
        with _plain_errors(self._config.name):
            return ray.get(getattr(self._actor, method).remote(*args))

    # Requests

    def take(self, steps: Steps[T]) -> T:
        """Takes all steps; if it is interrupted, the request that waits is cancelled."""
        steps = self._noting(steps)
        with contextlib.closing(steps), _plain_errors(self._config.name):
            try:
                sent = next(steps)
                while True:
                    sent = steps.send(ray.get(sent.reference))
            except StopIteration as end:
                result: T = end.value
                return result

    async def take_async(self, steps: Steps[T]) -> T:
        """As ``take``."""
        steps = self._noting(steps)
        with contextlib.closing(steps), _plain_errors(self._config.name):
            try:
                sent = next(steps)
                while True:
                    sent = steps.send(await sent.reference)
            except StopIteration as end:
                result: T = end.value
                return result

    def _noting(self, steps: Steps[T]) -> Steps[T]:
        """Takes all steps, and notes which requests are answered; the last one may be cancelled."""
        sent = None
        with contextlib.closing(steps):
            try:
                sent = next(steps)
                while True:
                    answer = yield sent
                    self._was_heard(sent.at)
                    last, sent = sent, steps.send(answer)
                    self._received(last.number)
            except StopIteration as end:
                if sent is not None:
                    self._received(sent.number)
                result: T = end.value
                return result
            except BaseException:
                if sent is not None:
                    self.cancel(sent.number)
                raise

    def send(self, request: Request) -> Sent:
        """Sends a request."""
        with self._lock:
            number, self._next = self._next, self._next + 1
            message = Numbered(self._client, number, [*self._unanswered], request)
            self._unanswered.add(number)
        method, at = self._methods[isinstance(request, Draw)], time.monotonic()
        try:
            return Sent(number, method.remote(encode_message(message)), at)
        except BaseException:  # it may be on its way: the next sign of life cancels it
            self._cancelled.add(number)
            raise

    def cancel(self, number: int) -> None:
        """Lets the service take back what it answers to a request."""
        self._cancelled.add(number)
        if self._is_open():
            cancel = self.send(Cancel(number))
            cancel.reference.future().add_done_callback(
                lambda done: self._has_cancelled(number, cancel.number, done.exception())
            )

    def _has_cancelled(self, number: int, cancel: int, error: BaseException | None) -> None:
        self._received(cancel)
        # Else the service could take nothing back: the next sign of life sends it again.
        if error is None or isinstance(error, GroupError):
            self._cancelled.discard(number)
            # Until now the service has kept the answer, and knew what to take back.
            self._received(number)

    def may_have_expired(self, at: float) -> bool:
        """Whether the service may have ended the leases on what was asked for at a time."""
        with self._lock:
            return at < self._since or self._is_silent()

    def doubt(self) -> None:
        """Lets ``may_have_expired`` say so of all that was asked for until now."""
        with self._lock:
            self._since = time.monotonic()

    def _is_silent(self) -> bool:
        return time.monotonic() - self._heard > self._config.lease_timeout

    def _was_heard(self, at: float) -> None:
        with self._lock:
            if self._is_silent():
                self._since = time.monotonic()
            self._heard = max(self._heard, at)

    def _received(self, *numbers: int) -> None:
        with self._lock:
            self._unanswered.difference_update(numbers)

    # Signs of life, and the end

    def beat(self, before: Sent | None) -> Sent:
        """Gives a sign of life, unless the one before waits for an actor that starts again."""
        if before is not None:
            if not ray.wait([before.reference], timeout=0)[0]:
                return before
            with contextlib.suppress(RayError):  # the service is dead
                ray.get(before.reference)
                self._was_heard(before.at)
                for number in list(self._cancelled):
                    self.cancel(number)
        with self._lock:
            waiting = [*self._unanswered]
            beat = self._heartbeat.remote(self._client, self._next, waiting, [self._stay])
        return Sent(-1, beat, time.monotonic())

    def _is_open(self) -> bool:
        """Whether a call reaches the service; without its cluster, Ray would start another one."""
        return not self._closed.is_set() and self._is_connected()

    def _is_connected(self) -> bool:
        return bool(
            ray.is_initialized() and ray.get_runtime_context().get_session_name() == self._session
        )

    def close(self) -> None:
        """Ends this client; the service stays."""
        if self._is_open():
            self._closed.set()
            with contextlib.suppress(CurriculumLearningError, RayError):  # it is dead already
                self.call("disconnect", self._client)

    def shut_down(self) -> None:
        """Ends the service, for all clients."""
        if self._is_connected():
            self._closed.set()
            self._actor.disconnect.remote(self._client)
            ray.wait([self._stay], timeout=2.0)  # Ray would say that it failed
            ray.kill(self._actor)


def _beat(reference: weakref.ref[Channel], closed: threading.Event, interval: float) -> None:
    """Gives signs of life until the client is closed or forgotten."""
    sent = None
    while (channel := reference()) is not None and channel._is_open():
        sent = channel.beat(sent)
        del channel
        closed.wait(interval)


@contextlib.contextmanager
def _plain_errors(name: str) -> Iterator[None]:
    """Raises the errors of the service as they were raised there."""
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, CurriculumLearningError):
            raise error.cause from None
        raise
    except RayActorError as error:
        if raised := _RAISED.search(str(error)) if error.actor_init_failed else None:
            kind, problem = getattr(errors, raised[1]), raised[2].strip()
            raise kind(f"the service '{name}' cannot start: {problem}") from error
        raise CurriculumLearningError(
            f"the service '{name}' could not start, or is dead for good: {error}; where save is "
            f"set, it comes back ray_service.max_restarts times",
            key="ray_service",
            value=name,
        ) from error
