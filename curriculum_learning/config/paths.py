"""A path in ``prompt_data``: a file, or a slice of its rows: ``file.jsonl@[start:stop]``."""

from __future__ import annotations

import difflib
import os
import re

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


def lost(path: str) -> str | None:
    """Returns why a path names no file, to continue a sentence; None if it names one."""
    file = file_of(path)
    if "://" in file or os.path.isfile(file):
        return None
    if os.path.exists(file):
        return "is not a file"
    folder, name = os.path.split(file)
    there = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
    if near := difflib.get_close_matches(name, there, n=1):
        return f"does not exist; did you mean {os.path.join(folder, near[0])}?"
    return f"does not exist; paths are relative to the working directory, {os.getcwd()}"
