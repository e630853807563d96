"""Rows of a stream, which can be read only once: a record of the latest ones makes them rows."""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from curriculum_learning.config.kinds import Stream
from curriculum_learning.errors import DataError
from curriculum_learning.prompts.rows import Record, Rows
from curriculum_learning.samples.codec import CannotStoreError, decode, encode

_NAME = "stream.sqlite"
_TABLES = """
    CREATE TABLE IF NOT EXISTS stream (id TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY, data BLOB NOT NULL);
"""


class StreamRows(Rows):
    """The rows of a stream, in the order in which they came.

    A row is recorded before it is served for the first time, and the latest ``window`` rows stay in
    the record. So a resume serves the rows again that it has to, and then goes on with the stream
    where the record ends. Nothing is read before a row is asked for.

    Args:
        kind: The function that opens the stream, and the folder of the record.
        source: The name of the source.

    Raises:
        DataError: The record cannot be read.
    """

    size = None
    is_generated = True
    tried = 0

    def __init__(self, kind: Stream, source: str) -> None:
        self._kind, self._source = kind, source
        self._lock = threading.Lock()
        self._records: sqlite3.Connection | None = None
        self._stream: Iterator[Any] = iter(())
        self._place = -1
        """The number of the row that comes next out of ``_stream``."""
        self._id = uuid.uuid4().hex
        if (self._folder / _NAME).exists():  # a preview makes none
            self._connection()
        self.fingerprint = {
            "rows": None, "span": [None, None], "generator": kind.text, "record": self._id,
        }  # fmt: skip

    @property
    def _folder(self) -> Path:
        return self._kind.record

    def records(self, indices: Sequence[int]) -> list[Record]:
        """See ``Rows``; waits for rows that have not come yet."""
        if not indices:
            return []
        with self._lock:
            records = self._connection()
            try:
                return self._read(indices, records)
            except DataError:
                raise
            except (sqlite3.Error, ValueError) as error:
                raise self._error(f"its record in {self._folder} fails: {error}") from error

    def _read(self, indices: Sequence[int], records: sqlite3.Connection) -> list[Record]:
        self._record_up_to(max(indices) + 1, records)
        read = [self._recorded(index, records) for index in indices]
        outside = min(_end_of(records) - self._kind.window, *indices)
        records.execute("DELETE FROM rows WHERE number < ?", [outside])
        return read

    def _connection(self) -> sqlite3.Connection:
        """Opens the record, and makes it if there is none."""
        if self._records is None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                records = sqlite3.connect(
                    self._folder / _NAME, isolation_level=None, check_same_thread=False
                )
                records.executescript(f"PRAGMA journal_mode = WAL; BEGIN IMMEDIATE; {_TABLES}")
                found = records.execute("SELECT id FROM stream").fetchone()
                if found is None:
                    records.execute("INSERT INTO stream VALUES (?)", [self._id])
                records.execute("COMMIT")
            except (OSError, sqlite3.Error) as error:
                raise self._error(
                    f"its record in {self._folder} cannot be used: {error}"
                ) from error
            self._id = self._id if found is None else found[0]
            self._records = records
        return self._records

    def _record_up_to(self, stop: int, records: sqlite3.Connection) -> None:
        """Reads the stream until the record has all rows before ``stop``."""
        if _end_of(records) >= stop:
            return
        records.execute("BEGIN IMMEDIATE")
        try:
            start = _end_of(records)  # another process may have recorded some
            if self._place != start:
                self._stream, self._place = self._opened(start), start
            for number in range(start, stop):
                records.execute("INSERT INTO rows VALUES (?, ?)", [number, self._next(number)])
                self._place = number + 1
        finally:  # what has come of the stream is kept, also if the next row cannot be read
            records.execute("COMMIT")

    def _opened(self, start: int) -> Iterator[Any]:
        try:
            return iter(self._kind.function(start))
        except Exception as problem:
            raise self._error(f"cannot be opened at row {start}: {problem!r}") from problem

    def _next(self, number: int) -> bytes:
        """Takes the next row out of the stream, encoded."""
        try:
            record = next(self._stream)
        except StopIteration:
            self._place = -1
            raise self._error(
                f"has ended after {number} rows; let it go on, or lower its weight to 0 by then"
            ) from None
        except Exception as problem:
            self._place = -1
            raise self._error(f"row {number} cannot be read: {problem!r}") from problem
        if not isinstance(record, dict):
            raise self._error(f"row {number} is a {type(record).__name__}, not a dictionary")
        try:
            return encode(record)
        except CannotStoreError as problem:
            raise self._error(f"row {number} cannot be recorded: {problem}") from None

    def _recorded(self, index: int, records: sqlite3.Connection) -> Record:
        found = records.execute("SELECT data FROM rows WHERE number = ?", [index]).fetchone()
        if found is None:
            raise self._error(
                f"row {index} is not among the latest {self._kind.window} any more; set window to "
                f"more rows than can be in flight, and record to a new folder for a new run"
            )
        record: Record = decode(found[0])
        return record

    def _error(self, problem: str) -> DataError:
        message = f"source '{self._source}', {self._kind.text}: {problem}"
        return DataError(message, source=self._source, key="prompt_data", value=self._kind.text)

    def where(self, index: int) -> str:
        """See ``Rows``."""
        return f"{self._kind.text}, row {index}"

    def close(self) -> None:
        """See ``Rows``."""
        with self._lock:
            if self._records is not None:
                self._records.close()
                self._records = None

    def __reduce__(self) -> tuple[Any, ...]:
        return StreamRows, (self._kind, self._source)


def _end_of(records: sqlite3.Connection) -> int:
    """Returns the number of the row after the last one in the record."""
    (last,) = records.execute("SELECT max(number) FROM rows").fetchone()
    return 0 if last is None else int(last) + 1
