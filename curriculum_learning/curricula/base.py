"""What a curriculum is: the two classes that a user's own one derives from.

A row curriculum says how often each row of one source should come now. A source rule says how much
of each source should come now. Both are told the results of finished groups, each group once.

The settings of a curriculum are the keyword-only arguments of its constructor. A configuration
names them; their types, and bounds such as ``Annotated[float, Ge(0), Le(1)]``, are checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.curricula.results import Result
from curriculum_learning.curricula.statistics import RowStatistics

Weights = NDArray[np.float64]
"""A weight for each row of a source, >= 0 and finite; shape (rows,)."""


class SourceRows(NamedTuple):
    """The rows of one source, as a row curriculum sees them."""

    source: str
    size: int
    seed: int
    """The seed of the run."""
    scores: NDArray[np.float64] | None
    """The complexity of each row, finite; None unless the curriculum ``needs_scores``."""
    statistics: RowStatistics
    """Kept up to date before ``observe`` is called, and loaded before ``load_state_dict`` is."""

    def random(self, step: int) -> np.random.Generator:
        """Returns the generator of a rollout step: the same numbers again after a resume."""
        key = hashlib.blake2b(f"{self.seed}\0{step}\0{self.source}".encode(), digest_size=16)
        return np.random.default_rng(int.from_bytes(key.digest(), "little"))


class RowCurriculum:
    """Says how often each row of a source should come now; by default each as often as any other.

    Args:
        rows: The rows of the source.
    """

    needs_scores = False
    """Whether every row must have a complexity score."""

    learns = True
    """Whether results change anything."""

    needs_rows = True
    """Whether it learns from the results of single rows, not just from those of the source."""

    def __init__(self, rows: SourceRows) -> None:
        self.rows = rows

    def weights(self, step: int) -> Weights:
        """Returns the weights of the rows at a rollout step.

        A row of weight 2 comes twice as often as one of weight 1; a row of weight 0 is closed, and
        at least one must be open. It is asked once per step and update. Return the same array as
        before if nothing has changed: that makes the answer free. Never change an array that you
        have returned.
        """
        return np.ones(self.rows.size)

    def open_rows(self, step: int) -> int:
        """Returns how many rows may come at a rollout step, 1 to all."""
        return int(np.count_nonzero(self.weights(step)))

    def observe(self, results: Sequence[Result]) -> None:
        """Takes in the finished groups of the source in an update; there may be none."""

    def identity(self) -> dict[str, Any] | None:
        """Returns what a state must have in common with the configuration, as plain data.

        None: any state of the curriculum can be resumed.
        """
        return None

    def metrics(self) -> dict[str, float]:
        """Returns figures for the tracker, by name."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that ``observe`` has changed, as plain data.

        The statistics of the rows are saved by the source.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads what ``state_dict`` returned."""


class SourceRule:
    """Says how much of each source should come now; by default as much as is configured.

    Args:
        rows: The number of rows of each source, by name.
    """

    learns = True
    """Whether results change anything."""

    needs_groups = False
    """Whether it compares the rewards within a group."""

    def __init__(self, rows: Mapping[str, int]) -> None:
        self.rows = dict(rows)

    def check(self, weights: Mapping[str, float], key: str, when: str = "") -> None:
        """Checks configured weights before the run.

        Args:
            weights: The configured weights, at least one above 0.
            key: Their configuration key.
            when: The moment, for the message, such as `` at step 3``.

        Raises:
            ConfigurationError: The rule cannot work with them.
        """

    def shares(self, step: int, weights: Mapping[str, float]) -> Mapping[str, float]:
        """Returns the weight of each source in force at a rollout step.

        Args:
            step: The rollout step.
            weights: The configured weights at this step. A source of weight 0 stays at 0.

        Returns:
            Finite numbers >= 0, at least one above 0; they need not sum to 1.
        """
        return weights

    def observe(
        self, results: Mapping[str, Sequence[Result]], update: int, weights: Mapping[str, float]
    ) -> bool:
        """Takes in the finished groups of an update, by source.

        Args:
            results: Sources without a finished group are left out.
            update: The number of the update: 1, 2, ....
            weights: The configured weights at this step.

        Returns:
            Whether the shares may be others now.
        """
        return False

    def metrics(self) -> dict[str, dict[str, float]]:
        """Returns figures for the tracker, by source and name."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that ``observe`` has changed, as plain data, by source name."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads what ``state_dict`` returned; a source that it does not have starts anew."""
