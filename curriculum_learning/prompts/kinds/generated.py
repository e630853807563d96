"""Rows that are made when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from curriculum_learning.errors import ConfigurationError, DataError
from curriculum_learning.prompts.rows import Record, Rows
from curriculum_learning.samples.codec import CannotStoreError, encode

_HASHED = 8
"""Rows that tell whether a generator is the same as before."""


class GeneratedRows(Rows):
    """Rows that a function of the index makes; a kind of generator derives from it.

    Args:
        text: What messages call it.
        source: The name of the source.
        size: Number of rows; None is without end.
    """

    is_generated = True

    def __init__(self, text: str, source: str, size: int | None) -> None:
        self.text, self.source, self.size = text, source, size

    def make(self, index: int) -> Any:
        """Makes a row; what it raises goes to the user with the index."""
        raise NotImplementedError

    def records(self, indices: Sequence[int]) -> list[Record]:
        """See ``Rows``."""
        return [self._record(index) for index in indices]

    def _record(self, index: int) -> Record:
        if self.size is not None and not 0 <= index < self.size:
            raise IndexError(index)
        try:
            record = self.make(index)
        except Exception as problem:
            raise self.error(index, f"raises {problem!r}") from problem
        if not isinstance(record, dict):
            raise self.error(index, f"is a {type(record).__name__}, not a dictionary of columns")
        return record

    def error(self, index: int, problem: str) -> DataError:
        """Makes the error of a row."""
        return DataError(
            f"source '{self.source}', {self.where(index)} {problem}; mend the generator",
            source=self.source,
            key="prompt_data",
            value=self.text,
        )

    def refused(self, problem: str) -> ConfigurationError:
        """Makes the error of a generator that cannot be used."""
        return ConfigurationError(
            f"prompt_data of source '{self.source}': {self.text} {problem}",
            source=self.source,
            key="prompt_data",
            value=self.text,
        )

    def where(self, index: int) -> str:
        """See ``Rows``."""
        return f"{self.text}, row {index}"

    def sample_hash(self) -> str:
        """Hashes the first rows: they tell whether the generator makes other ones now."""
        rows = range(_HASHED if self.size is None else min(_HASHED, self.size))
        digest = hashlib.blake2b(digest_size=16)
        for index in rows:
            try:
                digest.update(encode(self._record(index)))
            except CannotStoreError as problem:  # noqa: PERF203 - the message names the row
                raise self.error(index, f"cannot be used: {problem}") from None
        return digest.hexdigest()
