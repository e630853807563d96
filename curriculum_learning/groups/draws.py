"""Fresh groups: rows that the mixture draws, and rows in place of lost groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from curriculum_learning.groups.in_flight import NO_SOURCE, GroupLedger, Served
from curriculum_learning.groups.replacements import Replacements
from curriculum_learning.mixing.clock import RolloutClock
from curriculum_learning.mixing.mixture import Charge, Draw, Mixture
from curriculum_learning.samples.sample import Group

Make = Callable[[Sequence[tuple[int, Served]]], list[Group]]
"""Groups of these ids and rows."""


class Draws:
    """Opens groups in the ledger, one after the other.

    Not thread-safe: its owner locks.

    Args:
        mixture: The sources; None where the engine has prompts of its own.
        clock: Says which rollout step it is.
        replacements: Says which groups replace lost ones; None: none do.
    """

    def __init__(
        self, mixture: Mixture | None, clock: RolloutClock, replacements: Replacements | None
    ) -> None:
        self.mixture = mixture
        self.clock = clock
        self.replacements = replacements

    def step(self) -> int:
        """The rollout step at which the next group is drawn."""
        return self.clock.step(0 if self.mixture is None else self.mixture.total_drawn)

    def groups(self, count: int, ledger: GroupLedger, make: Make) -> list[Group]:
        """``count`` fresh groups; if one of them cannot be made, nothing has been drawn."""
        draws: list[Draw] = []
        absorbed: list[Charge] = []
        opened: list[tuple[int, Served]] = []
        replacements = self.replacements
        if replacements is not None:
            drawn = [] if self.mixture is None else self.mixture.drawn
            replacements.hear(ledger, drawn)
        before = None if replacements is None else replacements.copy()
        try:
            for _ in range(count):
                if self.mixture is None:
                    opened.append(ledger.open(NO_SOURCE, 0, 0, self.step()))
                    continue
                draw = self._draw(self.mixture, absorbed)
                draws.append(draw)
                opened.append(ledger.open(draw.source, draw.row, draw.epoch, draw.step))
            return make(opened)
        except BaseException:
            self.replacements = before
            for group_index, _ in reversed(opened):
                ledger.unopen(group_index)
            if self.mixture is not None:
                for draw in reversed(draws):
                    self.mixture.undo(draw)
                for charge in absorbed:
                    self.mixture.discharge(charge)
            raise

    def _draw(self, mixture: Mixture, absorbed: list[Charge]) -> Draw:
        step = self.step()
        if self.replacements is None:
            return mixture.draw(step)
        while (replaced := self.replacements.next(step, mixture.drawn, mixture.shares)) is None:
            index, units = mixture.charge(step)
            if not self.replacements.absorb(index, mixture.drawn):
                return mixture.take(index, step, units)
            absorbed.append((index, units))
        return mixture.take(replaced, step)
