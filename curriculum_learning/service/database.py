"""A table store that survives kills, power losses and full disks, or says that it is damaged."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import struct
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from curriculum_learning.errors import CheckpointError

logger = logging.getLogger(__name__)

_FORMAT = 1
_PAGE = 4096
_BUSY = 10.0
"""Seconds to wait for the lock of a process that is just ending."""

Key = int | str


class NotWrittenError(CheckpointError):
    """A transaction failed; ``reopen`` and ``read`` tell whether it is in the database."""


class _InUseError(CheckpointError):
    """Another process has the database open."""


class Changes:
    """What one transaction writes: rows by table and key; None deletes a row."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[Key, bytes | None]] = {}
        self.cleared: list[str] = []
        """Tables that are emptied before."""
        self.parts_of: dict[str, str] = {}
        """Tables of which rows are deleted afterwards whose key is not in another table."""

    def __bool__(self) -> bool:
        return bool(self.rows or self.cleared)

    def put(self, table: str, key: Key, row: bytes | None) -> None:
        """Writes or deletes a row."""
        self.rows.setdefault(table, {})[key] = row

    def clear(self, table: str) -> None:
        """Deletes all rows of a table."""
        self.rows.pop(table, None)
        self.cleared.append(table)


class Database:
    """A SQLite database of one service, locked as long as this object is open.

    Each row carries a CRC-32 of its key and its data, since the main file of SQLite has no
    checksums. Not thread-safe, but any thread may call it.

    Args:
        path: The file; its folder is made.
        run: Identifies the run.
        tables: The tables, and the types of their keys.
        resume: Use a database of another run. Without it, such a database is moved aside, and a
            new one begins. A database of the same run is always used.

    Raises:
        CheckpointError: Another process has it open, it is damaged, or it cannot be written.
    """

    def __init__(self, path: Path, run: str, tables: Mapping[str, type], resume: bool) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._run = run
        self.set_aside = 0
        """Damaged rows, as of the latest ``read``."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                found = self._open()
            except CheckpointError as error:
                if resume or isinstance(error, _InUseError) or self._mentions_run():
                    raise
                found = self._begin_anew(str(error))
            if found not in (None, run) and not resume:
                found = self._begin_anew(f"{path} is of another run")
            self.is_taken_over = found not in (None, run)
            """Whether another run has written it."""
            if found is None:
                self._create(tables)
        except (OSError, sqlite3.Error) as error:
            raise self._error(f"cannot be opened: {error}") from error

    def _open(self) -> str | None:
        """Opens, locks and checks the file; returns its run, None if it is new."""
        log = self._log.read_bytes() if self._log.exists() else b""
        self._connection = sqlite3.connect(
            self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False
        )
        execute = self._connection.execute
        try:
            execute(f"PRAGMA page_size = {_PAGE}")
            execute("PRAGMA locking_mode = EXCLUSIVE")  # until the connection is closed
            execute("PRAGMA journal_mode = WAL")
            execute("PRAGMA synchronous = FULL")
            execute("PRAGMA trusted_schema = OFF")
            execute("BEGIN IMMEDIATE").execute("ROLLBACK")
            self._check_log(_transactions(log))
            problems = [row[0] for row in execute("PRAGMA integrity_check(3)")]
            if problems != ["ok"]:
                raise self._error(f"is damaged: {'; '.join(problems)}")
            version = execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                return None
            if version != _FORMAT:
                raise self._error(f"has format {version}, this version reads format {_FORMAT}")
            return str(execute("SELECT run FROM about").fetchone()[0])
        except (sqlite3.Error, TypeError, CheckpointError) as error:
            self.close()
            if "locked" not in str(error) and log:
                self._log.write_bytes(log)  # SQLite has deleted what it could not read
            if isinstance(error, CheckpointError):
                raise
            if "locked" in str(error):
                raise _InUseError(
                    f"{self._path} is in use: another service of this name and folder is alive, "
                    f"here or on another node; end it, or give this one another ray_service.name",
                    key="save",
                    value=str(self._path),
                ) from error
            raise self._error(f"is damaged, or cannot be read: {error}") from error

    def _check_log(self, transactions: list[int]) -> None:
        """Refuses a log of which SQLite, without a word, reads the beginning only."""
        try:
            read = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
        except sqlite3.OperationalError as error:  # the disk is full
            logger.warning("the log of %s is not checked: %s", self._path, error)
            return
        lost = [frame for frame in transactions if frame > read]
        if len(lost) > 1:  # a kill or a power loss damages the last one only
            raise self._error(f"is damaged: the last {len(lost)} transactions are lost")
        if lost:
            logger.warning("%s: the last transaction was cut short, and is undone", self._path)

    def _mentions_run(self) -> bool:
        """Whether a damaged file is of this run."""
        paths = [path for path in (self._path, self._log) if path.exists()]
        return any(self._run.encode() in path.read_bytes() for path in paths)

    def _begin_anew(self, why: str) -> str | None:
        self.close()
        aside = self._path.with_name(f"{self._path.name}.{time.time_ns()}.aside")
        for path in (self._path, self._log):
            if path.exists():
                path.rename(path.with_name(path.name.replace(self._path.name, aside.name)))
        logger.warning(
            "%s. It is moved to %s, and the service begins anew; to go on from it, set resume: "
            "true in ray_service, or load what was saved for a rollout",
            why, aside,
        )  # fmt: skip
        return self._open()

    def _create(self, tables: Mapping[str, type]) -> None:
        schema = "CREATE TABLE about (run TEXT);"
        for table, kind in {**tables, "set_aside": str}.items():
            kind_name = "INTEGER" if kind is int else "TEXT"
            schema += f"CREATE TABLE {table} (key {kind_name} PRIMARY KEY, data BLOB);"
        self._connection.executescript(f"BEGIN; {schema} PRAGMA user_version = {_FORMAT}")
        self._connection.execute("INSERT INTO about VALUES (?)", (self._run,))
        self._connection.execute("COMMIT")

    def write(self, changes: Changes) -> None:
        """Writes changes in one transaction; they are on the disk when it returns.

        Raises:
            NotWrittenError: It failed.
        """
        execute, many = self._connection.execute, self._connection.executemany
        try:
            execute("BEGIN IMMEDIATE")
            for table in changes.cleared:
                execute(f"DELETE FROM {table}")
            for table, rows in changes.rows.items():
                kept = [(key, _with_sum(key, row)) for key, row in rows.items() if row is not None]
                many(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", kept)
                if len(kept) < len(rows):
                    gone = ((key,) for key, row in rows.items() if row is None)
                    many(f"DELETE FROM {table} WHERE key = ?", gone)
            for table, whole in changes.parts_of.items():
                execute(f"DELETE FROM {table} WHERE key NOT IN (SELECT key FROM {whole})")
            if self.is_taken_over:
                execute("UPDATE about SET run = ?", (self._run,))
            execute("COMMIT")
        except sqlite3.Error as error:
            raise NotWrittenError(
                f"{self._path} cannot be written: {error}; nothing has changed. Free the disk",
                key="save",
                value=str(self._path),
            ) from error

    def read(self, table: str) -> dict[Any, bytes]:
        """Returns the rows of a table by key; damaged ones are set aside, in another table."""
        execute = self._connection.execute
        try:
            rows = dict(execute(f"SELECT key, data FROM {table} ORDER BY key"))
            for key, row in list(rows.items()):
                rows[key] = row[_SUM.size :]
                if row != _with_sum(key, rows[key]):
                    del rows[key]
                    logger.error("%s: %s %r is damaged, and set aside", self._path, table, key)
                    name = f"{table} {key} {time.time()}"
                    execute("INSERT INTO set_aside VALUES (?, ?)", (name, row))
                    execute(f"DELETE FROM {table} WHERE key = ?", (key,))
            self.set_aside = execute("SELECT COUNT(*) FROM set_aside").fetchone()[0]
        except sqlite3.Error as error:
            raise self._error(f"cannot be read: {error}") from error
        return rows

    def reopen(self) -> None:
        """Opens the file again, as after a kill; raises CheckpointError."""
        self.close()
        self._open()

    def close(self) -> None:
        """Releases the file and its lock."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _error(self, problem: str) -> CheckpointError:
        return CheckpointError(f"{self._path} {problem}", key="save", value=str(self._path))


_SUM = struct.Struct("<I")


def _with_sum(key: Key, data: bytes) -> bytes:
    return _SUM.pack(zlib.crc32(data, zlib.crc32(str(key).encode()))) + data


_FRAME = np.dtype(
    [("page", ">u4"), ("ends", ">u4"), ("salt", "V8"), ("sum", "V8"), ("data", f"V{_PAGE}")]
)


def _transactions(log: bytes) -> list[int]:
    """The frames of a write-ahead log that end a transaction, by number: 1, 2, ....

    SQLite reads a log up to the first frame whose checksum does not match. Here frames count by
    their headers alone, so that those behind a damaged one are seen. For the format see
    https://www.sqlite.org/fileformat2.html#the_write_ahead_log.
    """
    header, count = log[:32], (len(log) - 32) // _FRAME.itemsize
    if count < 1:
        return []
    frames = np.frombuffer(log, _FRAME, count, 32)
    salt = header[16:24] if _is_whole(header) else frames["salt"][0].tobytes()
    ends = (frames["ends"] > 0) & (frames["salt"] == np.void(salt))
    return [int(frame) + 1 for frame in np.flatnonzero(ends)]


def _is_whole(header: bytes) -> bool:
    """Whether the checksum of the header of a log matches."""
    order = ">" if header[3] & 1 else "<"
    first = second = 0
    for one, two in struct.iter_unpack(f"{order}2I", header[:24]):
        first = (first + one + second) % 2**32
        second = (second + two + first) % 2**32
    return struct.pack(">2I", first, second) == header[24:]
