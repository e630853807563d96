"""Rows of prompt files, by index: they stay on disk and are read when they are served."""

from __future__ import annotations

import hashlib
import json
import os
import re
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import orjson

from curriculum_learning.codec import CannotStoreError, encode
from curriculum_learning.errors import DataError

Record = dict[str, Any]

_SLICE = re.compile(r"^(?P<path>.*)@\[(?P<start>(?:-?\d+)?):(?P<stop>(?:-?\d+)?)\]$")
_BOM = b"\xef\xbb\xbf"
_LONG_NUMBER = re.compile(rb"\d{19}")
_CHUNK = 1 << 20


@runtime_checkable
class Rows(Protocol):
    """Random access to the rows of one source.

    ``records`` may be called from several threads at once.
    """

    fingerprint: dict[str, Any]
    """Plain data that changes when the rows do: path-independent, compared on resume."""

    def __len__(self) -> int:
        """Number of rows."""

    def records(self, indices: Sequence[int]) -> list[Record]:
        """The rows at ``indices``, each a fresh dictionary of its columns."""

    def grown_from(self, fingerprint: Mapping[str, Any]) -> str | None:
        """Why these rows do not begin with those of ``fingerprint``; None if they do."""

    def where(self, index: int) -> str:
        """Where a person finds the row, for error messages."""

    def close(self) -> None:
        """Release the file; reading after it is an error."""


def open_rows(path: str, source: str) -> Rows:
    """Open ``file.jsonl`` or ``file.parquet``, or a slice of one: ``file.jsonl@[start:stop]``.

    Slice bounds count rows (blank lines are none) and may be negative or left out, as in Python.

    Raises:
        DataError: The file is missing, of another kind, unreadable, or has no rows.
    """

    def error(problem: str) -> DataError:
        return DataError(
            f"prompt_data of source '{source}': {path!r} {problem}",
            source=source,
            key="prompt_data",
            value=path,
        )

    match = _SLICE.match(path)
    file = os.path.abspath(file_of(path))  # engines change the working directory of their workers
    bounds = (match["start"], match["stop"]) if match else ("", "")
    span = slice(*(int(bound) if bound else None for bound in bounds))
    kinds: dict[str, type[JsonlRows] | type[ParquetRows]] = {
        ".jsonl": JsonlRows,
        ".parquet": ParquetRows,
    }
    kind = kinds.get(os.path.splitext(file)[1])
    if kind is None:
        raise error("is neither .jsonl nor .parquet")
    if not os.path.isfile(file):
        raise error("does not exist" if not os.path.exists(file) else "is not a file")
    rows: Rows = kind(file, source, span)
    if not len(rows):
        rows.close()
        raise error("has no rows")
    return rows


def file_of(path: str) -> str:
    """The file of a path that may end in a slice."""
    match = _SLICE.match(path)
    return match["path"] if match else path


class JsonlRows:
    """One JSON object per line; blank lines, CRLF and a byte order mark are accepted.

    Only the offsets of the lines are held in memory, 8 bytes a row. Reads name their own file
    position, so threads and forked processes do not disturb each other; a pickled copy opens the
    file anew.
    """

    def __init__(self, path: str, source: str, span: slice) -> None:
        self.path = path
        self.source = source
        self._starts = array("q")
        position = 0
        digest = hashlib.blake2b(digest_size=16)
        with open(path, "rb") as file:
            for line in file:
                if line.strip(_BOM + b" \t\r\n"):
                    self._starts.append(position)
                position += len(line)
                digest.update(line)
        self._starts.append(position)
        # The end of a row is the start of the next one, so a span needs one offset more.
        start, stop, _ = span.indices(len(self._starts) - 1)
        self._starts = self._starts[start : max(stop, start) + 1]
        self.fingerprint = _fingerprint(len(self), span, position, digest.hexdigest())
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
        return [self._record(index) for index in indices]

    def _record(self, index: int) -> Record:
        start, stop = self._starts[index], self._starts[index + 1]
        line = os.pread(self._file.fileno(), stop - start, start)
        if start == 0:
            line = line.removeprefix(_BOM)
        try:
            # Numbers beyond 64 bits, and NaN, are read as Python's own parser reads them.
            record = json.loads(line) if _LONG_NUMBER.search(line) else orjson.loads(line)
        except ValueError as error:
            if len(line) < stop - start - len(_BOM):
                raise self._error(index, "ends too early: the file has been cut off") from None
            record = self._read_leniently(line, index, error)
        if not isinstance(record, dict):
            raise self._error(index, f"is a JSON {type(record).__name__}, not an object")
        return record

    def _read_leniently(self, line: bytes, index: int, error: ValueError) -> Any:
        try:
            record = json.loads(line)
            encode(record)  # half of a surrogate pair is no text, and no checkpoint could hold it
        except ValueError as problem:
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
        number, left = 1, self._starts[index]
        with open(self.path, "rb") as file:
            while left > 0 and (chunk := file.read(min(left, _CHUNK))):
                number += chunk.count(b"\n")
                left -= len(chunk)
        return f"{self.path}, line {number}"

    def close(self) -> None:
        """See ``Rows``."""
        self._file.close()


class ParquetRows:
    """The rows of a parquet file, held as Arrow columns (compact, but in memory)."""

    def __init__(self, path: str, source: str, span: slice) -> None:
        try:
            import pyarrow.parquet
        except ImportError:
            raise DataError(
                f"source '{source}': reading {path} needs pyarrow; "
                f"pip install 'curriculum_learning[parquet]'",
                source=source,
                key="prompt_data",
                value=path,
            ) from None
        try:
            table = pyarrow.parquet.read_table(path)
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(
                f"source '{source}': {path} is not a readable parquet file: {error}",
                source=source,
                key="prompt_data",
                value=path,
            ) from None
        self.path = path
        start, stop, _ = span.indices(table.num_rows)
        self._first = start
        # In one piece: looking a row up in many chunks costs in proportion to their number.
        self._table = table.slice(start, max(stop - start, 0)).combine_chunks()
        digest = hashlib.blake2b(digest_size=16)
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        size = os.path.getsize(path)
        self.fingerprint = _fingerprint(len(self), span, size, digest.hexdigest())

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def records(self, indices: Sequence[int]) -> list[Record]:
        """See ``Rows``."""
        if isinstance(indices, range) and indices.step == 1:
            table = self._table.slice(indices.start, len(indices))
        else:
            table = self._table.take(list(indices))
        records: list[Record] = table.to_pylist()
        return records

    def grown_from(self, fingerprint: Mapping[str, Any]) -> str | None:
        """See ``Rows``."""
        return "only files of lines can be seen to have grown; this one was written anew"

    def where(self, index: int) -> str:
        """See ``Rows``."""
        return f"{self.path}, row {self._first + index}"

    def close(self) -> None:
        """See ``Rows``."""


def _fingerprint(rows: int, span: slice, size: int, digest: str) -> dict[str, Any]:
    return {"rows": rows, "span": [span.start, span.stop], "bytes": size, "hash": digest}
