"""Opens an entry of ``prompt_data``, of any kind."""

from __future__ import annotations

from curriculum_learning.config.paths import file_of, span_of
from curriculum_learning.prompts.cache import Cache
from curriculum_learning.prompts.kinds.files import error, open_files
from curriculum_learning.prompts.rows import Rows
from curriculum_learning.prompts.sliced import SlicedRows


def open_rows(path: str, source: str, cache: Cache | None = None) -> Rows:
    """Opens files, or a slice of them: ``file.jsonl@[start:stop]``.

    Slice bounds count rows (not blank lines) and may be negative or left out, as in Python.

    Raises:
        DataError: A file is missing, of another kind, unreadable, or there are no rows.
    """
    rows, span = open_files(file_of(path), source, cache or Cache(None)), span_of(path)
    if (span.start, span.stop) != (None, None):
        rows = SlicedRows(rows, span)
    if rows.size == 0:
        rows.close()
        raise error(path, source, "has no rows; name a file, or a slice of one, that has some")
    return rows
