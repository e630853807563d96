"""A task of the experiment: what is learned, and what all its runs have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from examples.spelling.task import Row, Task

_TRIES = 100
"""Random rows for each one wanted: many questions come up more than once."""


class EvidenceTask(Task):
    """A task with its sources, and the configuration of its runs."""

    sources: ClassVar[Mapping[str, int]]
    """The training rows of each source; the sources from easy to hard."""
    hardest: ClassVar[str]
    """The hardest held-out set that can be learned: methods are compared by it."""
    offers: ClassVar[frozenset[str]]
    """What a method can use here: ``sources``, ``rows`` that differ, or their ``scores``."""
    config: ClassVar[Mapping[str, Any]]
    """What its runs have beside the keys of ``run.yaml``."""
    held_out_rows: ClassVar[int] = 200
    """Of each source."""

    @abstractmethod
    def row(self, source: str, random: np.random.Generator) -> Row:
        """Returns a random row of a source."""

    def rows(self, source: str) -> tuple[list[Row], list[Row]]:
        """See ``Task``."""
        rows = self.different_rows(source, self.held_out_rows + self.sources[source])
        return rows[self.held_out_rows :], rows[: self.held_out_rows]

    def different_rows(self, source: str, wanted: int) -> list[Row]:
        """Returns rows of a source with different questions, always the same ones.

        Raises:
            ValueError: There are fewer.
        """
        random = np.random.default_rng([*source.encode()])
        found: dict[str, Row] = {}
        for _ in range(_TRIES * wanted):
            row = self.row(source, random)
            found.setdefault(row["input"], row)
            if len(found) == wanted:
                return list(found.values())
        raise ValueError(f"{source}: only {len(found)} of {wanted} questions differ")
