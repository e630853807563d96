"""Rows of a file with one JSON object per line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from curriculum_learning.errors import DataError
from curriculum_learning.prompts.cache import Cache
from curriculum_learning.prompts.line_index import BOM, line_index
from curriculum_learning.prompts.open_files import PooledFile
from curriculum_learning.prompts.rows import Record, chunks, content_hash, fingerprint
from curriculum_learning.samples.codec import CannotStoreError, encode

_NEWLINE = b"\n"
_decode = msgspec.json.Decoder().decode  # exact for whole numbers of any length


class JsonlRows:
    """One JSON object per line; accepts blank lines, CRLF and a byte order mark.

    Holds only the offsets of the lines, 8 bytes a row: in memory, or mapped from the cache. Reads
    name their own file position, so threads and forked processes do not disturb each other. A
    pickled copy opens the file again.
    """

    def __init__(self, path: str, source: str, span: slice, cache: Cache) -> None:
        self.path = path
        self.source = source
        starts, digest = line_index(path, cache)
        # The end of a row is the start of the next one, so a span needs one more offset.
        start, stop, _ = span.indices(len(starts) - 1)
        self._starts = starts[start : max(stop, start) + 1]
        self.fingerprint = fingerprint(len(self), span, int(starts[-1]), digest)
        self._file = PooledFile(path)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def records(self, indices: Sequence[int]) -> list[Record]:
        """See ``Rows``."""
        offset = self._starts.item  # faster than an index array for a few rows
        starts = [offset(index) for index in indices]
        stops = [offset(index + 1) for index in indices]
        file = self._file.opened()
        at = file.descriptor
        if len(starts) > 1 and hasattr(os, "posix_fadvise"):  # macOS has none
            # All before the first read: the disk then reads them side by side.
            for start, stop in zip(starts, stops, strict=True):
                os.posix_fadvise(at, start, stop - start, os.POSIX_FADV_WILLNEED)
        return [
            self._record(index, os.pread(at, stop - start, start), start, stop)
            for index, start, stop in zip(indices, starts, stops, strict=True)
        ]

    def block(self, first: int, count: int) -> bytes:
        """Returns the lines of ``count`` rows from ``first`` on, as they are in the file."""
        start, stop = int(self._starts[first]), int(self._starts[first + count])
        file = self._file.opened()
        content = os.pread(file.descriptor, stop - start, start)
        return content.removeprefix(BOM) if start == 0 else content

    def _record(self, index: int, line: bytes, start: int, stop: int) -> Record:
        if start == 0:
            line = line.removeprefix(BOM)
        try:
            record = _decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            if len(line) < stop - start - len(BOM):
                raise self._error(index, "ends too early: the file has been cut off") from None
            record = self._read_leniently(line, index, error)
        if not isinstance(record, dict):
            raise self._error(index, f"is a JSON {type(record).__name__}, not an object")
        return record

    def _read_leniently(self, line: bytes, index: int, error: Exception) -> Any:
        """Reads a line with Python's own parser, which knows NaN and infinities."""
        try:
            record = json.loads(line)
            encode(record)  # raises for half of a surrogate pair, which no checkpoint can hold
        except CannotStoreError as problem:
            raise self._error(index, f"is not valid JSON: {problem}") from None
        except (ValueError, RecursionError):
            raise self._error(index, f"is not valid JSON: {error}") from None
        return record

    def grown_from(self, fingerprint: Mapping[str, Any]) -> str | None:
        """See ``Rows``; reads the part of the file that was there before."""
        size, (start, stop) = fingerprint["bytes"], fingerprint["span"]
        now_start, now_stop = self.fingerprint["span"]
        if any(bound is not None and bound < 0 for bound in (start, stop, now_start, now_stop)):
            return "a slice with a negative bound means other rows in a file that has changed"
        if (start or 0) != (now_start or 0):
            return "its slice begins elsewhere"
        if len(self) < fingerprint["rows"]:
            return "there are fewer rows"
        if content_hash(self.path, size) != fingerprint["hash"]:
            return "the part of the file that was there has changed"
        file = self._file.opened()
        end = os.pread(file.descriptor, 2, size - 1)
        if end[:1] != b"\n" and end[1:] not in b"\r\n":
            return "the last line that was there has become longer"
        return None

    def _error(self, index: int, problem: str) -> DataError:
        return DataError(
            f"source '{self.source}', {self.where(index)} {problem}; mend or remove the line",
            source=self.source,
            key="prompt_data",
            value=self.path,
        )

    def where(self, index: int) -> str:
        """See ``Rows``."""
        before = chunks(self.path, int(self._starts[index]))
        return f"{self.path}, line {1 + sum(chunk.count(_NEWLINE) for chunk in before)}"

    def close(self) -> None:
        """See ``Rows``."""
        self._file.close()
