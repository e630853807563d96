"""Opens an entry of ``prompt_data``, of any kind, or a slice of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curriculum_learning.config.kinds import GymTask, HubData, Kind, OwnRows, Stream, Taskset
from curriculum_learning.config.paths import file_of, span_of
from curriculum_learning.prompts.cache import Cache
from curriculum_learning.prompts.kinds.datasets import HubRows
from curriculum_learning.prompts.kinds.files import open_files
from curriculum_learning.prompts.kinds.gym import GymRows
from curriculum_learning.prompts.kinds.own import FunctionRows
from curriculum_learning.prompts.kinds.stream import StreamRows
from curriculum_learning.prompts.kinds.verifiers import TasksetRows
from curriculum_learning.prompts.rows import Record, Rows, unusable


def open_rows(path: str, source: str, cache: Cache | None = None, kind: Kind | None = None) -> Rows:
    """Opens a source, or a slice of one: ``file.jsonl@[start:stop]``.

    Slice bounds count rows (not blank lines) and may be negative or left out, as in Python.

    Args:
        path: Files, or what messages call the source.
        source: Its name.
        cache: Keeps what takes long to work out; None keeps nothing.
        kind: What it is if it is no files.

    Raises:
        DataError: It cannot be read, or there are no rows.
    """
    rows, span = _open(kind, file_of(path), source, cache or Cache(None)), span_of(path)
    if (span.start, span.stop) != (None, None):
        try:
            rows = SlicedRows(rows, span)
        except ValueError as problem:
            raise unusable(path, source, str(problem)) from None
    if rows.size == 0:
        rows.close()
        raise unusable(path, source, "has no rows; name a file, or a slice of one, that has some")
    return rows


def _open(kind: Kind | None, path: str, source: str, cache: Cache) -> Rows:
    if isinstance(kind, HubData):
        return HubRows(kind, source, cache)
    if isinstance(kind, GymTask):
        return GymRows(kind, source)
    if isinstance(kind, Taskset):
        return TasksetRows(kind, source)
    if isinstance(kind, Stream):
        return StreamRows(kind, source)
    if isinstance(kind, OwnRows):
        return FunctionRows(kind, source)
    return open_files(path, source, cache)


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
