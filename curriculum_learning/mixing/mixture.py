"""The mixture: which source is next, and which of its rows. Every face draws from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from curriculum_learning.curricula.base import SourceRule
from curriculum_learning.curricula.results import Result, by_source
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.mixing.endless import EndlessSource
from curriculum_learning.mixing.ledger import apportionment, units_of
from curriculum_learning.mixing.source import RowSource
from curriculum_learning.weights.schedules import Schedule, is_zero
from curriculum_learning.weights.shares import normalise, weights_at

Charge = tuple[int, Sequence[int]]
"""The number of a source, and the units that the ledger credited the sources with."""


class Draw(NamedTuple):
    """A row that was drawn, charged to its source."""

    source: str
    row: int
    epoch: int
    """The pass over the source's rows."""
    before: Any
    """What the source needs to put it back."""
    step: int
    """The rollout step whose weights decided."""
    units: Sequence[int]
    """The units that the ledger credited the sources with; empty for a draw off the books."""


class _InForce(NamedTuple):
    """Weights at one step; kept, because thousands of draws share a step."""

    step: int
    version: int
    """Counts what the source rule has been told."""
    weights: dict[str, float]
    shares: dict[str, float]
    units: list[int]


class Changes(NamedTuple):
    """What an update changed."""

    adapted: bool
    """Whether the shares of the source rule may be others now."""
    opened: list[str]
    """The sources with more open rows."""


class Mixture:
    """Draws rows from several sources in exact proportion to their weights.

    Not thread-safe: its owner locks.

    Args:
        sources: The sources, at least one, with distinct names.
        schedules: The weight of each of them over the rollout steps, by name.
        rule: Changes the weights by the step and the results; None leaves them as configured.
    """

    def __init__(
        self,
        sources: Sequence[RowSource],
        schedules: Mapping[str, Schedule],
        rule: SourceRule | None = None,
    ) -> None:
        self.sources = list(sources)
        self.drawn = [0] * len(self.sources)
        """Rows drawn, per source."""
        self.total_drawn = 0
        self.schedules = {source.name: schedules[source.name] for source in self.sources}
        self._ledger = apportionment(len(self.sources))
        self.rule = rule
        self._version = 0
        self._force = _InForce(-1, 0, {}, {}, [])

    @property
    def size(self) -> int | None:
        """Rows of all sources; None if those of one have no end."""
        if any(isinstance(source, EndlessSource) for source in self.sources):
            return None
        return sum(source.size for source in self.sources)

    def __len__(self) -> int:
        return finite(self.size)

    def __bool__(self) -> bool:
        return True  # also where there is no number of rows

    @property
    def names(self) -> list[str]:
        """The names of the sources, in order."""
        return [source.name for source in self.sources]

    @property
    def weighted_sources(self) -> list[str]:
        """The sources whose weight is not 0 at every step."""
        return [name for name, schedule in self.schedules.items() if not is_zero(schedule)]

    def weights(self, step: int) -> dict[str, float]:
        """The configured weights at ``step``; raises as ``weight_scheduler.weights_at``."""
        return self._at(step).weights

    def shares(self, step: int) -> dict[str, float]:
        """The shares in force at ``step``; raises as ``weight_scheduler.weights_at``."""
        return self._at(step).shares

    def _at(self, step: int) -> _InForce:
        if self._force.step != step or self._force.version != self._version:
            weights = weights_at(self.schedules, step)
            in_force = weights if self.rule is None else _shares(self.rule, step, weights)
            self._force = _InForce(
                step, self._version, weights, normalise(in_force), units_of([*in_force.values()])
            )
        return self._force

    def observe(self, results: Sequence[Result], update: int, step: int) -> Changes:
        """Takes in the results of an update: they move the source rule and the curricula.

        Args:
            results: The finished groups of the update, each once.
            update: Its number: 1, 2, ....
            step: The rollout step at which it happened.
        """
        found = by_source(results)
        adapted = self.rule is not None and self.rule.observe(found, update, self.weights(step))
        self._version += 1
        opened = [
            source.name
            for source in self.sources
            if source.curriculum is not None and source.observe(found.get(source.name, []), step)
        ]
        return Changes(adapted, opened)

    @property
    def learns(self) -> bool:
        """Whether results change anything."""
        parts = [self.rule, *(source.curriculum for source in self.sources)]
        return any(part is not None and part.learns for part in parts)

    def draw(self, step: int) -> Draw:
        """Draws the next row with the weights of ``step``."""
        index, units = self.charge(step)
        return self.take(index, step, units)

    def charge(self, step: int) -> Charge:
        """Charges the source whose turn it is; ``take`` then takes the row."""
        units = self._at(step).units
        index = self._ledger.draw(units)
        self.drawn[index] += 1
        self.total_drawn += 1
        return index, units

    def take(self, index: int, step: int, units: Sequence[int] = ()) -> Draw:
        """Takes the next row of source number ``index``; without ``units``, off the books.

        Raises:
            ConfigurationError: The curriculum returned weights that cannot be used. The charge is
                undone then.
        """
        source = self.sources[index]
        try:
            row, epoch, before = source.take(step)
        except BaseException:
            if units:
                self.discharge((index, units))
            raise
        return Draw(source.name, row, epoch, before, step, units)

    def undo(self, draw: Draw) -> None:
        """Undoes the latest draw."""
        index = self.names.index(draw.source)
        self.sources[index].put_back(draw.before)
        if draw.units:
            self.discharge((index, draw.units))

    def discharge(self, charge: Charge) -> None:
        """Undoes one of the latest charges, in any order."""
        index, units = charge
        self._ledger.undo(index, units)
        self.drawn[index] -= 1
        self.total_drawn -= 1

    def state_dict(self) -> dict[str, Any]:
        """Plain data, by source name."""
        return self._state([source.state_dict() for source in self.sources])

    def positions(self) -> dict[str, Any]:
        """Returns the part of ``state_dict`` that draws change, without lists of rows."""
        return self._state([source.place() for source in self.sources])

    def _state(self, sources: Sequence[dict[str, Any]]) -> dict[str, Any]:
        counts = zip(self.names, self._ledger.credits, self.drawn, sources, strict=True)
        return {
            "rule": None if self.rule is None else self._rule_state(self.rule),
            "sources": {
                name: {"credit": credit, "drawn": drawn, **source}
                for name, credit, drawn, source in counts
            },
        }

    def _rule_state(self, rule: SourceRule) -> dict[str, Any]:
        return {"kind": type(rule).__qualname__, "sources": rule.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads what ``state_dict`` returned; sources are matched by name."""
        saved = [state["sources"][name] for name in self.names]
        credits, drawn = [item["credit"] for item in saved], [item["drawn"] for item in saved]
        before = self.state_dict()
        try:
            if self.rule is not None:
                saved_rule = state["rule"]
                same = saved_rule is not None and saved_rule["kind"] == type(self.rule).__qualname__
                self.rule.load_state_dict(saved_rule["sources"] if same else {})
            for source, item in zip(self.sources, saved, strict=True):
                source.load_state_dict(item)
        except Exception:
            self.load_state_dict(before)
            raise
        self._ledger.credits, self.drawn = credits, drawn
        self.total_drawn = sum(drawn)
        self._version += 1


def finite(size: int | None) -> int:
    """Returns a number of rows; raises ConfigurationError if there is none."""
    if size is None:
        raise ConfigurationError(
            "the rows of a source have no end, so there is no number of rows, and no epoch of all "
            "sources; set num_rollout, not num_epoch",
            key="num_epoch",
        )
    return size


def _shares(rule: SourceRule, step: int, weights: Mapping[str, float]) -> dict[str, float]:
    """Returns the weights in force by a rule; raises ConfigurationError if they are unusable."""
    shares = rule.shares(step, weights)
    try:
        in_force = {n: float(shares.get(n, 0.0)) if w > 0 else 0.0 for n, w in weights.items()}
    except (TypeError, ValueError, AttributeError):
        in_force = {}
    if not any(in_force.values()) or not all(0 <= n < math.inf for n in in_force.values()):
        raise ConfigurationError(
            f"{type(rule).__qualname__}.shares({step}) cannot be used: {shares!r}; give each "
            f"source a finite number >= 0, at least one above 0",
            key="data_source_rule",
            value=shares,
        )
    return in_force
