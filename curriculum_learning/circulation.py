"""Groups going out to an engine and coming back: one account of them all."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from curriculum_learning.buffer import Buffers, Filter, Waiting
from curriculum_learning.codec import CannotStoreError, decode_group, encode_group
from curriculum_learning.group_maker import GroupMaker
from curriculum_learning.groups import GroupLedger, Served, listed
from curriculum_learning.returned import ReturnCheck
from curriculum_learning.sample import Group
from curriculum_learning.settlement import Settlement

logger = logging.getLogger(__name__)

_Out = tuple[int, Served, Group, bytes | None]
"""A group that was out: its id, how it went out, and what it is now, encoded if it has begun."""


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
    ) -> None:
        self._names = list(names)
        self._maker = maker
        self._sample_type = sample_type
        self._tagged = tagged
        self._accounting = accounting
        self._choose = choose
        self._refuses = refuses
        self._surplus = surplus
        self._size = size
        self._logs = accounting
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
        taken, dropped = self.buffers.take(room)
        try:
            others = rest(room - len(taken))
        except BaseException:
            self.buffers.restore((*taken, *dropped))
            raise
        for waiting in taken:
            self._go_out(waiting, step)
        self.ledger.settle_waiting(len(dropped), "dropped")
        return [*(waiting.group for waiting in taken), *others]

    def _go_out(self, waiting: Waiting, step: int) -> None:
        served = waiting.served._replace(step=step)
        self.ledger.serve(waiting.group_index, served, waiting.data)
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
        for returned in check.accept(samples, encoded):
            self.ledger.give_back(returned.group_index)
            self.buffers.add(*returned)

    def settle(self, group_indices: Collection[int], fate: str) -> None:
        """The engine has told what became of groups; they are not served again."""
        self.ledger.settle(group_indices, fate)
        self.ledger.settle_waiting(len(self.buffers.remove(group_indices)), fate)

    def finished(self, groups: list[Group]) -> None:
        """The engine shows all groups that it finished in a rollout, before the log of it."""
        self.begin_rollout()
        self._settlement.finished(groups, self.ledger.in_flight())

    def begin_rollout(self) -> None:
        """A rollout is over. Where no log tells what it trained, what it finished is settled."""
        if not self._logs and (finished := self._settlement.forget()):
            self.ledger.settle(finished, "finished")

    def rollout_logged(self) -> None:
        """What was trained has been told: decide on the other groups of the rollout."""
        self._logs = True
        outcome = self._settlement.settle(self.ledger.is_in_flight)
        dropped, surplus = outcome.dropped, outcome.surplus
        if self._surplus == "drop":
            dropped, surplus = [*dropped, *surplus], {}
        data = dict.fromkeys(surplus)
        if self._surplus == "keep":
            data = {index: self._encoded(index, group) for index, group in surplus.items()}
        data |= {index: self.ledger.partial(index) for index in outcome.discarded}
        # First all that can fail.
        out = [(i, served, data[i]) for i in data if (served := self.ledger.served(i)) is not None]
        again = self._made_again(out)
        self._settlement.forget()
        self.ledger.settle(dropped, "dropped")
        self.ledger.settle_waiting(len(surplus), "surplus")
        for group in again:
            self.ledger.give_back(group[0])
            self.buffers.add(*group)

    def _encoded(self, group_index: int, group: Group) -> bytes | None:
        try:
            return encode_group(group)
        except CannotStoreError as error:
            logger.warning("group %d is generated again: %s", group_index, error)
            return None

    def _made_again(self, out: Sequence[tuple[int, Served, bytes | None]]) -> list[_Out]:
        """Groups that were out: as they were encoded, or from their rows."""
        fresh = iter(self._maker.make([(index, served) for index, served, data in out if not data]))
        again: list[_Out] = []
        for group_index, served, data in out:
            group = decode_group(data, self._sample_type) if data else next(fresh)
            if data and self._maker.name_source(group, served.source):  # it was renamed
                data = encode_group(group)
            again.append((group_index, served, group, data))
        return again

    # State

    def state_dict(self) -> dict[str, Any]:
        """Plain data; groups that have begun are encoded, all others are made of their rows."""
        self.begin_rollout()
        waiting = list(self.buffers)
        generated = {w.group_index: w.data for w in waiting if w.data is not None}
        generated |= self.ledger.partials()
        return {
            "groups": self.ledger.state_dict(),
            "waiting": [[w.group_index, *w.served] for w in waiting],
            "generated": list(generated),
            "generated_data": list(generated.values()),
        }

    def restored(self, state: Mapping[str, Any]) -> Circulation:
        """The circulation of which ``state_dict`` gave ``state``; this one is as it was.

        What was in flight waits in front, if the engine reported what it trained: else it may have
        trained them.
        """
        new = copy.copy(self)
        new._start()
        new.ledger.load_state_dict(state["groups"])
        in_flight = sorted(listed(state["groups"]["in_flight"]))
        if not state["groups"]["accounting"] and in_flight:
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
        data = dict(zip(state["generated"], state["generated_data"], strict=True))
        entries = [*in_flight, *state["waiting"]]
        out = [(index, Served(*served), data.get(index)) for index, *served in entries]
        for again in new._made_again(out):
            new.buffers.add(*again)
        return new
