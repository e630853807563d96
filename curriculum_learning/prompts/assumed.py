"""Made-up rows of given numbers, to look at a configuration without its prompt files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from curriculum_learning.config.plan import SourcePlan
from curriculum_learning.prompts.columns import SCORE_COLUMN
from curriculum_learning.prompts.rows import Record, Rows, fingerprint

_NONE: Mapping[str, int] = {}
_sizes = ContextVar("sizes", default=_NONE)


@contextmanager
def assuming(sizes: Mapping[str, int]) -> Iterator[None]:
    """Within the block, sources that have a size here have so many made-up rows."""
    token = _sizes.set(sizes)
    try:
        yield
    finally:
        _sizes.reset(token)


def assumed_rows(config: SourcePlan) -> AssumedRows | None:
    """Returns the made-up rows of a source; None if its file is to be read."""
    size = _sizes.get().get(config.name)
    return None if size is None else AssumedRows(config, size)


class AssumedRows(Rows):
    """Rows with the columns that a source names, their complexity rising evenly.

    Args:
        config: Names the columns.
        size: The number of rows.
    """

    def __init__(self, config: SourcePlan, size: int) -> None:
        self._config, self.size = config, size
        self.fingerprint = fingerprint(size, 0, "")

    def records(self, indices: Sequence[int]) -> list[Record]:
        """See ``Rows``."""
        config = self._config
        score_key = config.curriculum.complexity_key if config.curriculum else SCORE_COLUMN
        label = {} if config.label_key is None else {config.label_key: ""}
        records: list[Record] = []
        for row in indices:
            score = {score_key: float(row)}
            texts = {config.metadata_key: score, config.input_key: f"row {row}"}
            records.append({**score, **label, **texts})
        return records

    def grown_from(self, fingerprint: Mapping[str, Any]) -> str | None:
        """See ``Rows``."""
        return "its rows are made up"

    def where(self, index: int) -> str:
        """See ``Rows``."""
        return f"made-up row {index}"
