"""Groups that were drawn and not trained are replaced, so that what is trained has the shares.

The ledger of draws knows nothing of it: a replacement is another row of the same source, off the
books.
"""

from __future__ import annotations

import copy
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from curriculum_learning.groups.in_flight import GroupLedger
from curriculum_learning.mixing.mixture import Charge, Draw, Mixture

logger = logging.getLogger(__name__)

_WINDOW = 4
"""Rollouts over which the bound on replacements holds, and losses are averaged."""

_GROUP = 256
"""Debts are in parts of a group."""


class _Mark(NamedTuple):
    """What had been served for the first time when a rollout began."""

    step: int
    drawn: list[int]
    """Of each source, by the ledger."""
    replaced: list[int]
    lost: list[int]
    done: list[int]
    """Trained, or not to be heard of again."""


class Replacements:
    """Says which of the groups that are asked for replace lost ones.

    A source is owed as many groups as it has lost, less those that have replaced them, and the
    part of those that are out which it is expected to lose: engines tell of losses when a rollout
    is over, too late for that rollout. A replacement that was not needed takes the place of the
    source's next draw by the ledger.

    The replacements are spread among the draws of the ledger by smooth weighted round robin, in
    which a source counts as much as it is owed and the ledger half a training batch. So what is
    owed goes out within about a rollout, and requests of any size see the same sequence.

    Two bounds hold over the last 4 rollouts: no source is served more than ``most`` times its
    share, and at least one in ``most`` groups is the ledger's, so that every source keeps that
    part of its share whatever the others lose. What is owed beyond them lapses.

    Args:
        names: The sources.
        most: ``max_oversampling``, at least 1.
    """

    def __init__(self, names: Sequence[str], most: float) -> None:
        self._names = list(names)
        self._most = most
        self._replaced = [0] * len(self._names)
        self._lapsed = [0] * len(self._names)
        self._credits = [0] * len(self._names)
        self._ledger_credit = 0
        self._lost = [0] * len(self._names)
        self._done = [0] * len(self._names)
        self._out = [0] * len(self._names)
        """Groups that had no end when ``hear`` was called last, less those drawn till then."""
        self._rates: dict[int, int] = {}
        """The part of its groups that a source loses, 0 to _GROUP, of those that lose any."""
        self._news = -1
        self._batch = 1
        self._logged = 0
        """Groups trained in the run until a rollout was logged last."""
        self._marks: deque[_Mark] = deque(maxlen=_WINDOW)
        self._at_bound: set[int] = set()
        """The sources of which something lapsed in the last rollout."""
        self._lapsed_before = list(self._lapsed)

    def counts(self, name: str) -> dict[str, int]:
        """Of a source: groups ``replaced``, ``owed``, and ``lapsed``."""
        index = self._names.index(name)
        return {
            "replaced": self._replaced[index],
            "owed": self._owed(index),
            "lapsed": self._lapsed[index],
        }

    def copy(self) -> Replacements:
        """As it is now; neither changes with the other."""
        new = copy.copy(self)
        new._replaced, new._lapsed = list(self._replaced), list(self._lapsed)
        new._credits, new._marks = list(self._credits), self._marks.copy()
        return new

    def hear(self, ledger: GroupLedger, drawn: Sequence[int]) -> None:
        """Take in what has become of groups so far; ``drawn`` is as for ``next``."""
        if ledger.news == self._news:
            return
        self._news = ledger.news
        lost, done = ledger.lost(), ledger.done()
        self._lost = [lost[name] for name in self._names]
        self._done = [done[name] for name in self._names]
        self._out = [
            ledger.out[name] - of_ledger - replaced
            for name, of_ledger, replaced in zip(self._names, drawn, self._replaced, strict=True)
        ]
        self._estimate()

    def _estimate(self) -> None:
        """What part of its groups each source loses."""
        since = self._marks[0] if self._marks else _Mark(0, *[[0] * len(self._names)] * 4)
        self._rates = {}
        for index, count in enumerate(self._lost):
            recently = max(count - since.lost[index], 0)
            ended = recently + max(self._done[index] - since.done[index], 0)
            if recently or count != self._replaced[index] + self._lapsed[index]:
                self._rates[index] = _GROUP * recently // (ended + 1)

    def _expected(self, index: int, drawn: int) -> int:
        """The part of the groups of a source that are out which it will lose, in parts of one."""
        return self._rates[index] * (self._out[index] + drawn + self._replaced[index])

    def forgive(self, ledger: GroupLedger) -> None:
        """Nothing is owed for what has been lost so far."""
        lost = ledger.lost()
        self._lapsed = [lost[name] for name in self._names]
        self._lapsed_before = list(self._lapsed)
        self._logged = ledger.counts["trained"].total()
        self._news = -1

    def rollout_logged(self, trained: int) -> None:
        """A rollout is over; ``trained`` groups have been trained in the run so far."""
        if trained > self._logged:
            self._batch = trained - self._logged
        self._logged = trained

    def _begin(self, step: int, drawn: Sequence[int]) -> None:
        """The first group of a rollout is asked for."""
        counts = (drawn, self._replaced, self._lost, self._done)
        self._marks.append(_Mark(step, *map(list, counts)))
        self._estimate()  # over the same rollouts as the bounds
        lapsed = zip(self._lapsed, self._lapsed_before, strict=True)
        at_bound = {index for index, (now, before) in enumerate(lapsed) if now > before}
        self._lapsed_before = list(self._lapsed)
        if at_bound != self._at_bound:
            self._at_bound = at_bound
            self._tell(step)

    def _tell(self, step: int) -> None:
        if not self._at_bound:
            logger.info("step %d: max_oversampling holds back no source any more", step)
            return
        logger.warning(
            "step %d: max_oversampling=%g holds back %s: more of its groups are lost than may be "
            "replaced, so less of it is trained than is configured",
            step,
            self._most,
            ", ".join(f"'{self._names[index]}'" for index in sorted(self._at_bound)),
        )

    def draw(self, step: int, mixture: Mixture, absorbed: list[Charge]) -> Draw:
        """Draws the next row: by the ledger, or off the books to replace a lost group.

        Args:
            step: The rollout step.
            mixture: The sources.
            absorbed: Takes the charges for which a replacement has stood.
        """
        while (replaced := self.next(step, mixture)) is None:
            index, units = mixture.charge(step)
            if not self.absorb(index, mixture.drawn):
                return mixture.take(index, step, units)
            absorbed.append((index, units))
        return mixture.take(replaced, step)

    def next(self, step: int, mixture: Mixture) -> int | None:
        """Returns the number of the source whose lost group the next one replaces.

        Returns:
            None if the ledger draws the next group.
        """
        drawn = mixture.drawn
        if not self._marks or self._marks[-1].step != step:
            self._begin(step, drawn)
        if not self._rates:
            return None
        # Each gains what it counts; whoever has most then takes the turn, and pays for all gains.
        gains = max(_GROUP * self._batch // 2, 1)
        self._ledger_credit += gains
        chosen, credit = None, self._ledger_credit
        for index in self._rates:
            owed = _GROUP * self._owed(index) + self._expected(index, drawn[index])
            if owed < _GROUP:
                continue
            gains += owed
            self._credits[index] += owed
            if self._credits[index] > credit:
                chosen, credit = index, self._credits[index]
        if chosen is None:
            self._ledger_credit -= gains
            return None
        self._credits[chosen] -= gains
        if not self._may_replace(chosen, drawn, mixture.shares(step)[self._names[chosen]]):
            self._lapsed[chosen] += 1
            return None
        self._replaced[chosen] += 1
        return chosen

    def _owed(self, index: int) -> int:
        """Groups that a source has lost for good and that nothing has replaced."""
        return self._lost[index] - self._replaced[index] - self._lapsed[index]

    def absorb(self, index: int, drawn: Sequence[int]) -> bool:
        """Whether a replacement that was not needed stands for the draw just charged to a source.

        Args:
            index: The number of the source.
            drawn: What the ledger has drawn of each source, this draw included.
        """
        if index not in self._rates or self._replaced[index] <= self._lost[index]:
            return False
        unneeded = self._replaced[index] - self._lost[index]
        if _GROUP * (unneeded - 1) < self._expected(index, drawn[index] - 1):
            return False
        self._replaced[index] -= 1
        return True

    def _may_replace(self, index: int, drawn: Sequence[int], share: float) -> bool:
        since = self._marks[0]
        by_ledger = sum(drawn) - sum(since.drawn)
        served = by_ledger + sum(self._replaced) - sum(since.replaced) + 1
        own = drawn[index] - since.drawn[index]
        own += self._replaced[index] - since.replaced[index] + 1
        return own <= self._most * share * served and served <= self._most * by_ledger

    def state_dict(self) -> dict[str, Any]:
        """Everything by source name, as plain data."""
        return {
            "sources": {
                name: {
                    "replaced": self._replaced[index],
                    "lapsed": self._lapsed[index],
                    "lapsed_before": self._lapsed_before[index],
                    "credit": self._credits[index],
                    "at_bound": index in self._at_bound,
                    "marks": [[count[index] for count in mark[1:]] for mark in self._marks],
                }
                for index, name in enumerate(self._names)
            },
            "ledger_credit": self._ledger_credit,
            "batch": self._batch,
            "logged": self._logged,
            "steps": [mark.step for mark in self._marks],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the state that ``state_dict`` gave; a source it does not know is owed nothing."""
        steps = list(state["steps"])
        unknown = dict.fromkeys(("replaced", "lapsed", "lapsed_before", "credit"), 0)
        saved = [
            state["sources"].get(
                name, {**unknown, "at_bound": False, "marks": [[0] * 4] * len(steps)}
            )
            for name in self._names
        ]
        self._replaced = [source["replaced"] for source in saved]
        self._lapsed = [source["lapsed"] for source in saved]
        self._lapsed_before = [source["lapsed_before"] for source in saved]
        self._credits = [source["credit"] for source in saved]
        self._at_bound = {index for index, source in enumerate(saved) if source["at_bound"]}
        self._ledger_credit = state["ledger_credit"]
        self._batch, self._logged = state["batch"], state["logged"]
        self._marks = deque(
            (
                _Mark(step, *([source["marks"][at][part] for source in saved] for part in range(4)))
                for at, step in enumerate(steps)
            ),
            maxlen=_WINDOW,
        )
        self._news = -1
