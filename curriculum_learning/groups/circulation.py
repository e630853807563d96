"""Groups on their way: out to the engine, back into a buffer, out again, and to their end."""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from curriculum_learning.config.plan import DataSourcePlan
from curriculum_learning.groups.buffers import BufferFilter, Buffers, Waiting
from curriculum_learning.groups.fates import DynamicFilter, Outcome, Settlement
from curriculum_learning.groups.in_flight import GroupLedger
from curriculum_learning.groups.maker import GroupMaker
from curriculum_learning.groups.returns import ReturnCheck, Returned
from curriculum_learning.groups.served import Partial, Served, listed
from curriculum_learning.samples.codec import decode_group
from curriculum_learning.samples.sample import Group, flatten

logger = logging.getLogger(__name__)


class Taken(NamedTuple):
    """Groups taken out of the buffers for one request."""

    served: list[Waiting]
    dropped: list[Waiting]
    """Removed by the buffer filter and not returned by it."""


class _Again(NamedTuple):
    """A group that is served again."""

    group_index: int
    served: Served
    group: Group
    partial: Partial | None


class RolloutEnd(NamedTuple):
    """What the log of a rollout ends."""

    dropped: list[int]
    surplus: list[str]
    """The source of each surplus group."""
    again: list[_Again]
    """The groups that wait to be served again."""


class Circulation:
    """Tracks every group from its first serving to its end.

    A group is in flight, waits in a buffer, or has ended. Not thread-safe: its owner locks.

    Args:
        config: Says whether fates are reported, and what happens to surplus and stale groups.
        maker: Makes groups of rows.
        buffer_filter: A user's filter of waiting groups, or None.
        dynamic_filter: The engine's filter of finished groups, or None.
    """

    def __init__(
        self,
        config: DataSourcePlan,
        maker: GroupMaker,
        buffer_filter: BufferFilter | None,
        dynamic_filter: DynamicFilter | None,
    ) -> None:
        self._config = config
        self._maker = maker
        self._buffer_filter = buffer_filter
        self._dynamic_filter = dynamic_filter
        self.logs = config.accounting
        """Whether the engine logs its rollouts, and so tells which groups it trained."""
        self._start()

    def _start(self) -> None:
        self.ledger = GroupLedger(self._maker.size, accounting=self._config.accounting)
        self.buffers = Buffers(self._maker.sources, self._buffer_filter)
        self._settlement = Settlement(self._dynamic_filter, self._config.surplus)

    # Going out

    def take_waiting(self, room: int, step: int) -> Taken:
        """Takes at most ``room`` groups out of the buffers; ``hand_out`` or ``restore`` follows.

        Raises:
            GroupError: The buffer filter broke its contract.
            DataError: The row of a stale group cannot be read.
        """
        self._end_stale(step)
        return Taken(*self.buffers.take(room))

    def restore(self, taken: Taken) -> None:
        """Puts taken groups back where they were."""
        self.buffers.restore((*taken.served, *taken.dropped))

    def hand_out(self, taken: Taken, step: int) -> list[Group]:
        """Puts taken groups in flight; returns them."""
        for waiting in taken.served:
            served = waiting.served._replace(step=step)
            self.ledger.serve(waiting.group_index, served, waiting.partial)
            self._maker.tag_again(waiting.group, served)
        self.ledger.settle_waiting([waiting.served.source for waiting in taken.dropped], "dropped")
        return [waiting.group for waiting in taken.served]

    def _end_stale(self, step: int) -> None:
        """Resets or drops waiting groups that are older than ``max_staleness``."""
        if self._config.max_staleness is None:
            return
        stale = self.buffers.begun_before(step - self._config.max_staleness)
        if not stale:
            return
        sources = [waiting.served.source for waiting in stale]
        if self._config.on_stale == "drop":
            self.buffers.remove([waiting.group_index for waiting in stale])
            self.ledger.settle_waiting(sources, "stale")
            return
        fresh = self._maker.make([(waiting.group_index, waiting.served) for waiting in stale])
        ids = (waiting.group_index for waiting in stale)
        self.buffers.renew(dict(zip(ids, fresh, strict=True)))
        self.ledger.count("reset", sources)

    def out_again(self, group_indices: Sequence[int]) -> list[Group]:
        """Makes groups in flight again, as they were handed out; they stay in flight.

        Raises:
            DataError: A row cannot be read.
        """
        again = self._still_out(group_indices)
        for _, how, group, _ in again:
            self._maker.tag_again(group, how)
        return [entry.group for entry in again]

    def _still_out(self, group_indices: Sequence[int]) -> list[_Again]:
        """Makes those of the groups that are in flight again."""
        served = ((index, self.ledger.served(index)) for index in group_indices)
        return self._made_again(
            [(index, how, self.ledger.partial(index)) for index, how in served if how is not None]
        )

    # Coming back

    def give_back(self, samples: Any, encoded: Sequence[bytes | Exception]) -> None:
        """Puts unfinished groups into the buffers, all of them or none.

        Args:
            samples: The groups.
            encoded: What ``encode_groups`` returned for them.

        Raises:
            GroupError: One of them cannot come back.
        """
        for group_index, served, group, data in self.checked(samples, encoded):
            partial = self._partial(group_index, served, group, data)
            self.ledger.give_back(group_index, served.source)
            self.buffers.add(group_index, served, group, partial)

    def checked(self, samples: Any, encoded: Sequence[bytes | Exception]) -> list[Returned]:
        """Returns the groups if they may come back; arguments and errors of ``give_back``."""
        return ReturnCheck(self._maker, self.ledger, self.buffers).accept(samples, encoded)

    def give_up(self, group_indices: Sequence[int]) -> int:
        """Puts groups whose holder is gone before all waiting groups, as they last came back.

        Returns:
            How many of them were in flight.

        Raises:
            DataError: A row cannot be read; nothing has changed then.
        """
        again = self._still_out(group_indices)
        for group_index, how, group, partial in reversed(again):
            self.ledger.give_back(group_index, how.source)
            self.buffers.add_in_front(group_index, how, group, partial)
        return len(again)

    def _partial(self, group_index: int, served: Served, group: Group, data: bytes) -> Partial:
        """Returns a group as it is now, with the step of its first token."""
        if not any(sample.response_length or sample.response for sample in flatten(group)):
            return Partial(data, None)
        return Partial(data, self._begun(group_index, served))

    def _begun(self, group_index: int, served: Served) -> int:
        before = self.ledger.partial(group_index)
        begun = None if before is None else before.begun
        return served.step if begun is None else begun

    # Ending

    def settle(self, group_indices: Collection[int], fate: str) -> None:
        """Ends groups, in flight or waiting; they are not served again."""
        self.ledger.settle(group_indices, fate)
        waiting = self.buffers.remove(group_indices)
        self.ledger.settle_waiting([ended.served.source for ended in waiting], fate)

    def finished(self, groups: Sequence[Group]) -> None:
        """Takes in all groups that a rollout finished; its log comes next."""
        self.begin_rollout()
        self._settlement.finished(groups, self.ledger)

    def begin_rollout(self) -> None:
        """Settles what the last rollout finished, if no log tells what it trained."""
        if not self.logs and (finished := self._settlement.forget()):
            self.ledger.settle(finished, "finished")

    def rollout_end(self, trained: Collection[int], outcome: Outcome | None) -> RolloutEnd:
        """Decides what a log ends; ``end_rollout`` carries it out, and nothing changes before.

        Args:
            trained: The groups that the log names.
            outcome: The other groups of the rollout; None decides on those of ``finished``.

        Raises:
            DataError: The row of a group that is served again cannot be read.
        """
        outcome = outcome or self._settlement.settle(self.ledger, trained)
        surplus: list[tuple[int, Served, Partial | None]] = []
        for group_index, data in outcome.surplus.items():
            if served := self.ledger.served(group_index):
                begun = self._begun(group_index, served)
                partial = None if data is None else Partial(data, begun)
                surplus.append((group_index, served, partial))
        discarded = [
            (group_index, served, self.ledger.partial(group_index))
            for group_index in outcome.discarded
            if (served := self.ledger.served(group_index))
        ]
        without_room = [served.source for _, served, _ in surplus]
        again = self._made_again([*surplus, *discarded])
        return RolloutEnd(outcome.dropped, without_room, again)

    def end_rollout(self, end: RolloutEnd) -> None:
        """Settles the groups of a rollout whose trained groups are settled already."""
        self.logs = True
        self._settlement.forget()
        self.ledger.settle(end.dropped, "dropped")
        self.ledger.count("surplus", end.surplus)
        for group_index, served, group, partial in end.again:
            self.ledger.give_back(group_index, served.source)
            self.buffers.add(group_index, served, group, partial)

    def _made_again(self, out: Sequence[tuple[int, Served, Partial | None]]) -> list[_Again]:
        """Makes groups again: from what came back, or else from their rows."""
        unbegun = [(group_index, served) for group_index, served, partial in out if not partial]
        fresh = iter(self._maker.make(unbegun))
        again: list[_Again] = []
        for group_index, served, partial in out:
            if partial is None:
                again.append(_Again(group_index, served, next(fresh), None))
                continue
            group = decode_group(partial.data, self._maker.sample_type)
            self._maker.name_source(group, served.source)
            again.append(_Again(group_index, served, group, partial))
        return again

    # State

    def state_dict(self) -> dict[str, Any]:
        """Plain data. Groups that have begun are encoded; the others are made from their rows."""
        self.begin_rollout()
        waiting = list(self.buffers)
        generated = {w.group_index: w.partial for w in waiting if w.partial is not None}
        generated |= self.ledger.partials()
        return {
            "logs": self.logs,
            "groups": self.ledger.state_dict(),
            "waiting": [[w.group_index, *w.served] for w in waiting],
            "generated": list(generated),
            "generated_begun": [partial.begun for partial in generated.values()],
            "generated_data": [partial.data for partial in generated.values()],
        }

    def restored(self, state: Mapping[str, Any], *, held: bool = False) -> Circulation:
        """Returns a circulation with the state; this one does not change.

        Args:
            state: What ``state_dict`` returned.
            held: The holders of the groups in flight are still there, so the groups stay in
                flight. Otherwise they wait in front; but if the engine never reported what it
                trained they have ended, since it may have trained them.
        """
        new = copy.copy(self)
        new._start()
        partials = map(Partial, state["generated_data"], state["generated_begun"])
        generated = dict(zip(state["generated"], partials, strict=True))
        new.ledger.load_state_dict(state["groups"], generated if held else None)
        in_front = []
        if held:
            new.logs = state["logs"]
        else:
            in_front = _to_be_served_again(state["groups"])
        entries = [*in_front, *state["waiting"]]
        out = [(index, Served(*served), generated.get(index)) for index, *served in entries]
        for again in new._made_again(out):
            new.buffers.add(*again)
        new.ledger.out.update(waiting.served.source for waiting in new.buffers)
        return new


def _to_be_served_again(groups: Mapping[str, Any]) -> list[list[Any]]:
    """Returns those that nobody holds any more, oldest first, from the state of a ledger."""
    in_flight = sorted(listed(groups["in_flight"]))
    if in_flight and not groups["accounting"]:
        logger.warning(
            "%d groups were in flight when the state was saved. They are not served again, "
            "because the engine never reported which groups it trained: set "
            "custom_rollout_log_function_path to "
            "curriculum_learning.custom_log.custom_rollout_log_function",
            len(in_flight),
        )
        return []
    if in_flight:
        logger.info("%d groups were in flight and will be served again", len(in_flight))
    return in_flight
