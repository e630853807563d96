"""Batches of row numbers of one data set, drawn from a mixture pass by pass."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.errors import CheckpointError, ConfigurationError, DataError
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
        rank: Gives every ``world_size``-th row, from row ``rank`` of a batch on; all ranks draw all
            of them.
        world_size: Divides ``size``.

    Raises:
        ConfigurationError: The rank is not below the world size, or that does not divide a batch.
        DataError: The sources of positive weight have fewer rows than one batch.
    """

    def __init__(
        self,
        mixture: Mixture,
        rows: Mapping[str, NDArray[np.int64]],
        *,
        size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        _check_ranks(rank, world_size, size)
        total = sum(len(rows[name]) for name in mixture.weighted_sources)
        self.length = total - total % size
        """Rows of a pass, of all ranks: the sources of positive weight, in whole batches."""
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
        self._rank, self._world_size = rank, world_size
        self._pending: list[int] = []
        """The rows of the present batch that are still to come, the next one last."""
        self._yielded = 0
        """Rows given in the present pass, by all ranks."""
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

    @property
    def has_more(self) -> bool:
        """Whether the present pass has rows to come."""
        return self._yielded < self.length

    def fill(self, step: int) -> None:
        """Draws a batch at ``step`` if the present one has no rows to come."""
        if not self._pending:
            self._pending = self.draw(step)

    def next_row(self) -> int | None:
        """Returns this rank's next row, None at the end of the batch or pass."""
        if not self._pending or self._yielded >= self.length:
            return None
        # Counted before it is given: a state taken after it must not give it again. All ranks have
        # given a row then, so their states are the same.
        self._yielded += self._world_size
        if self._world_size == 1:
            return self._pending.pop()
        row = self._pending[-1 - self._rank]
        del self._pending[-self._world_size :]
        return row

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
        pending = list(state["pending"])
        if len(pending) % self._world_size:
            raise CheckpointError(
                f"the state was saved amid a batch, with {len(pending)} rows to come, which "
                f"world_size {self._world_size} does not divide; save between batches",
                key="world_size",
                value=self._world_size,
            )
        self._pending = pending
        self.drawn, self._yielded, self._resumed = drawn, yielded, True


def _check_ranks(rank: int, world_size: int, batch_size: int) -> None:
    if not 0 <= rank < world_size:
        raise ConfigurationError(
            f"rank is {rank} of world_size {world_size}; it must be 0 to world_size - 1",
            key="rank",
            value=rank,
        )
    if batch_size % world_size:
        raise ConfigurationError(
            f"world_size {world_size} does not divide train_batch_size {batch_size}, the batch of "
            f"all ranks; change one of them",
            key="world_size",
            value=world_size,
        )
