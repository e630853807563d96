"""What clients ask a service for: typed messages, checked as they are read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec

from curriculum_learning.config.numbers import MOST_ROLLOUTS
from curriculum_learning.errors import GroupError
from curriculum_learning.groups.fates import Outcome
from curriculum_learning.samples.ids import group_id, whole_id
from curriculum_learning.samples.rewards import reward_of

LEASE_KEY = "data_source_lease"
"""The metadata key of the lease under which a sample was handed out."""

Fate = Literal["trained", "finished", "dropped"]
Natural = Annotated[int, msgspec.Meta(ge=0)]
Rollout = Annotated[int, msgspec.Meta(ge=0, le=MOST_ROLLOUTS)]
Claim = tuple[Natural, int | None]
"""A group and the lease under which it was handed out; None where the lease is not known."""
Told = tuple[Natural, int | None, list[float | None]]
"""A claim and the rewards of its samples; None for a sample without one."""


class Draw(msgspec.Struct, tag=True, array_like=True):
    """Asks for groups; ``whole`` waits for room for all of them, else takes what there is."""

    count: Natural
    rollout: Rollout | None
    whole: bool = True


class Return(msgspec.Struct, tag=True, array_like=True):
    """Gives unfinished groups back, each encoded by ``encode_group``."""

    groups: list[bytes]


class Settle(msgspec.Struct, tag=True, array_like=True):
    """Reports the fate of groups, as ``observe``."""

    fate: Fate
    rollout_id: Rollout | None
    told: list[Told]
    outcome: Outcome | None = None
    """With ``rollout_id``: the groups of the client's rollout that were not trained."""


class GiveUp(msgspec.Struct, tag=True, array_like=True):
    """Lets go of groups; those whose lease has ended do not count."""

    claims: list[Claim]


class Held(msgspec.Struct, tag=True, array_like=True):
    """Asks which groups the client holds."""


class Cancel(msgspec.Struct, tag=True, array_like=True):
    """Nobody waits for the answer to an earlier request any more."""

    number: Natural


class Load(msgspec.Struct, tag=True, array_like=True):
    """Goes to a saved state; the answer is whether there is one."""

    rollout_id: int | None


class Step(msgspec.Struct, tag=True, array_like=True):
    """Sets the rollout step."""

    step: Rollout


class Metadata(msgspec.Struct, tag=True, array_like=True):
    """Stores an encoded mapping with the state."""

    values: bytes


Request = Draw | Return | Settle | GiveUp | Held | Cancel | Load | Step | Metadata


class Numbered(msgspec.Struct, array_like=True):
    """A request on its way."""

    client: str
    number: Natural
    """Counts up for each client; a request that is sent again keeps its number."""
    waiting: list[Natural]
    """The earlier requests to which the client has no answer yet."""
    request: Request


class Drawn(msgspec.Struct, array_like=True):
    """The answer to a draw."""

    lease: int
    again: list[bytes]
    """Groups that are served again, encoded."""
    fresh: bytes
    """The first sample of each fresh group, encoded; the others differ in ``index`` only."""


_decode = msgspec.msgpack.Decoder(Numbered).decode
encode_message = msgspec.msgpack.encode
decode_drawn = msgspec.msgpack.Decoder(Drawn).decode


def decode_request(data: bytes) -> Numbered:
    """Reads a request; raises GroupError if it is none."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, TypeError) as error:
        raise GroupError(f"the service was sent no request: {error}", key="request") from None


def told(samples: Iterable[Any], reward_key: str | None = None, *, rewards: bool) -> list[Told]:
    """Returns the groups and leases of samples, with their rewards if these are of use.

    It skips samples without a ``group_index``.

    Raises:
        GroupError: A group or a lease has a number that none has.
    """
    groups: dict[Claim, list[float | None]] = {}
    for sample in samples:
        if (group_index := group_id(sample)) is not None:
            claim = group_index, lease_of(sample)
            if claim not in groups:
                _refuse_odd(claim)
                groups[claim] = []
            if rewards:
                groups[claim].append(reward_of(sample, reward_key))
    return [(*claim, of_group) for claim, of_group in groups.items()]


def _refuse_odd(claim: Claim) -> None:
    if odd := [number for number in claim if not 0 <= (number or 0) < 2**63]:
        raise GroupError(
            f"no sample was served with group_index {claim[0]} and metadata[{LEASE_KEY!r}] "
            f"{claim[1]}; report samples with the ids that they were served with",
            key="group_index",
            value=odd,
        )


def lease_of(sample: Any) -> int | None:
    """The lease that a sample names; None if it names none."""
    lease = sample.metadata.get(LEASE_KEY) if isinstance(sample.metadata, dict) else None
    return lease if type(lease) is int else whole_id(lease)
