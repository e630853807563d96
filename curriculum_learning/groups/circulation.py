"""Groups going out to an engine and coming back: one account of them all."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from curriculum_learning.groups.buffers import Buffers, Filter, Waiting
from curriculum_learning.groups.fates import Settlement
from curriculum_learning.groups.in_flight import GroupLedger, Partial, Served, listed
from curriculum_learning.groups.maker import GroupMaker
from curriculum_learning.groups.returns import ReturnCheck
from curriculum_learning.samples.codec import CannotStoreError, decode_group, encode_group
from curriculum_learning.samples.sample import Group, flatten

logger = logging.getLogger(__name__)

_Out = tuple[int, Served, Group, Partial | None]
"""A group that was out: its id, how it went out, and what it is now, also as it came back."""


class Circulation:
    """Every group from its first serving to its end: in flight, waiting in a buffer, or settled.

    Not thread-safe: its owner locks.

    Args:
        names: The sources.
        maker: Makes groups of rows.
        size: Samples per group.
        sample_type: What ``sample_class`` gave.
        tagged: Samples say which source they are of.
        accounting: The engine is to report which groups it trained.
        choose: A user's buffer filter, or None.
        refuses: The engine's filter of finished groups, or None.
        surplus: What becomes of finished groups without room: ``keep``, ``again`` or ``drop``.
        max_staleness: In rollouts; None is any age. The age of a group is the step less the one
            at which the first of its tokens was generated.
        on_stale: What becomes of older groups: ``reset`` generates them anew, or ``drop``.
    """

    def __init__(
        self,
        names: Sequence[str],
        maker: GroupMaker,
        *,
        size: int,
        sample_type: type[Any],
        tagged: bool,
        accounting: bool,
        choose: Filter | None,
        refuses: Callable[[Group], bool] | None,
        surplus: str,
        max_staleness: int | None,
        on_stale: str,
    ) -> None:
        self._names = list(names)
        self._maker = maker
        self._sample_type = sample_type
        self._tagged = tagged
        self._accounting = accounting
        self._choose = choose
        self._refuses = refuses
        self._surplus = surplus
        self.max_staleness = max_staleness
        self._on_stale = on_stale
        self._size = size
        self.logs = accounting
        """Rollouts are logged; so a log will tell what was trained."""
        self._start()

    def _start(self) -> None:
        self.ledger = GroupLedger(self._size, accounting=self._accounting)
        self.buffers = Buffers(self._names, self._choose)
        self._settlement = Settlement(self._refuses)

    # Going out

    def serve_waiting(
        self, room: int, step: int, rest: Callable[[int], list[Group]]
    ) -> list[Group]:
        """At most ``room`` groups that waited, and what ``rest`` gives for the room left.

        If ``rest`` or the buffer filter raises, nothing has gone out.
        """
        if not len(self.buffers):
            return rest(room)
        self._end_stale(step)
        taken, dropped = self.buffers.take(room)
        try:
            others = rest(room - len(taken))
        except BaseException:
            self.buffers.restore((*taken, *dropped))
            raise
        for waiting in taken:
            self._go_out(waiting, step)
        self.ledger.settle_waiting([waiting.served.source for waiting in dropped], "dropped")
        return [*(waiting.group for waiting in taken), *others]

    def _end_stale(self, step: int) -> None:
        """No group waits any more that was begun too long before ``step``."""
        if self.max_staleness is None:
            return
        stale = self.buffers.begun_before(step - self.max_staleness)
        if not stale:
            return
        sources = [waiting.served.source for waiting in stale]
        if self._on_stale == "drop":
            self.buffers.remove([waiting.group_index for waiting in stale])
            self.ledger.settle_waiting(sources, "stale")
            return
        fresh = self._maker.make([(waiting.group_index, waiting.served) for waiting in stale])
        ids = (waiting.group_index for waiting in stale)
        self.buffers.renew(dict(zip(ids, fresh, strict=True)))
        self.ledger.count("reset", sources)

    def _go_out(self, waiting: Waiting, step: int) -> None:
        served = waiting.served._replace(step=step)
        self.ledger.serve(waiting.group_index, served, waiting.partial)
        self._maker.tag_again(waiting.group, served)

    def make(self, opened: Sequence[tuple[int, Served]]) -> list[Group]:
        """The groups that the ledger has opened; raises DataError."""
        return self._maker.make(opened)

    # Coming back

    def give_back(self, samples: Any, encoded: Sequence[bytes | Exception]) -> None:
        """Take groups in again, with what ``encode_groups`` gave for them.

        Raises:
            GroupError: One of them cannot be taken in; then none of them has been.
        """
        names = self._names if self._tagged else None
        check = ReturnCheck(self._sample_type, self.ledger, self.buffers, names)
        for group_index, served, group, data in check.accept(samples, encoded):
            partial = self._partial(group_index, served, group, data)
            self.ledger.give_back(group_index, served.source)
            self.buffers.add(group_index, served, group, partial)

    def give_up(self, group_indices: Sequence[int]) -> int:
        """Groups that went out will not come back: they wait again, before all others.

        They are as they came back last, if they did; the first of them is served first.

        Returns:
            How many of them were out.
        """
        served = ((index, self.ledger.served(index)) for index in group_indices)
        out = [(index, how, self.ledger.partial(index)) for index, how in served if how is not None]
        again = self._made_again(out)
        for group_index, how, group, partial in reversed(again):
            self.ledger.give_back(group_index, how.source)
            self.buffers.add_in_front(group_index, how, group, partial)
        return len(again)

    def _partial(self, group_index: int, served: Served, group: Group, data: bytes) -> Partial:
        """A group as it is now; its first token is of when it went out, or of before that."""
        if not any(sample.response_length or sample.response for sample in flatten(group)):
            return Partial(data, None)
        before = self.ledger.partial(group_index)
        begun = None if before is None else before.begun
        return Partial(data, served.step if begun is None else begun)

    def settle(self, group_indices: Collection[int], fate: str) -> None:
        """The engine has told what became of groups; they are not served again."""
        self.ledger.settle(group_indices, fate)
        waiting = self.buffers.remove(group_indices)
        self.ledger.settle_waiting([ended.served.source for ended in waiting], fate)

    def finished(self, groups: list[Group]) -> None:
        """The engine shows all groups that it finished in a rollout, before the log of it."""
        self.begin_rollout()
        self._settlement.finished(groups, self.ledger.in_flight())

    def begin_rollout(self) -> None:
        """A rollout is over. Where no log tells what it trained, what it finished is settled."""
        if not self.logs and (finished := self._settlement.forget()):
            self.ledger.settle(finished, "finished")

    def rollout_logged(self) -> None:
        """What was trained has been told: decide on the other groups of the rollout."""
        self.logs = True
        outcome = self._settlement.settle(self.ledger.is_in_flight)
        dropped, surplus = outcome.dropped, outcome.surplus
        if self._surplus == "drop":
            dropped, surplus = [*dropped, *surplus], {}
        # First all that can fail.
        out: list[tuple[int, Served, Partial | None]] = []
        for group_index in (*surplus, *outcome.discarded):
            served = self.ledger.served(group_index)
            if served is None:
                continue
            partial = self.ledger.partial(group_index)
            if group_index in surplus:
                kept = self._surplus == "keep"
                partial = self._kept(group_index, served, surplus[group_index]) if kept else None
            out.append((group_index, served, partial))
        again = self._made_again(out)
        self._settlement.forget()
        self.ledger.settle(dropped, "dropped")
        without_room = [served.source for group_index, served, _ in out if group_index in surplus]
        self.ledger.count("surplus", without_room)
        for group_index, served, group, partial in again:
            self.ledger.give_back(group_index, served.source)
            self.buffers.add(group_index, served, group, partial)

    def _kept(self, group_index: int, served: Served, group: Group) -> Partial | None:
        try:
            return self._partial(group_index, served, group, encode_group(group))
        except CannotStoreError as error:
            logger.warning("group %d is generated again: %s", group_index, error)
            return None

    def _made_again(self, out: Sequence[tuple[int, Served, Partial | None]]) -> list[_Out]:
        """Groups that were out: as they came back, or from their rows."""
        unbegun = [(group_index, served) for group_index, served, partial in out if not partial]
        fresh = iter(self._maker.make(unbegun))
        again: list[_Out] = []
        for group_index, served, partial in out:
            group = decode_group(partial.data, self._sample_type) if partial else next(fresh)
            if partial and self._maker.name_source(group, served.source):  # it was renamed
                partial = partial._replace(data=encode_group(group))
            again.append((group_index, served, group, partial))
        return again

    # State

    def state_dict(self) -> dict[str, Any]:
        """Plain data; groups that have begun are encoded, all others are made of their rows."""
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
        """The circulation of which ``state_dict`` gave ``state``; this one is as it was.

        What was in flight waits in front, if the engine reported what it trained: else it may have
        trained them. With ``held`` it is in flight still.
        """
        new = copy.copy(self)
        new._start()
        new.ledger.load_state_dict(state["groups"])
        partials = map(Partial, state["generated_data"], state["generated_begun"])
        generated = dict(zip(state["generated"], partials, strict=True))
        in_flight = sorted(listed(state["groups"]["in_flight"]))
        if held:
            new.logs = state["logs"]
            new.ledger.resume(state["groups"], generated)
            in_flight = []
        elif not state["groups"]["accounting"] and in_flight:
            logger.warning(
                "%d groups were in flight when the state was saved. They are not served again, "
                "because the engine never reported which groups it trained: set "
                "custom_rollout_log_function_path to "
                "curriculum_learning.custom_log.custom_rollout_log_function",
                len(in_flight),
            )
            in_flight = []
        elif in_flight:
            logger.info("%d groups were in flight and will be served again", len(in_flight))
        entries = [*in_flight, *state["waiting"]]
        out = [(index, Served(*served), generated.get(index)) for index, *served in entries]
        for again in new._made_again(out):
            new.buffers.add(*again)
        new.ledger.out.update(waiting.served.source for waiting in new.buffers)
        return new
