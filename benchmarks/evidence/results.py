"""The file of results: one JSON line per run, each compressed by itself, so that it can grow."""

from __future__ import annotations

import fcntl
import gzip
import json
import logging
import zlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from benchmarks.evidence.runs import Line

logger = logging.getLogger(__name__)

_GZIP = 16 + zlib.MAX_WBITS


def read_results(path: Path) -> list[Line]:
    """Returns the lines of a file; none if there is no file."""
    return _read(path.read_bytes())[0] if path.exists() else []


class Results:
    """A file of results that this process alone appends to.

    Args:
        path: Of the file, made if it is not there. A line that a killed process has left
            unfinished at its end is removed: that run is made again.

    Raises:
        BlockingIOError: Another process appends to it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = open(path, "ab+")  # noqa: SIM115 - open while the grid runs
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise BlockingIOError(f"another process appends to {path}: end it first") from error
        self._file.seek(0)
        content = self._file.read()
        self.lines, whole = _read(content)
        if whole < len(content):
            logger.warning("%s ends with an unfinished line, which is removed", path)
            self._file.truncate(whole)

    def append(self, line: Line) -> None:
        """Adds the line of a run."""
        self._file.write(gzip.compress(json.dumps(line).encode() + b"\n", mtime=0))
        self._file.flush()
        self.lines.append(line)

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()


def _read(content: bytes) -> tuple[list[Line], int]:
    """Returns the lines, and the length of the part of ``content`` that holds them."""
    lines: list[Line] = []
    rest = content
    while rest:
        part = zlib.decompressobj(_GZIP)
        text = part.decompress(rest)
        if not part.eof:
            break
        lines += map(json.loads, text.splitlines())
        rest = part.unused_data
    return lines, len(content) - len(rest)
