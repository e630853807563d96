"""What a mixture does over many steps: drawn group by group, or reckoned by the shares."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.config.weights import numbers_over
from curriculum_learning.mixing.mixture import Mixture
from curriculum_learning.weights.shares import normalise_all

Numbers = NDArray[Any]


class Forecast(NamedTuple):
    """What the sources do in some steps; first axis the sources, second axis the steps."""

    weights: Numbers
    shares: Numbers
    epochs: Numbers
    """Passes that have ended, at the end of a step."""
    open_rows: Numbers
    """At the steps that were asked for."""
    asked: list[int]
    """Where these are among all steps."""

    def of(self, number: int) -> Forecast:
        """Returns the rows of one source."""
        weights, shares, epochs, open_rows, asked = self
        return Forecast(weights[number], shares[number], epochs[number], open_rows[number], asked)


class Drawn:
    """Draws each group from the mixture.

    Args:
        mixture: The sources; used up.
        batch: Groups of a step.
    """

    def __init__(self, mixture: Mixture, batch: int) -> None:
        self._mixture, self._batch = mixture, batch

    def over(self, steps: range, asked: list[int]) -> Forecast:
        """Draws the groups of the next steps; returns open rows of those ``asked`` for."""
        mixture, columns = self._mixture, []
        for step in steps:
            in_force = mixture.weights(step).values(), mixture.shares(step).values()
            for _ in range(self._batch):
                mixture.draw(step)
            columns.append((*map(list, in_force), [s.epoch for s in mixture.sources]))
        weights, shares, epochs = (np.array(numbers).T for numbers in zip(*columns, strict=True))
        return Forecast(weights, shares, epochs, *_open_rows(mixture, steps, asked))

    def groups(self) -> list[int]:
        """Returns the groups of each source so far."""
        return self._mixture.drawn


class Reckoned:
    """Gives each source its shares of the groups.

    The source rule and the curricula are asked at some of the steps only: at the first one of each
    call of ``over`` and those asked for. What they say holds until the next one.

    Args:
        mixture: The sources.
        batch: Groups of a step.
    """

    def __init__(self, mixture: Mixture, batch: int) -> None:
        self._mixture, self._batch = mixture, batch
        self._groups = self._epochs = np.zeros(len(mixture.sources))

    def over(self, steps: range, asked: list[int]) -> Forecast:
        """As ``Drawn.over``."""
        mixture, batch = self._mixture, self._batch
        weights = weights_over(mixture, steps)
        some = sorted({steps.start, *asked})
        holds = np.searchsorted(some, steps, side="right") - 1
        if mixture.rule is None:
            shares = normalise_all(weights)
        else:
            shares = np.array([[*mixture.shares(step).values()] for step in some]).T[:, holds]
        open_rows = np.array([[s.open_rows(step) for step in some] for s in mixture.sources])
        passes = batch * shares / open_rows[:, holds]
        epochs = self._epochs[:, None] + passes.cumsum(axis=1)
        self._groups = self._groups + batch * shares.sum(axis=1)
        self._epochs = epochs[:, -1]
        # A pass that ends by the last group of a step ends in this step, in spite of rounding.
        ended = np.floor(epochs + 1e-9).astype(np.int64)
        return Forecast(weights, shares, ended, *_open_rows(mixture, steps, asked))

    def groups(self) -> list[int]:
        """As ``Drawn.groups``; they sum to whole batches."""
        bounds = np.rint(self._groups.cumsum()).astype(np.int64)
        groups: list[int] = np.diff(bounds, prepend=0).tolist()
        return groups


def _open_rows(mixture: Mixture, steps: range, asked: list[int]) -> tuple[Numbers, list[int]]:
    rows = [[source.open_rows(step) for step in asked] for source in mixture.sources]
    return np.array(rows), [step - steps.start for step in asked]


def weights_over(mixture: Mixture, steps: range) -> NDArray[np.float64]:
    """Returns the configured weights, shape (sources, steps).

    Raises:
        ScheduleError: There are no usable weights at one of the steps.
    """
    weights = np.array([numbers_over(s, steps) for s in mixture.schedules.values()])
    for place in np.flatnonzero(~weights.any(axis=0)).tolist():
        mixture.weights(steps[place])  # raises it
    return weights
