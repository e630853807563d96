from __future__ import annotations

import errno
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import CheckpointError
from curriculum_learning.state.checkpoint import MAGIC, read_state, write_state

STATE: dict[str, Any] = {
    "numbers": list(range(500)),
    "text": "é" * 50,
    "data": bytes(range(256)),
    "groups": [b"one", b"", b"three" * 20],
    "no groups": [],
}


def test_a_state_comes_back(tmp_path: Path) -> None:
    """What is written is read, and a new state replaces the old one; nothing else is left."""
    path = tmp_path / "new" / "folder" / "a.state"
    write_state(path, STATE)
    assert read_state(path) == STATE
    write_state(path, {"other": 1})
    assert read_state(path) == {"other": 1}
    assert os.listdir(path.parent) == ["a.state"]


def test_every_flipped_byte_and_every_cut_is_refused(tmp_path: Path) -> None:
    """A damaged state is refused with its path, wherever the damage is."""
    path = tmp_path / "a.state"
    write_state(path, STATE)
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(
            content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        )
        with pytest.raises(CheckpointError, match=r"a\.state"):
            read_state(path)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"a\.state"):
            read_state(path)
    path.write_bytes(content + b"x")
    with pytest.raises(CheckpointError, match="damaged"):
        read_state(path)


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("exploded",))


def test_a_foreign_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another program, a pickle among them, is refused and never executed."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.state"
    for content in (b"", b"PK\x03\x04", pickle.dumps(_Bomb()), MAGIC + pickle.dumps(_Bomb())):
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            read_state(path)
    assert not (tmp_path / "exploded").exists()
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_state(tmp_path / "nosuch.state")


def test_a_disk_that_is_full_leaves_the_previous_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the new state cannot be written the old one stays, and the error says so."""
    path = tmp_path / "a.state"
    write_state(path, STATE)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        write_state(path, {"new": 1})
    assert read_state(path) == STATE
    assert os.listdir(tmp_path) == ["a.state"]
    with pytest.raises(CheckpointError, match="could not be written"):
        write_state(path / "below a file" / "b.state", {"new": 1})


def test_killed_at_any_moment_the_old_or_the_new_state_is_there(tmp_path: Path) -> None:
    """After SIGKILL during save one of the two complete states loads, always."""
    path = tmp_path / "a.state"
    program = (
        "import itertools, sys; from pathlib import Path;"
        "from curriculum_learning.state.checkpoint import write_state\n"
        "for n in itertools.count():\n"
        "    write_state(Path(sys.argv[1]), {'n': n, 'data': bytes([n % 256]) * 3_000_000})\n"
        "    print(n, flush=True)\n"
    )
    randomness = random.Random(0)
    for _ in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        child.stdout.readline()  # one state is complete
        time.sleep(randomness.random() * 0.15)
        child.send_signal(signal.SIGKILL)
        written = [0, *map(int, child.stdout.read().split())][-1]
        child.wait()
        state = read_state(path)
        assert state["n"] in (written, written + 1)
        assert state["data"] == bytes([state["n"] % 256]) * 3_000_000
