"""Opens an entry of ``prompt_data``, of any kind."""

from __future__ import annotations

from curriculum_learning.config.kinds import GymTask, HubData, Kind, OwnRows, Stream, Taskset
from curriculum_learning.config.paths import file_of, span_of
from curriculum_learning.prompts.cache import Cache
from curriculum_learning.prompts.kinds.datasets import HubRows
from curriculum_learning.prompts.kinds.files import error, open_files
from curriculum_learning.prompts.kinds.gym import GymRows
from curriculum_learning.prompts.kinds.own import FunctionRows
from curriculum_learning.prompts.kinds.stream import StreamRows
from curriculum_learning.prompts.kinds.verifiers import TasksetRows
from curriculum_learning.prompts.rows import Rows
from curriculum_learning.prompts.sliced import SlicedRows


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
            raise error(path, source, str(problem)) from None
    if rows.size == 0:
        rows.close()
        raise error(path, source, "has no rows; name a file, or a slice of one, that has some")
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
