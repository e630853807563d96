"""Rows of a file with one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from curriculum_learning.errors import DataError
from curriculum_learning.prompts.cache import Cache, Kept
from curriculum_learning.prompts.files.contents import Content, FileContent
from curriculum_learning.prompts.files.line_index import BOM, line_index
from curriculum_learning.prompts.rows import Record, Rows, content_hash, fingerprint
from curriculum_learning.samples.codec import CannotStoreError, encode

_NEWLINE = b"\n"
_decode = msgspec.json.Decoder().decode  # exact for whole numbers of any length


class JsonlRows(Rows):
    """One JSON object per line; accepts blank lines, CRLF and a byte order mark.

    Holds only the offsets of the lines, 8 bytes a row: in memory, or mapped from the cache. Reads
    name their own file position, so threads and forked processes do not disturb each other. A
    pickled copy opens the file again.
    """

    is_json = True

    def __init__(self, path: str, source: str, cache: Cache) -> None:
        self.path = path
        self.source = source
        self._content, kept = self._opened(path, cache)
        self._starts, digest = kept
        # The end of a row is the start of the next one, so there is one offset more.
        self.size = len(self._starts) - 1
        self.fingerprint = fingerprint(self.size, int(self._starts[-1]), digest)

    def _opened(self, path: str, cache: Cache) -> tuple[Content, Kept]:
        """Returns the lines, and where they begin."""
        return FileContent(path), line_index(path, cache)

    def records(self, indices: Sequence[int]) -> list[Record]:
        """See ``Rows``."""
        offset = self._starts.item  # faster than an index array for a few rows
        starts = [offset(index) for index in indices]
        stops = [offset(index + 1) for index in indices]
        lines = self._content.read(starts, stops)
        return [
            self._record(index, line, start, stop)
            for index, line, start, stop in zip(indices, lines, starts, stops, strict=True)
        ]

    def block(self, span: range) -> bytes:
        """Returns the lines of neighbouring rows, as they are in the file."""
        start, stop = int(self._starts[span.start]), int(self._starts[span.stop])
        (content,) = self._content.read([start], [stop])
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
        size = fingerprint.get("bytes")
        if size is None:
            return "it was another kind of source"
        if content_hash(self._content.pieces(size)) != fingerprint["hash"]:
            return "the part of the file that was there has changed"
        (end,) = self._content.read([size - 1], [size + 1])
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
        before = self._content.pieces(int(self._starts[index]))
        return f"{self.path}, line {1 + sum(piece.count(_NEWLINE) for piece in before)}"

    def close(self) -> None:
        """See ``Rows``."""
        self._content.close()
