"""The sources together: which source is next, and which of its rows. Every face drives this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from curriculum_learning.apportionment import Apportionment, units_of
from curriculum_learning.errors import CheckpointError
from curriculum_learning.source import Position, Source
from curriculum_learning.weight_scheduler import Schedule, normalise, weights_at


class Draw(NamedTuple):
    """A row taken for the first time in its epoch, charged to its source."""

    source: str
    row: int
    position: Position
    """Where in its source's walk the row stood."""
    step: int
    """The rollout step whose weights decided."""
    units: Sequence[int]
    """What the ledger credited the sources with."""


class _InForce(NamedTuple):
    """What holds at one step; kept, because thousands of draws share a step."""

    step: int
    weights: dict[str, float]
    shares: dict[str, float]
    units: list[int]


class Mixture:
    """Draws rows from several sources in exact proportion to their weights.

    Not thread-safe: its owner locks.

    Args:
        sources: The sources, at least one, with distinct names.
        schedules: The weight of each of them over the rollout steps, by name.
    """

    def __init__(self, sources: Sequence[Source], schedules: Mapping[str, Schedule]) -> None:
        self.sources = list(sources)
        self.drawn = [0] * len(self.sources)
        """Rows drawn, per source."""
        self.total_drawn = 0
        self._schedules = {source.name: schedules[source.name] for source in self.sources}
        self._ledger = Apportionment(len(self.sources))
        self._force = _InForce(-1, {}, {}, [])

    def __len__(self) -> int:
        return sum(source.size for source in self.sources)

    @property
    def names(self) -> list[str]:
        """The names of the sources, in order."""
        return [source.name for source in self.sources]

    def weights(self, step: int) -> dict[str, float]:
        """The configured weights at ``step``; raises as ``weight_scheduler.weights_at``."""
        return self._at(step).weights

    def shares(self, step: int) -> dict[str, float]:
        """The shares in force at ``step``; raises as ``weight_scheduler.weights_at``."""
        return self._at(step).shares

    def _at(self, step: int) -> _InForce:
        if self._force.step != step:
            weights = weights_at(self._schedules, step)
            self._force = _InForce(step, weights, normalise(weights), units_of([*weights.values()]))
        return self._force

    def draw(self, step: int) -> Draw:
        """Draw the next row with the weights of ``step``."""
        units = self._at(step).units
        index = self._ledger.draw(units)
        source = self.sources[index]
        position = source.position
        self.drawn[index] += 1
        self.total_drawn += 1
        return Draw(source.name, source.next_row(), position, step, units)

    def undo(self, draw: Draw) -> None:
        """Take back the latest draw, as if it had not been made."""
        index = self.names.index(draw.source)
        self._ledger.undo(index, draw.units)
        self.sources[index].seek(draw.position)
        self.drawn[index] -= 1
        self.total_drawn -= 1

    def state_dict(self) -> dict[str, Any]:
        """Ledger and positions by source name, as plain data."""
        return {
            source.name: {
                "credit": self._ledger.credits[index],
                "epoch": source.position.epoch,
                "offset": source.position.offset,
                "drawn": self.drawn[index],
            }
            for index, source in enumerate(self.sources)
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the state that ``state_dict`` gave; sources are matched by name.

        Raises:
            CheckpointError: The state is of other sources.
        """
        if set(state) != set(self.names):
            raise CheckpointError(
                f"the saved state has the sources {sorted(state)}, the configuration has "
                f"{sorted(self.names)}; resume with the sources it was saved with",
                key="prompt_data_source_names",
                value=self.names,
            )
        saved = [state[name] for name in self.names]
        credits = [item["credit"] for item in saved]
        drawn = [item["drawn"] for item in saved]
        positions = [Position(item["epoch"], item["offset"]) for item in saved]
        self._ledger.credits, self.drawn = credits, drawn
        for source, position in zip(self.sources, positions, strict=True):
            source.seek(position)
        self.total_drawn = sum(self.drawn)
