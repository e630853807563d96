"""Opens a path of ``prompt_data``: a file of rows, or a slice of one."""

from __future__ import annotations

import os

from curriculum_learning.config.paths import file_of, lost, span_of
from curriculum_learning.errors import DataError
from curriculum_learning.prompts.cache import Cache
from curriculum_learning.prompts.jsonl import JsonlRows
from curriculum_learning.prompts.parquet import ParquetRows
from curriculum_learning.prompts.rows import Rows

_KINDS: dict[str, type[JsonlRows] | type[ParquetRows]] = {
    ".jsonl": JsonlRows,
    ".parquet": ParquetRows,
}


def open_rows(path: str, source: str, cache: Cache | None = None) -> Rows:
    """Opens ``file.jsonl``, ``file.parquet``, or a slice of one: ``file.jsonl@[start:stop]``.

    Slice bounds count rows (not blank lines) and may be negative or left out, as in Python.

    Raises:
        DataError: The file is missing, of another kind, unreadable, or has no rows.
    """
    file = os.path.abspath(file_of(path))  # engines change the working directory of their workers
    kind = _KINDS.get(os.path.splitext(file)[1])
    if kind is None:
        raise _error(path, source, "is neither .jsonl nor .parquet; convert it to one of the two")
    if (problem := lost(path)) is not None:
        raise _error(path, source, problem)
    rows: Rows = kind(file, source, span_of(path), cache or Cache(None))
    if not len(rows):
        rows.close()
        raise _error(path, source, "has no rows; name a file, or a slice of one, that has some")
    return rows


def _error(path: str, source: str, problem: str) -> DataError:
    message = f"prompt_data of source '{source}': {path!r} {problem}"
    return DataError(message, source=source, key="prompt_data", value=path)
