"""State files: atomic, checksummed, versioned, and plain data only.

A file is MAGIC, a header (the format version and the file's stamp), zstd frames of records, and at
the end the BLAKE2b digest of all before it, so that a file cut short has none. A record is its
length and its bytes: first the msgpack of the state, then one for each item of those top-level
values that are lists of bytes. These can be large: they are not copied as a whole, and no step of
writing them keeps other threads from running for long.

Reading a file runs no code, and takes no more memory than the file's size accounts for.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import zstandard

from curriculum_learning.errors import CheckpointError
from curriculum_learning.samples.codec import decode, encode
from curriculum_learning.state.disk import replacing

MAGIC = b"\x93curriculum\n"
VERSION = 4
_HEADER = struct.Struct("<IQQ16s")
_START = len(MAGIC) + _HEADER.size
_LENGTH = struct.Struct("<Q")
_DIGEST_SIZE = 32
_LEVEL = 3
_CHUNK = 1 << 20
_PIECE = 1 << 22
"""Bytes that are compressed at once."""
_FREE = 1 << 24
_RATIO = 200
"""A file of n bytes holds at most _FREE + n * _RATIO bytes; a state needs a tenth of that."""
_PADDING = struct.Struct("<II")
_SKIPPED = 0x184D2A50
"""The magic number of a zstd frame that readers skip."""


class Stamp(NamedTuple):
    """Which of several states of a run is the newest, and which run it is."""

    counter: int = 0
    """Counts the states of a run, resumes included; the largest is the newest."""
    run: str = ""
    """The id of the run, 32 hexadecimal digits; empty where states have no order."""
    written_at: int = 0
    """Nanoseconds since 1970, by a clock that may be wrong."""


def new_run() -> str:
    """Returns the id of a new run."""
    return os.urandom(16).hex()


def write_state(path: Path, state: Mapping[str, Any], stamp: Stamp = Stamp()) -> None:  # noqa: B008 - it never changes
    """Writes ``state`` so that after a crash at any moment the old file or the new one is there.

    Args:
        path: The file; its folder is made.
        state: Plain data.
        stamp: Its ``written_at`` is set here.

    Raises:
        CheckpointError: The file cannot be written; the previous one is untouched.
    """
    lists = {key: value for key, value in state.items() if _is_list_of_bytes(value)}
    plain = {key: value for key, value in state.items() if key not in lists}
    head = encode([plain, {key: len(items) for key, items in lists.items()}])
    header = _HEADER.pack(VERSION, stamp.counter, time.time_ns(), bytes.fromhex(stamp.run))
    try:
        with replacing(path) as file:
            digest = hashlib.blake2b(digest_size=_DIGEST_SIZE)
            written = 0

            def put(data: bytes) -> None:
                nonlocal written
                digest.update(data)
                written += file.write(data)

            put(MAGIC + header)
            compressor = zstandard.ZstdCompressor(level=_LEVEL)
            size = 0
            for piece in _pieces(head, *(item for items in lists.values() for item in items)):
                put(compressor.compress(piece))
                size += len(piece)
            missing = (size - _FREE) // _RATIO + 1 - written
            if missing > 0:  # it shrank so much that a reader would take it for a bomb
                put(_PADDING.pack(_SKIPPED, missing) + bytes(missing))
            file.write(digest.digest())
    except OSError as error:
        raise CheckpointError(
            f"the state could not be written to {path}: {error}; what was there before is "
            f"untouched",
            key="save",
            value=str(path),
        ) from error


def read_state(path: Path) -> dict[str, Any]:
    """Returns the state that ``write_state`` wrote.

    Raises:
        CheckpointError: There is no such file, or it is damaged, foreign, or of another format.
    """

    def error(problem: str) -> CheckpointError:
        return CheckpointError(f"{path} {problem}", key="load", value=str(path))

    try:
        with _open(path) as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(_START)
            if not start.startswith(MAGIC):
                raise error(
                    "is damaged at its beginning"
                    if start[len(MAGIC) :].startswith(struct.pack("<I", VERSION))
                    else "is no state file of curriculum_learning, and was not read any further; "
                    "name one that save or autosave has written"
                )
            if not _is_intact(file, size, start):
                raise error(
                    "is damaged (its checksum does not match); load another rollout's state"
                )
            (version,) = struct.unpack_from("<I", start, len(MAGIC))
            if version != VERSION:
                raise error(
                    f"has format {version}, this version of curriculum_learning reads format "
                    f"{VERSION}"
                )
            file.seek(_START)
            return _decoded(_Part(file, size - _START - _DIGEST_SIZE), _FREE + size * _RATIO)
    except OSError as problem:
        raise error(f"cannot be read: {problem}") from problem
    except CheckpointError:
        raise
    except Exception as problem:  # whatever the damage is, it is one kind of error
        raise error(f"cannot be decoded: {problem!r}") from problem


def stamp_of(path: Path) -> Stamp | None:
    """Returns the stamp of a state file; None if it has none that can be read."""
    try:
        with _open(path) as file:
            start = file.read(_START)
    except OSError:
        return None
    if len(start) < _START or not start.startswith(MAGIC):
        return None
    version, counter, written_at, run = _HEADER.unpack_from(start, len(MAGIC))
    if version != VERSION:
        return None
    return Stamp(counter, run.hex() if any(run) else "", written_at)


def _open(path: Path) -> BinaryIO:
    """Opens a file; raises OSError for what is none, such as a pipe that nobody writes to."""
    descriptor = os.open(
        path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is not a regular file")
    return open(descriptor, "rb")


def _is_intact(file: BinaryIO, size: int, start: bytes) -> bool:
    """Whether the digest at the end of a file is that of all before it."""
    left = size - len(start) - _DIGEST_SIZE
    if left < 0:
        return False
    digest = hashlib.blake2b(start, digest_size=_DIGEST_SIZE)
    while left and (chunk := file.read(min(left, _CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    return digest.digest() == file.read(_DIGEST_SIZE)


class _Part:
    """The next ``size`` bytes of a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data


def _decoded(compressed: _Part, most: int) -> dict[str, Any]:
    records = _records(compressed, most)
    try:
        state, lengths = decode(next(records))
        for key, length in lengths.items():
            state[key] = [next(records) for _ in range(length)]
    except StopIteration:
        raise ValueError("it has fewer records than it says") from None
    if next(records, None) is not None:
        raise ValueError("it has more records than it says")
    return dict(state)


def _records(compressed: _Part, most: int) -> Iterator[bytes]:
    """The records; raises ValueError where all of them have more than ``most`` bytes."""
    reader = zstandard.ZstdDecompressor().stream_reader(
        compressed,  # type: ignore[arg-type]  # it needs no more than ``read``
        read_across_frames=True,
    )
    while length := reader.read(_LENGTH.size):
        left = _LENGTH.unpack(length)[0]
        most -= len(length) + left
        if most < 0:
            raise ValueError("it holds much more than a file of its size can")
        chunks = []
        while left > 0:  # a false length must not claim the memory for it
            chunk = reader.read(min(left, _CHUNK))
            if not chunk:
                raise ValueError("a record ends too early")
            chunks.append(chunk)
            left -= len(chunk)
        yield b"".join(chunks)


def _is_list_of_bytes(value: object) -> bool:
    return isinstance(value, list) and set(map(type, value)) == {bytes}


def _pieces(*records: bytes) -> Iterator[bytes]:
    """The records with their lengths, many at a time.

    What is done for each piece lets other threads run, and then waits for its turn again; done for
    each record that would take longer than all the writing.
    """
    piece: list[bytes] = []
    size = 0
    for record in records:
        piece += (_LENGTH.pack(len(record)), record)
        size += len(record)
        if size >= _PIECE:
            yield b"".join(piece)
            piece, size = [], 0
    if piece:
        yield b"".join(piece)
