"""The ledger: an exact integer account of whose turn it is, for requests of any size.

It is a quota method (Balinski and Young, 1979; Tijdeman, 1980, "The chairman assignment problem"):
of the sources that have earned a draw, the one with the earliest deadline goes first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

WHOLE = 2**32
"""The cost of a draw; the units of all sources sum to it."""

_MANY = 40
"""From about this many sources on, arrays are faster than a loop."""

_NEVER = np.iinfo(np.int64).min


def units_of(weights: Sequence[float]) -> list[int]:
    """Divides WHOLE among sources in proportion to their weights, by largest remainder.

    Args:
        weights: Finite numbers >= 0, at least one of them > 0.

    Returns:
        Integers >= 0 that sum to WHOLE. A weight of 0 gets exactly 0; a weight > 0 gets at least 1,
        so that a tiny weight still counts.
    """
    # Dividing by the largest first keeps the sum finite whatever the weights are.
    largest = max(weights)
    total = math.fsum(weight / largest for weight in weights)
    exact = [weight / largest / total * WHOLE for weight in weights]
    units = [
        max(int(share), 1) if weight > 0 else 0
        for share, weight in zip(exact, weights, strict=True)
    ]
    missing = WHOLE - sum(units)
    live = [index for index, weight in enumerate(weights) if weight > 0]
    by_remainder = sorted(live, key=lambda index: units[index] - exact[index])
    for index in by_remainder[: max(missing, 0)]:
        units[index] += 1
    if missing < 0:  # rounding up tiny weights overdrew the whole: the largest source pays
        units[max(live, key=lambda index: units[index])] += missing
    return units


class Apportionment:
    """Holds one integer of credit per source; the credits always sum to 0.

    With constant units every source is, after every draw, strictly less than 1 draw away from its
    share. When units change between draws it stays within H(S) + 1 for S sources (H: harmonic
    number); no online rule can stay within 1.

    Args:
        size: Number of sources, >= 1.
    """

    def __init__(self, size: int) -> None:
        self.credits = [0] * size

    def draw(self, units: Sequence[int]) -> int:
        """Charges the source whose turn it is, and returns its index.

        Args:
            units: What ``units_of`` returned for the weights in force. A source with 0 units
                gains nothing and is never drawn.
        """
        credits = self.credits
        most, richest = -1, -math.inf
        soonest, deadline = -1, math.inf
        for index, unit in enumerate(units):
            if not unit:
                continue
            credit = credits[index] + unit
            credits[index] = credit
            if credit > richest:
                most, richest = index, credit
            if credit > 0:
                due = (WHOLE - credit) // unit
                if due < deadline:
                    soonest, deadline = index, due
        # Overdue first; then the earliest deadline; with nobody in credit, the least in debt.
        drawn = most if richest >= WHOLE or soonest < 0 else soonest
        credits[drawn] -= WHOLE
        return drawn

    def undo(self, drawn: int, units: Sequence[int]) -> None:
        """Undoes the latest draw, which returned ``drawn`` and took ``units``."""
        for index, unit in enumerate(units):
            self.credits[index] -= unit
        self.credits[drawn] += WHOLE


class WideApportionment(Apportionment):
    """The same ledger with arrays: the same draws, faster for many sources."""

    def __init__(self, size: int) -> None:
        self._credits = np.zeros(size, dtype=np.int64)
        self._units = _Units([])

    @property
    def credits(self) -> list[int]:
        """The credit of each source."""
        credits: list[int] = self._credits.tolist()
        return credits

    @credits.setter
    def credits(self, credits: Sequence[int]) -> None:
        self._credits = np.array(credits, dtype=np.int64)

    def draw(self, units: Sequence[int]) -> int:
        """See ``Apportionment``."""
        if self._units.listed is not units:  # all draws of a step share them
            self._units = _Units(units)
        credits, known = self._credits, self._units
        credits += known.whole
        eligible = credits if known.live is None else np.where(known.live, credits, _NEVER)
        drawn = int(eligible.argmax())
        if eligible[drawn] < WHOLE:
            # Exact in floating point: the quotients are of integers below 2 ** 53.
            due = np.floor((WHOLE - credits) / known.divisors)
            due[eligible <= 0] = math.inf
            soonest = int(due.argmin())
            if due[soonest] < math.inf:
                drawn = soonest
        credits[drawn] -= WHOLE
        return drawn

    def undo(self, drawn: int, units: Sequence[int]) -> None:
        """See ``Apportionment``."""
        self._credits -= np.array(units, dtype=np.int64)
        self._credits[drawn] += WHOLE


class _Units:
    """Units as arrays."""

    def __init__(self, units: Sequence[int]) -> None:
        self.listed = units
        self.whole = np.array(units, dtype=np.int64)
        self.divisors = np.maximum(self.whole, 1).astype(np.float64)
        self.live = None if self.whole.all() else self.whole > 0


def apportionment(size: int) -> Apportionment:
    """Returns a ledger for ``size`` sources."""
    return Apportionment(size) if size < _MANY else WideApportionment(size)
