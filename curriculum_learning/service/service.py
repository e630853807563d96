"""A data source with many clients: its requests, its leases, and how it comes back after a kill.

Every operation is carried out, appended to a file and only then answered. Draws are exact and
deterministic, so an operation is small (who asked for how many groups), and after a kill the
operations since the last state, carried out again on that state, give the same groups with the
same ids to the same clients.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer
from curriculum_learning.engines.slime import sample_class
from curriculum_learning.errors import CheckpointError, CurriculumLearningError, GroupError
from curriculum_learning.samples.codec import decode, decode_group, encode, encode_group
from curriculum_learning.samples.sample import Group, flatten
from curriculum_learning.service.leases import Claim, Leases
from curriculum_learning.service.operations import Operations, read_operations
from curriculum_learning.state.checkpoint import read_state, write_state

logger = logging.getLogger(__name__)

LEASE_KEY = "data_source_lease"
"""The entry in the metadata of each sample that has the number of its group's lease."""


class _Done(NamedTuple):
    """What has become of an operation."""

    answer: bytes
    ids: list[int]
    """The groups concerned; carried out again, it must concern the same ones."""


def pack_group(group: Group) -> list[Any]:
    """A group on its way to a client; the samples of a fresh one differ in nothing but ``index``.

    They travel as one of them and the indices of all, which is most of the time saved that the
    service would need for them.
    """
    first = group[0]
    alike = not isinstance(first, list) and all(
        not isinstance(sample, list) and {**vars(sample), "index": first.index} == vars(first)
        for sample in group
    )
    if not alike:
        return [encode_group(group), None]
    return [encode_group(group[:1]), [sample.index for sample in group]]


def unpack_group(packed: list[Any], sample_type: type[Any]) -> Group:
    """The group of which ``pack_group`` gave ``packed``."""
    data, indices = packed
    if indices is None:
        return decode_group(data, sample_type)
    group = [decode_group(data, sample_type)[0] for _ in indices]
    for sample, index in zip(group, indices, strict=True):
        sample.index = index
    return group


def claims_of(samples: Iterable[Any]) -> list[Claim]:
    """The groups that samples are of, each once, with the leases that they name."""
    claims: dict[Claim, None] = {}
    for sample in samples:
        group_index = getattr(sample, "group_index", None)
        if isinstance(group_index, int):
            metadata = getattr(sample, "metadata", None)
            number = metadata.get(LEASE_KEY) if isinstance(metadata, dict) else None
            claims[group_index, number] = None
    return list(claims)


class ServedDataSource(MultipleWeightedRolloutDataSourceWithBuffer):
    """A data source of which each error is answered to the client that has caused it."""

    def raise_swallowed_error(self) -> None:
        """None is swallowed here; the clients keep theirs."""


class Service:
    """Carries out the requests of clients on one data source, each of them once.

    Not thread-safe, but for ``source.save``, ``operations.sync`` and what ``checkpoint`` returns.

    Args:
        source: The data source, as it is made; nobody else may use it.
        leases: Who holds what; empty.
        folder: For states and operations; None keeps none, and a kill loses everything.
        name: The name of the service, and of its files.
        run: Identifies the run. Files of the same run are gone on from with all leases: it was
            killed. Those of another run are not, or only with ``resume``.
        resume: Go on from the files of another run; the leases of its clients have ended.
        checkpoint_interval: Settled groups between two states.
        now: Gives the time, in seconds.

    Raises:
        CheckpointError: The files are damaged or cannot be written, or are of another mix.
    """

    def __init__(
        self,
        source: MultipleWeightedRolloutDataSourceWithBuffer,
        leases: Leases,
        *,
        folder: Path | None,
        name: str,
        run: str,
        resume: bool,
        checkpoint_interval: int,
        now: Callable[[], float],
    ) -> None:
        self.source = source
        self.leases = leases
        self.operations: Operations | None = None
        self.freed: set[str] = set()
        """The clients of which leases have ended; whoever waits for that empties it."""
        self._folder = folder
        self._name = name
        self._run = run
        self._interval = checkpoint_interval
        self._now = now
        self._generation = 0
        self._writing = threading.Lock()
        self._written = 0
        """The generation of the state that was written last."""
        self._unsaved = 0
        """Groups settled since the last state."""
        self._sample_type = sample_class()
        self._kinds: dict[str, Callable[[str, Any], _Done]] = {
            "draw": self._draw,
            "return": self._return,
            "settle": self._settle,
            "give_up": self._give_up,
            "step": self._set_step,
            "metadata": self._update_metadata,
        }
        self._settle_from_now_on()
        if folder is not None:
            self._recover(resume)
            self.checkpoint()()

    def _settle_from_now_on(self) -> None:
        """Tell the data source that it will be told what becomes of each group."""
        self.source.observe([], fate="trained")

    # Requests

    def answered(self, client: str, number: int) -> bytes | None:
        """What a request was answered, if it was sent before; see ``Leases.answer``."""
        return self.leases.answer(client, number)

    def request(self, client: str, number: int, kind: str, body: bytes) -> bytes:
        """Carry out an operation, once; it may be answered when it has been synced.

        Args:
            client: Who asks.
            number: Of the request, counted by the client.
            kind: ``draw``, ``return``, ``settle``, ``give_up``, ``step`` or ``metadata``.
            body: What it is about, encoded; the methods of the client say what.

        Raises:
            CurriculumLearningError: It cannot be carried out; nothing has changed then.
        """
        answer, ids = self._carry_out(client, number, kind, body)
        self._append(client, number, kind, body, ids)
        return answer

    def give_up(self, client: str, how: str) -> list[int]:
        """A client is gone: the groups that it held are served again first.

        Args:
            client: Which.
            how: ``expired``: it was not heard for too long. ``given_up``: it has ended.

        Returns:
            The ids of the groups.
        """
        held = self.leases.held(client)
        if held:
            body = encode([[[group_index, None] for group_index in held], how])
            self._carry_out(client, -1, "give_up", body)
            self._append(client, -1, "give_up", body, held)
        if how == "given_up":
            self.leases.forget(client)
        return held

    def _append(self, client: str, number: int, kind: str, body: bytes, ids: list[int]) -> None:
        if self.operations is not None:
            self.operations.append(encode([client, number, kind, body, ids]))

    def _carry_out(self, client: str, number: int, kind: str, body: bytes) -> _Done:
        self.leases.hear(client, self._now())
        done = self._kinds[kind](client, decode(body))
        if number >= 0:
            self.leases.answered(client, number, done.answer)
        return done

    def _draw(self, client: str, body: Any) -> _Done:
        """``[count, rollout that the engine is in or None]``; the lease's number and the groups."""
        count, rollout = body
        if rollout is not None:
            self.source.rollout_begun(rollout)
        groups = self.source.get_samples(count)
        ids = [next(flatten(group)).group_index for group in groups]
        number = self.leases.grant(client, ids, self._now())
        return _Done(encode([number, [pack_group(group) for group in groups]]), ids)

    def _return(self, client: str, body: Any) -> _Done:
        """Encoded groups."""
        groups = [decode_group(data, self._sample_type) for data in body]
        claims = claims_of(flatten(groups))
        self.leases.check(client, claims)
        self.source.add_samples(groups)
        return self._ended(claims, "returned")

    def _settle(self, client: str, body: Any) -> _Done:
        """``[fate, rollout_id or None, samples]``, of these what feedback needs."""
        fate, rollout_id, data = body
        samples = [SimpleNamespace(**fields) for fields in data]
        claims = claims_of(samples)
        self.leases.check(client, claims)
        self.source.observe(samples, rollout_id=rollout_id, fate=fate)
        if fate == "finished":
            return _Done(encode(None), [])
        self._unsaved += len(claims)
        return self._ended(claims, "settled")

    def _give_up(self, client: str, body: Any) -> _Done:
        """``[claims, how]``; those that have ended do not count."""
        claims = [claim for claim in map(tuple, body[0]) if not self.leases.is_late(client, claim)]
        self.source.give_up([group_index for group_index, _ in claims])
        return self._ended(claims, body[1])

    def _set_step(self, client: str, step: Any) -> _Done:
        """The step."""
        self.source.set_rollout_step(step)
        return _Done(encode(None), [])

    def _update_metadata(self, client: str, metadata: Any) -> _Done:
        """The values."""
        self.source.update_metadata(metadata)
        return _Done(encode(None), [])

    def _ended(self, claims: Sequence[Claim], how: str) -> _Done:
        ids = [group_index for group_index, _ in claims]
        self.freed |= self.leases.release(ids, how)
        return _Done(encode(None), ids)

    def load(self, client: str, number: int, rollout_id: int | None) -> bytes:
        """Go to the state that was saved for a rollout, as ``source.load``; all leases end.

        Raises:
            GroupError: Other clients hold groups.
            CheckpointError: As ``source.load``.
        """
        if self.leases.holders() - {client}:
            raise GroupError(
                f"load: {len(self.leases)} groups are leased to clients; a state can be loaded "
                f"before any client draws, or when all have been closed",
                key="load",
                value=rollout_id,
            )
        self.source.load(rollout_id)
        self._settle_from_now_on()
        self.freed |= self.leases.release(self.leases.held(client), "given_up")
        self.leases.hear(client, self._now())
        answer = encode(None)
        self.leases.answered(client, number, answer)
        if self._folder is not None:
            self.checkpoint()()
        return answer

    # States

    @property
    def checkpoint_due(self) -> bool:
        """Whether enough groups have been settled since the last state."""
        return self.operations is not None and self._unsaved >= self._interval

    def checkpoint(self) -> Callable[[], None]:
        """Begin a new state; what is returned writes it, on any thread, and may raise.

        Operations go to a new file from here on. Until the state is written, the old one and both
        files together are what a restart goes on from.
        """
        assert self._folder is not None
        self._generation = generation = self._generation + 1
        if self.operations is not None:
            self.operations.sync()
            self.operations.close()
        self.operations = Operations(self._operations(self._generation))
        self._unsaved = 0
        service = {
            "run": self._run,
            "generation": self._generation,
            "leases": encode(self.leases.state_dict(self._now())),
        }
        state = {**self.source.state_dict(), "service": service}

        def write() -> None:
            with self._writing:
                if generation < self._written:
                    return
                write_state(self._state, state)
                self._written = generation
                for old in range(generation - 1, -1, -1):
                    path = self._operations(old)
                    if not path.exists():
                        break
                    path.unlink()

        return write

    @property
    def _state(self) -> Path:
        assert self._folder is not None
        return self._folder / "ray_service" / f"{self._name}.state"

    def _operations(self, generation: int) -> Path:
        return self._state.with_suffix(f".{generation}.operations")

    def _recover(self, resume: bool) -> None:
        if not self._state.exists():
            return
        state = read_state(self._state)
        saved = state.get("service")
        if not isinstance(saved, Mapping):
            raise CheckpointError(
                f"{self._state} is no state of a service", key="save", value=str(self._state)
            )
        killed = saved["run"] == self._run
        generation = self._generation = saved["generation"]
        if not killed and not resume:
            logger.warning(
                "%s is of an earlier run, which is not gone on from; set resume: true in "
                "ray_service for that, or load what was saved for a rollout",
                self._state,
            )
            while self._operations(self._generation + 1).exists():
                self._generation += 1
            return
        self.source.load_state_dict(state, held=True)
        self.leases.load_state_dict(decode(saved["leases"]), self._now())
        count = 0
        while self._operations(generation).exists():
            for record in read_operations(self._operations(generation)):
                self._again(record)
                count += 1
            self._generation = generation
            generation += 1
        logger.info(
            "the service goes on from %s and %d operations after it; %d groups are leased",
            self._state, count, len(self.leases),
        )  # fmt: skip
        if not killed:
            for client in self.leases.clients():
                held = self.leases.held(client)
                self.source.give_up(held)
                self.leases.release(held, "expired")
                self.leases.forget(client)

    def _again(self, record: bytes) -> None:
        """Carry out an operation that was carried out before the service was killed."""
        client, number, kind, body, ids = decode(record)
        try:
            done = self._carry_out(client, number, kind, body)
        except CurriculumLearningError as error:
            raise self._differs(kind, number, client) from error
        if done.ids != ids:
            raise self._differs(kind, number, client)

    def _differs(self, kind: str, number: int, client: str) -> CheckpointError:
        return CheckpointError(
            f"operation '{kind}' (request {number} of client {client}), carried out again after a "
            f"restart, does not give what it gave before: prompt files or configured functions "
            f"have changed, or a buffer filter is not deterministic. Load a rollout's state",
            key="save",
            value=str(self._state),
        )
