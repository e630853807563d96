"""Rows of a file of lines, one JSON object each."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from curriculum_learning.errors import DataError
from curriculum_learning.prompts.cache import Cache
from curriculum_learning.prompts.line_index import BOM, line_index
from curriculum_learning.prompts.rows import Record, fingerprint
from curriculum_learning.samples.codec import CannotStoreError, encode

_CHUNK = 1 << 20

_decode = msgspec.json.Decoder().decode  # exact for whole numbers of any length


class JsonlRows:
    """One JSON object per line; blank lines, CRLF and a byte order mark are accepted.

    Only the offsets of the lines are held, 8 bytes a row: in memory, or mapped from the cache.
    Reads name their own file position, so threads and forked processes do not disturb each other;
    a pickled copy opens the file anew.
    """

    def __init__(self, path: str, source: str, span: slice, cache: Cache) -> None:
        self.path = path
        self.source = source
        index = line_index(path, cache)
        # The end of a row is the start of the next one, so a span needs one offset more.
        start, stop, _ = span.indices(len(index.starts) - 1)
        self._starts = index.starts[start : max(stop, start) + 1]
        self.fingerprint = fingerprint(len(self), span, index.size, index.digest)
        self._open()

    def _open(self) -> None:
        self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115 - open as long as this is

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_file"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def records(self, indices: Sequence[int]) -> list[Record]:
        """See ``Rows``."""
        offset = self._starts.item  # for a few rows faster than an index array
        starts = [offset(index) for index in indices]
        stops = [offset(index + 1) for index in indices]
        file = self._file.fileno()
        if len(starts) > 1 and hasattr(os, "posix_fadvise"):  # macOS has none
            # All at once: rows that are not in memory are then read side by side.
            for start, stop in zip(starts, stops, strict=True):
                os.posix_fadvise(file, start, stop - start, os.POSIX_FADV_WILLNEED)
        return [
            self._record(index, os.pread(file, stop - start, start), start, stop)
            for index, start, stop in zip(indices, starts, stops, strict=True)
        ]

    def block(self, first: int, count: int) -> bytes:
        """``count`` rows from ``first`` on as they are in the file."""
        start, stop = int(self._starts[first]), int(self._starts[first + count])
        content = os.pread(self._file.fileno(), stop - start, start)
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
        """What Python's own parser reads of a line: NaN and infinities as well."""
        try:
            record = json.loads(line)
            encode(record)  # half of a surrogate pair is no text, and no checkpoint could hold it
        except (ValueError, RecursionError) as problem:
            if isinstance(problem, CannotStoreError):
                error = problem
            raise self._error(index, f"is not valid JSON: {error}") from None
        return record

    def grown_from(self, fingerprint: Mapping[str, Any]) -> str | None:
        """See ``Rows``; reads the old part of the file."""
        size, (start, stop) = fingerprint["bytes"], fingerprint["span"]
        now_start, now_stop = self.fingerprint["span"]
        if any(bound is not None and bound < 0 for bound in (start, stop, now_start, now_stop)):
            return "a slice with a negative bound means other rows in a file that has changed"
        if (start or 0) != (now_start or 0):
            return "its slice begins elsewhere"
        if len(self) < fingerprint["rows"]:
            return "there are fewer rows"
        digest = hashlib.blake2b(digest_size=16)
        left, last = size, b""
        with open(self.path, "rb") as file:
            while left > 0 and (chunk := file.read(min(left, _CHUNK))):
                digest.update(chunk)
                left, last = left - len(chunk), chunk[-1:]
            following = file.read(1)
        if left or digest.hexdigest() != fingerprint["hash"]:
            return "the part of the file that was there has changed"
        if following not in b"\r\n" and last != b"\n":
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
        number, left = 1, int(self._starts[index])
        with open(self.path, "rb") as file:
            while left > 0 and (chunk := file.read(min(left, _CHUNK))):
                number += chunk.count(b"\n")
                left -= len(chunk)
        return f"{self.path}, line {number}"

    def close(self) -> None:
        """See ``Rows``."""
        self._file.close()
