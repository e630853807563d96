"""A path in ``prompt_data``: files, or a slice of their rows: ``file.jsonl@[start:stop]``."""

from __future__ import annotations

import difflib
import os
import re
from glob import has_magic
from pathlib import PurePosixPath

ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".arrow", ".gz", ".zst")
"""Of files of rows."""

_SLICE = re.compile(r"^(?P<path>.*)@\[(?P<start>(?:-?\d+)?):(?P<stop>(?:-?\d+)?)\]$")

_BOUNDS = re.compile(r"\[-?\d*:-?\d*\]$")
"""Bounds without the ``@``."""


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


def lost(path: str) -> str | None:
    """Returns why a path names no file, to continue a sentence; None if it may name some."""
    file = file_of(path)
    if "://" in file or os.path.exists(file):
        return None
    if (bounds := _BOUNDS.search(file)) is not None:
        whole = f"{file[: bounds.start()]}@{bounds[0]}"
        return f"does not exist; a slice of rows is written {whole}"
    if has_magic(file):
        return None
    folder, name = os.path.split(file)
    there = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
    if near := difflib.get_close_matches(name, there, n=1):
        return f"does not exist; did you mean {os.path.join(folder, near[0])}?"
    return f"does not exist; paths are relative to the working directory, {os.getcwd()}"
