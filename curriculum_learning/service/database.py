"""A table store that survives kills, power losses and full disks, or says that it is damaged."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from curriculum_learning.errors import CheckpointError

logger = logging.getLogger(__name__)

FORMAT = 4
_BUSY = 10.0
"""Seconds to wait for the lock of a process that is just ending."""
_SUM = struct.Struct("<I")
_PRAGMAS = {
    "locking_mode": "EXCLUSIVE",  # until the connection is closed
    "journal_mode": "WAL",
    "synchronous": "FULL",
    "trusted_schema": "OFF",
    "secure_delete": "OFF",  # do not write zeros over what is deleted
}

Key = int | str


class NotWrittenError(CheckpointError):
    """A transaction failed; ``reopen`` and ``read`` tell whether it is in the database."""


class _InUseError(CheckpointError):
    """Another process has the database open, or the disk refuses to tell."""


class Changes:
    """What one transaction writes: rows by table and key; None deletes a row."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[Key, bytes | None]] = {}
        self.cleared: list[str] = []
        """Tables that are emptied before."""
        self.written: Future[None] = Future()
        """Tells whoever waits for the transaction how it went."""

    def put(self, table: str, key: Key, row: bytes | None) -> None:
        """Writes or deletes a row."""
        self.rows.setdefault(table, {})[key] = row

    def clear(self, table: str) -> None:
        """Deletes all rows of a table."""
        self.rows.pop(table, None)
        self.cleared.append(table)


class Database:
    """A SQLite database of one service, locked as long as this object is open.

    SQLite finds no damaged rows in its main file, and reads its log up to the first damaged page
    without a word about the rest. So each row carries a CRC-32 of its key and its data, and the
    schema is compared with what it must be. A file beside the database counts the transactions. It
    is written after each one and never synced: after a power loss it may count too few, never too
    many.

    Not thread-safe, but any thread may call it.

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
        self._path, self._run = path, run
        self._files = [path.with_name(path.name + end) for end in ("", "-wal", "-count")]
        self._schema = ["CREATE TABLE about (data BLOB)"]
        for table, kind in {**tables, "set_aside": str}.items():
            # A table without rowids has its text keys in the same pages as its rows.
            key, rows = ("INTEGER", "") if kind is int else ("TEXT", " WITHOUT ROWID")
            self._schema.append(f"CREATE TABLE {table} (key {key} PRIMARY KEY, data BLOB){rows}")
        self.set_aside = 0
        """Damaged rows, as of the latest ``read``."""
        with self._refusing("opened"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                found = self._open()
            except CheckpointError as error:
                if resume or isinstance(error, _InUseError) or self._mentions_run():
                    raise
                found = self._begin_anew(str(error))
            self.is_taken_over = found not in (None, run)
            """Whether another run has written it."""
            if self.is_taken_over and not resume:
                found, self.is_taken_over = self._begin_anew(f"{path} is of another run"), False
            if self.is_taken_over:
                self._counter.truncate(0)
            if found is None:
                self._create()
                if resume:
                    logger.warning("resume is set, and there was no %s: this run is new", path)

    def _open(self) -> str | None:
        """Opens, locks and checks the file; returns its run, None if it is new."""
        self._files[2].touch()
        self._counter = open(self._files[2], "r+b", buffering=0)  # noqa: SIM115  # until ``close``
        self._connection = sqlite3.connect(
            self._path, timeout=_BUSY, isolation_level=None, check_same_thread=False
        )
        try:
            return self._checked()
        except CheckpointError:
            self.close()
            raise
        except (sqlite3.Error, TypeError, ValueError) as error:
            self.close()
            if "locked" in str(error):
                problem = (
                    "is in use: another service of this name and folder is alive, here or on "
                    "another node; end it, or give this one another ray_service.name"
                )
                raise self._error(problem, _InUseError) from error
            if isinstance(error, sqlite3.OperationalError):  # the disk is full, for one
                raise self._error(f"cannot be read: {error}", _InUseError) from error
            raise self.damaged(str(error)) from error

    def _checked(self) -> str | None:
        execute = self._connection.execute
        for pragma, value in _PRAGMAS.items():
            execute(f"PRAGMA {pragma} = {value}")
        execute("BEGIN IMMEDIATE").execute("ROLLBACK")
        problems = [row[0] for row in execute("PRAGMA integrity_check(3)")]
        if problems != ["ok"]:
            raise self.damaged("; ".join(problems))
        version = execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, FORMAT):
            raise self._error(f"has format {version}, this version reads format {FORMAT}")
        self._count, run = 0, None
        if version:
            if execute("SELECT sql FROM sqlite_master").fetchall() != [(t,) for t in self._schema]:
                raise self.damaged("its tables are not those of this version")
            about = _read_count(*execute("SELECT data FROM about").fetchone())
            if about is None:
                raise self.damaged("its run cannot be read")
            self._count, run = about
        counted = _read_count(self._counter.read())
        if counted is not None and (lost := counted[0] - self._count) > 0:
            raise self.damaged(f"its last {lost} transactions are lost")
        return run

    def _mentions_run(self) -> bool:
        """Whether a damaged file is of this run."""
        return any(self._run.encode() in f.read_bytes() for f in self._files if f.exists())

    def _begin_anew(self, why: str) -> str | None:
        self.close()
        aside = self._path.with_name(f"{self._path.name}.{time.time_ns()}.aside")
        aside.mkdir()
        for file in self._files:
            if file.exists():
                file.rename(aside / file.name)
        logger.warning(
            "%s. It is moved into %s, and the service begins anew; to continue it instead, move "
            "it back and set resume: true in ray_service, or load what was saved for a rollout",
            why, aside,
        )  # fmt: skip
        return self._open()

    def _create(self) -> None:
        schema = "; ".join(self._schema)
        self._connection.executescript(f"BEGIN; {schema}; PRAGMA user_version = {FORMAT}")
        self._connection.execute("INSERT INTO about VALUES (?)", (_counted(0, self._run),))
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
            about = _counted(self._count + 1, self._run)
            execute("UPDATE about SET data = ?", (about,))
            execute("COMMIT")
        except (sqlite3.Error, ValueError, ArithmeticError, MemoryError) as error:
            problem = f"cannot be written: {error}; nothing has changed. Free the disk"
            raise self._error(problem, NotWrittenError) from error
        self._count += 1
        with contextlib.suppress(OSError):  # it counts too few, then
            os.pwrite(self._counter.fileno(), about, 0)

    def read(self, table: str) -> dict[Any, bytes]:
        """Returns the rows of a table by key; damaged ones are set aside, in another table."""
        execute = self._connection.execute
        with self._refusing("read"):
            rows = dict(execute(f"SELECT key, data FROM {table} ORDER BY key"))
            for key, row in list(rows.items()):
                rows[key] = row[_SUM.size :] if isinstance(row, bytes) else b""
                if row != _with_sum(key, rows[key]):
                    del rows[key]
                    logger.error("%s: %s %r is damaged, and set aside", self._path, table, key)
                    name = f"{table} {key} {time.time()}"
                    execute("INSERT INTO set_aside VALUES (?, ?)", (name, row))
                    execute(f"DELETE FROM {table} WHERE key = ?", (key,))
            self.set_aside = execute("SELECT COUNT(*) FROM set_aside").fetchone()[0]
        return rows

    def reopen(self) -> None:
        """Opens the file again, as after a kill; raises CheckpointError."""
        self.close()
        with self._refusing("opened"):
            self._open()

    def close(self) -> None:
        """Releases the file and its lock."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._counter.close()

    def damaged(self, problem: str) -> CheckpointError:
        """Returns the error for damage that nothing can be read past."""
        return self._error(
            f"is damaged: {problem}. Move {self._path.name}* away and start again; then load a "
            f"rollout that was saved, or begin anew"
        )

    @contextlib.contextmanager
    def _refusing(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise self._error(f"cannot be {what}: {error}") from error

    def _error(
        self, problem: str, kind: type[CheckpointError] = CheckpointError
    ) -> CheckpointError:
        return kind(f"{self._path} {problem}", key="save", value=str(self._path))


def _counted(count: int, run: str) -> bytes:
    return _with_sum("", count.to_bytes(8, "little") + run.encode())


def _read_count(data: bytes) -> tuple[int, str] | None:
    """Reads what ``_counted`` made; None if it is damaged."""
    about = data[_SUM.size :]
    if data != _with_sum("", about):
        return None
    return int.from_bytes(about[:8], "little"), about[8:].decode()


def _with_sum(key: Key, data: bytes) -> bytes:
    return _SUM.pack(zlib.crc32(data, zlib.crc32(str(key).encode()))) + data
