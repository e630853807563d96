"""Fresh groups: rows that the mixture draws, and rows that replace lost groups."""

from __future__ import annotations

from curriculum_learning.groups.in_flight import GroupLedger
from curriculum_learning.groups.maker import GroupMaker
from curriculum_learning.groups.replacements import Replacements
from curriculum_learning.groups.served import NO_SOURCE, Served
from curriculum_learning.mixing.clock import RolloutClock
from curriculum_learning.mixing.mixture import Charge, Draw, Mixture
from curriculum_learning.samples.sample import Group


class FreshGroups:
    """Draws rows, opens a group for each, and makes its samples.

    Of several ranks all draw the same rows, and rank r of w opens the groups whose id is r
    modulo w.

    Not thread-safe: its owner locks.

    Args:
        mixture: The sources; None where the engine has prompts of its own.
        maker: Makes the samples.
        clock: Tells the rollout step.
        replacements: Tells which groups replace lost ones; None replaces none.
        rank: 0 to ``world_size`` - 1.
        world_size: Ranks that share the sequence, at least 1.
    """

    def __init__(
        self,
        mixture: Mixture | None,
        maker: GroupMaker,
        clock: RolloutClock,
        replacements: Replacements | None,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.clock = clock
        self.replacements = replacements
        self.maker = maker
        """Makes the samples."""
        self._mixture = mixture
        self._rank, self._world_size = rank, world_size

    def step(self) -> int:
        """The rollout step at which the next group is drawn."""
        return self.clock.step(0 if self._mixture is None else self._mixture.total_drawn)

    def draw(self, count: int, ledger: GroupLedger) -> list[Group]:
        """Draws ``count`` groups; if one of them cannot be made, it draws none.

        Raises:
            DataError: A row cannot be read.
        """
        mixture, world_size = self._mixture, self._world_size
        draws: list[Draw] = []
        absorbed: list[Charge] = []
        opened: list[tuple[int, Served]] = []
        ids = ledger.next_group, ledger.next_index
        replacements = self.replacements
        if replacements is not None:
            assert mixture is not None
            replacements.hear(ledger, mixture.drawn)
        before = None if replacements is None else replacements.copy()
        try:
            for _ in range(count * world_size):
                if mixture is None:
                    place = (NO_SOURCE, 0, 0, self.step())
                else:
                    draw = self._draw(mixture, absorbed)
                    draws.append(draw)
                    place = (draw.source, draw.row, draw.epoch, draw.step)
                if world_size > 1 and ledger.next_group % world_size != self._rank:
                    ledger.pass_over()
                else:
                    opened.append(ledger.open(*place))
            return self.maker.make(opened)
        except BaseException:
            self.replacements = before
            for group_index, _ in reversed(opened):
                ledger.unopen(group_index)
            ledger.next_group, ledger.next_index = ids
            if mixture is not None:
                for draw in reversed(draws):
                    mixture.undo(draw)
                for charge in absorbed:
                    mixture.discharge(charge)
            raise

    def _draw(self, mixture: Mixture, absorbed: list[Charge]) -> Draw:
        """Draws one row; charges that a replacement has stood for go to ``absorbed``."""
        step = self.step()
        if self.replacements is None:
            return mixture.draw(step)
        return self.replacements.draw(step, mixture, absorbed)
