"""A path in ``prompt_data``: a file, or a slice of its rows: ``file.jsonl@[start:stop]``."""

from __future__ import annotations

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
