"""Batches of row numbers of one data set, drawn from a mixture pass by pass."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.errors import DataError
from curriculum_learning.mixing.mixture import Draw, Mixture
from curriculum_learning.mixing.order import Permutation, epoch_key


class Draws(Protocol):
    """Draws rows: the mixture, or what keeps account of its rows too."""

    def draw(self, step: int) -> Draw:
        """Draws the next row at a step."""


class Batches:
    """Draws batches from a mixture and shuffles each; a pass has a fixed number of rows.

    Args:
        mixture: Says which row of which source is next.
        rows: The row numbers of each source in the data set; shape (rows of the source,).
        size: Rows of a batch.
        seed: Chooses the order within batches.

    Raises:
        DataError: The sources of positive weight have fewer rows than one batch.
    """

    def __init__(
        self,
        mixture: Mixture,
        rows: Mapping[str, NDArray[np.int64]],
        *,
        size: int,
        seed: int,
    ) -> None:
        total = sum(len(rows[name]) for name in mixture.weighted_sources)
        self.length = total - total % size
        """Rows of a pass: those of the sources of positive weight, in whole batches."""
        if not self.length:
            raise DataError(
                f"the sources of positive weight have fewer rows than one batch of {size}; use a "
                f"smaller train_batch_size",
                key="train_batch_size",
                value=size,
            )
        self.drawn = 0
        """Batches drawn so far."""
        self.draws: Draws = mixture
        """Where rows are drawn from."""
        self._rows = rows
        self._size, self._seed = size, seed
        self._pending: list[int] = []
        """The rows of the present batch that are still to come, the next one last."""
        self._yielded = 0
        """Rows given in the present pass."""
        self._resumed = False

    @property
    def finished(self) -> int:
        """Batches whose rows have all been given."""
        return self.drawn - bool(self._pending)

    def begin_pass(self) -> None:
        """Begins a pass; after a resume, goes on with the one that was interrupted."""
        if not self._resumed or self.length - self._yielded < self._size:
            self._yielded = 0
        self._resumed = False

    def next_row(self, step: int) -> int | None:
        """Returns the next row of the pass, None at its end; draws a new batch at ``step``."""
        if self._yielded >= self.length:
            return None
        if not self._pending:
            self._pending = self.draw(step)
        # Counted before it is given: a state taken after it must not give it again.
        self._yielded += 1
        return self._pending.pop()

    def draw(self, step: int) -> list[int]:
        """Returns the rows of a new batch, drawn at ``step``."""
        batch = [self.draws.draw(step) for _ in range(self._size)]
        places: dict[str, list[int]] = {}
        for place, drawn in enumerate(batch):
            places.setdefault(drawn.source, []).append(place)
        rows = np.empty(self._size, dtype=np.int64)
        for name, at in places.items():
            rows[at] = self._rows[name][[batch[place].row for place in at]]
        order = Permutation(self._size, epoch_key(self._seed, "\0batch", self.drawn))
        self.drawn += 1
        shuffled: list[int] = rows[order.rows(0, self._size)].tolist()
        return shuffled

    def state_dict(self) -> dict[str, Any]:
        """Returns plain data; the mixture has a state of its own."""
        return {"batches": self.drawn, "pending": list(self._pending), "yielded": self._yielded}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads what ``state_dict`` returned; changes nothing if it is no state."""
        drawn, yielded = operator.index(state["batches"]), operator.index(state["yielded"])
        self._pending = list(state["pending"])
        self.drawn, self._yielded, self._resumed = drawn, yielded, True
