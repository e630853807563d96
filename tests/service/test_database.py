from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from curriculum_learning.errors import CheckpointError
from curriculum_learning.service.database import Changes, Database, NotWrittenError

TABLES = {"numbers": int, "names": str}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file for a database."""
    return tmp_path / "folder" / "a.sqlite"


def changes(first: int, count: int = 1, size: int = 500) -> Changes:
    """Rows of numbers, from ``first`` on."""
    new = Changes()
    for number in range(first, first + count):
        new.put("numbers", number, bytes([number % 256]) * size)
    return new


def copied(path: Path, folder: Path) -> Path:
    """The database as a kill leaves it."""
    shutil.copytree(path.parent, folder)
    return folder / path.name


def test_rows_are_there_again(path: Path) -> None:
    """Written, replaced and deleted; also after a kill."""
    database = Database(path, "run", TABLES, resume=False)
    database.write(changes(0, 10))
    second = changes(5)
    second.put("numbers", 6, None)
    second.put("names", "a", b"b")
    database.write(second)
    third = changes(20)
    third.clear("names")
    third.put("names", "c", b"d")
    third.clear("numbers")
    database.write(third)
    for one in (database, Database(copied(path, path.parent / "copy"), "run", TABLES, False)):
        assert one.read("numbers") == {}
        assert one.read("names") == {"c": b"d"}


OPEN = """
import sys, time
from pathlib import Path
from curriculum_learning.service.database import Database
database = Database(Path(sys.argv[1]), "run", {"numbers": int, "names": str}, False)
print("open", flush=True)
time.sleep(600)
"""


@pytest.fixture
def other(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the database open."""
    other = subprocess.Popen(
        [sys.executable, "-c", OPEN, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    yield other
    other.kill()
    other.wait()


def test_a_second_service_is_refused(
    path: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same run or of another one, and though the first is a zombie; not after its end."""
    monkeypatch.setattr("curriculum_learning.service.database._BUSY", 0.1)
    for run in ("run", "another run"):
        with pytest.raises(CheckpointError, match="another service of this name and folder"):
            Database(path, run, TABLES, resume=False)
    os.kill(other.pid, signal.SIGSTOP)
    with pytest.raises(CheckpointError, match="is alive"):
        Database(path, "run", TABLES, resume=False)
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    Database(path, "run", TABLES, resume=False).close()


def test_the_database_of_another_run_is_moved_aside(path: Path) -> None:
    """Also if it is damaged or of another format; with ``resume`` it is taken over."""
    first = Database(path, "first", TABLES, resume=False)
    first.write(changes(0, 3))
    first.close()
    second = Database(path, "second", TABLES, resume=True)
    assert second.is_taken_over
    assert len(second.read("numbers")) == 3
    second.write(changes(3))
    second._connection.execute("PRAGMA user_version = 99")
    second.close()
    with pytest.raises(CheckpointError, match="has format 99"):
        Database(path, "second", TABLES, resume=False)
    third = Database(path, "third", TABLES, resume=False)
    assert not third.read("numbers")
    third.write(changes(0, 100))
    third.close()
    path.write_bytes(b"?" * 4096 + path.read_bytes()[4096:])
    fourth = Database(path, "fourth", TABLES, resume=False)
    assert not fourth.read("numbers")
    assert len(list(path.parent.glob("*.aside"))) == 2


@pytest.mark.parametrize("place", ["log", "file"])
def test_a_flipped_bit_is_found(path: Path, tmp_path: Path, place: str) -> None:
    """Wherever it is: the database is refused, or says which rows are damaged, or has them all."""
    database = Database(path, "run", TABLES, resume=False)
    for number in range(0, 60, 3):
        new = changes(number, 3, size=5)
        new.put("names", f"a name {number}", bytes([number]))
        database.write(new)
    expected = {table: database.read(table) for table in TABLES}
    if place == "file":
        database.close()  # the log moves into it
    randomness = random.Random(0)
    refused = 0
    for attempt in range(200):
        copy = copied(path, tmp_path / str(attempt))
        damaged = copy if place == "file" else copy.with_name(f"{copy.name}-wal")
        content = bytearray(damaged.read_bytes())
        filled = [position for position, byte in enumerate(content) if byte]
        content[randomness.choice(filled)] ^= 1 << randomness.randrange(8)
        damaged.write_bytes(content)
        try:
            found = Database(copy, "run", TABLES, resume=False)
            rows = {table: found.read(table) for table in TABLES}
        except CheckpointError:
            refused += 1
            continue
        assert all(rows[table].items() <= expected[table].items() for table in TABLES)
        assert found.set_aside == sum(len(expected[table]) - len(rows[table]) for table in TABLES)
        found.close()
    assert refused > (160 if place == "log" else 0)


def test_a_power_loss_takes_what_was_not_answered(path: Path, tmp_path: Path) -> None:
    """A log that is cut short in the last transaction, or ends in zeros, gives those before.

    A log that has lost more is refused: what was answered is gone.
    """
    database = Database(path, "run", TABLES, resume=False)
    sizes, log, count = [], *(path.with_name(path.name + end) for end in ("-wal", "-count"))
    counted = b""
    for number in range(10):
        counted = count.read_bytes()
        database.write(changes(number, size=3000))
        sizes.append(log.stat().st_size)
    for attempt, cut in enumerate(range(sizes[-3] + 1, sizes[-1], 1300)):
        for tail in (b"", bytes(sizes[-1] - cut)):
            copy = copied(path, tmp_path / f"{attempt}-{len(tail)}")
            damaged = copy.with_name(log.name)
            damaged.write_bytes(damaged.read_bytes()[:cut] + tail)
            copy.with_name(count.name).write_bytes(counted)  # as it is before the answer
            if cut < sizes[-2]:
                with pytest.raises(
                    CheckpointError, match=r"its last 1 transactions are lost\. Move"
                ):
                    Database(copy, "run", TABLES, resume=False)
                continue
            found = Database(copy, "run", TABLES, resume=False)
            assert list(found.read("numbers")) == [*range(9)]
            found.close()


@pytest.mark.parametrize("end", ["", "-wal", "-count"])
def test_a_file_that_is_gone_is_no_fresh_start(path: Path, tmp_path: Path, end: str) -> None:
    """Without the database or its log the service is refused; it can do without the count."""
    database = Database(path, "run", TABLES, resume=False)
    for number in range(5):
        database.write(changes(number))
    copy = copied(path, tmp_path / "copy")
    copy.with_name(copy.name + end).unlink()
    if end != "-count":
        with pytest.raises(CheckpointError, match="5 transactions are lost"):
            Database(copy, "run", TABLES, resume=False)
        copy.with_name(f"{copy.name}-count").unlink()
        copy.unlink(missing_ok=True)
    found = Database(copy, "run", TABLES, resume=False)
    assert len(found.read("numbers")) == (5 if end == "-count" else 0)


def test_a_full_disk_changes_nothing(path: Path) -> None:
    """When there is room again, it goes on."""
    database = Database(path, "run", TABLES, resume=False)
    database.write(changes(0, 2))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = path.with_name(f"{path.name}-wal").stat().st_size
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5000, before[1]))
        for _ in range(3):
            with pytest.raises(NotWrittenError, match="Free the disk"):
                database.write(changes(2, 50))
            database.reopen()
            assert list(database.read("numbers")) == [0, 1]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    database.write(changes(2, 50))
    database.reopen()
    assert len(database.read("numbers")) == 52
