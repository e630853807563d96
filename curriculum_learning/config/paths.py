"""A path in ``prompt_data``: files, or a slice of their rows: ``file.jsonl@[start:stop]``."""

from __future__ import annotations

import re
from glob import has_magic
from pathlib import PurePosixPath

ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".arrow", ".gz", ".zst")
"""Of files of rows."""

_SLICE = re.compile(r"^(?P<path>.*)@\[(?P<start>(?:-?\d+)?):(?P<stop>(?:-?\d+)?)\]$")


def file_of(path: str) -> str:
    """The file, without the slice."""
    match = _SLICE.match(path)
    return match["path"] if match else path


def span_of(path: str) -> slice:
    """The slice; all rows where the path has none."""
    match = _SLICE.match(path)
    bounds = (match["start"], match["stop"]) if match else ("", "")
    return slice(*(int(bound) if bound else None for bound in bounds))


def name_of(path: str) -> str:
    """The name of a source without one: the file's without endings, or the folder's of a glob."""
    parts = [part for part in PurePosixPath(file_of(path)).parts if not has_magic(part)]
    name = parts[-1] if parts else path
    stem, *endings = name.split(".")
    is_packed = len(endings) > 1 and endings[-1] in ("gz", "zst")
    kept = endings[: -2 if is_packed else -1]
    return ".".join([stem, *kept]) if stem else name
