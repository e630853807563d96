"""A slice of the rows of a source: ``path@[start:stop]``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curriculum_learning.prompts.rows import Record, Rows


class SlicedRows(Rows):
    """Some neighbouring rows of others.

    Args:
        rows: The others, whose last row is known or not.
        span: Bounds as in Python: negative ones count from the end.

    Raises:
        ValueError: A bound counts from the end, and there is none.
    """

    def __init__(self, rows: Rows, span: slice) -> None:
        self._rows = rows
        self._bounds = [span.start, span.stop]
        if rows.size is None:
            if any(bound is not None and bound < 0 for bound in self._bounds):
                raise ValueError("its rows have no end to count from; give bounds >= 0")
            self._first = span.start or 0
            self.size = None if span.stop is None else max(span.stop - self._first, 0)
        else:
            self._first, stop, _ = span.indices(rows.size)
            self.size = max(stop - self._first, 0)
        self.is_json, self.is_generated = rows.is_json, rows.is_generated
        self.levels, self.tried = rows.levels, rows.tried
        self.fingerprint = {**rows.fingerprint, "rows": self.size, "span": self._bounds}

    def _outer(self, indices: Sequence[int]) -> list[int]:
        return [self._first + index for index in indices]

    def records(self, indices: Sequence[int]) -> list[Record]:
        """See ``Rows``."""
        return self._rows.records(self._outer(indices))

    def where(self, index: int) -> str:
        """See ``Rows``."""
        return self._rows.where(self._first + index)

    def grown_from(self, fingerprint: Mapping[str, Any]) -> str | None:
        """See ``Rows``."""
        return self._rows.grown_from(fingerprint)

    def parts(self, span: range) -> list[tuple[Rows, range]]:
        """See ``Rows``."""
        return self._rows.parts(range(span.start + self._first, span.stop + self._first))

    def close(self) -> None:
        """See ``Rows``."""
        self._rows.close()
