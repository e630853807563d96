"""A path in ``prompt_data``: a file of rows, or a slice of one."""

from __future__ import annotations

import os

from curriculum_learning.config.paths import file_of, span_of
from curriculum_learning.errors import DataError
from curriculum_learning.prompts.cache import Cache
from curriculum_learning.prompts.jsonl import JsonlRows
from curriculum_learning.prompts.parquet import ParquetRows
from curriculum_learning.prompts.rows import Rows


def open_rows(path: str, source: str, cache: Cache | None = None) -> Rows:
    """Open ``file.jsonl`` or ``file.parquet``, or a slice of one: ``file.jsonl@[start:stop]``.

    ``cache`` keeps what is worked out of the file; None keeps nothing.

    Slice bounds count rows (blank lines are none) and may be negative or left out, as in Python.

    Raises:
        DataError: The file is missing, of another kind, unreadable, or has no rows.
    """

    def error(problem: str) -> DataError:
        return DataError(
            f"prompt_data of source '{source}': {path!r} {problem}",
            source=source,
            key="prompt_data",
            value=path,
        )

    file = os.path.abspath(file_of(path))  # engines change the working directory of their workers
    span = span_of(path)
    kinds: dict[str, type[JsonlRows] | type[ParquetRows]] = {
        ".jsonl": JsonlRows,
        ".parquet": ParquetRows,
    }
    kind = kinds.get(os.path.splitext(file)[1])
    if kind is None:
        raise error("is neither .jsonl nor .parquet; convert it to one of the two")
    if not os.path.isfile(file):
        kind_of = "does not exist" if not os.path.exists(file) else "is not a file"
        raise error(f"{kind_of}; paths are relative to the working directory, {os.getcwd()}")
    rows: Rows = kind(file, source, span, cache or Cache(None))
    if not len(rows):
        rows.close()
        raise error("has no rows; name a file, or a slice of one, that has some")
    return rows
