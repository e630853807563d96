"""State files: atomic, checksummed, versioned, and plain data only.

A file is MAGIC, the format version, when it was written, zstd frames of records, and at the end
the BLAKE2b digest of all before it, so that a file cut short has none. A record is its length and
its bytes: first the msgpack of the state, then one for each item of those top-level values that
are lists of bytes. These can be large: they are not copied as a whole, and no step of writing them
keeps other threads from running for long. Reading a file runs no code.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import zstandard

from curriculum_learning.errors import CheckpointError
from curriculum_learning.samples.codec import decode, encode

MAGIC = b"\x93curriculum\n"
VERSION = 3
_HEADER = struct.Struct("<IQ")
"""Format version; nanoseconds since 1970."""
_LENGTH = struct.Struct("<Q")
_DIGEST_SIZE = 32
_LEVEL = 3
_CHUNK = 1 << 20
_PIECE = 1 << 22
"""Bytes that are compressed at once."""


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` so that after a crash at any moment the old file or the new one is there.

    Raises:
        CheckpointError: The file cannot be written; the previous one is untouched.
    """
    lists = {key: value for key, value in state.items() if _is_list_of_bytes(value)}
    plain = {key: value for key, value in state.items() if key not in lists}
    head = encode([plain, {key: len(items) for key, items in lists.items()}])
    # Always the same name: what a killed save leaves behind is overwritten by the next one.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            digest = hashlib.blake2b(digest_size=_DIGEST_SIZE)

            def put(data: bytes) -> None:
                digest.update(data)
                file.write(data)

            put(MAGIC + _HEADER.pack(VERSION, time.time_ns()))
            compressor = zstandard.ZstdCompressor(level=_LEVEL)
            for piece in _pieces(head, *(item for items in lists.values() for item in items)):
                put(compressor.compress(piece))
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise CheckpointError(
            f"the state could not be written to {path}: {error}; what was there before is "
            f"untouched",
            key="save",
            value=str(path),
        ) from error


def read_state(path: Path) -> dict[str, Any]:
    """The state that ``write_state`` wrote.

    Raises:
        CheckpointError: There is no such file, or it is damaged, foreign, or of another format.
    """

    def error(problem: str) -> CheckpointError:
        return CheckpointError(f"{path} {problem}", key="load", value=str(path))

    try:
        content = path.read_bytes()
    except OSError as problem:
        raise error(f"cannot be read: {problem}") from problem
    start = len(MAGIC) + _HEADER.size
    body = memoryview(content)[:-_DIGEST_SIZE]
    intact = len(content) >= start + _DIGEST_SIZE and _digest(body) == content[-_DIGEST_SIZE:]
    if not content.startswith(MAGIC):
        raise error(
            "is damaged at its beginning"
            if content[len(MAGIC) :].startswith(struct.pack("<I", VERSION))
            else "is no state file of curriculum_learning, and was not read any further; name one "
            "that save or autosave has written"
        )
    if not intact:
        raise error("is damaged (its checksum does not match); load another rollout's state")
    version, _ = _HEADER.unpack_from(content, len(MAGIC))
    if version != VERSION:
        raise error(
            f"has format {version}, this version of curriculum_learning reads format {VERSION}"
        )
    try:
        records = _records(body[start:])
        state, lengths = decode(next(records))
        for key, length in lengths.items():
            state[key] = [next(records) for _ in range(length)]
        if next(records, None) is not None:
            raise ValueError("it has more records than it says")
    except StopIteration:
        raise error("cannot be decoded: it has fewer records than it says") from None
    except (ValueError, TypeError, AttributeError, struct.error, zstandard.ZstdError) as problem:
        raise error(f"cannot be decoded: {problem}") from problem
    return dict(state)


def written_at(path: Path) -> int:
    """When a state file was written, in ns since 1970; 0 if it does not say, or is not there."""
    try:
        with open(path, "rb") as file:
            header = file.read(len(MAGIC) + _HEADER.size)
        return int(_HEADER.unpack_from(header, len(MAGIC))[1])
    except (OSError, struct.error):
        return 0


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


def _records(compressed: memoryview) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor().stream_reader(
        io.BytesIO(compressed), read_across_frames=True
    )
    while length := reader.read(_LENGTH.size):
        left = _LENGTH.unpack(length)[0]
        chunks = []
        while left > 0:  # a false length must not claim the memory for it
            chunk = reader.read(min(left, _CHUNK))
            if not chunk:
                raise ValueError("a record ends too early")
            chunks.append(chunk)
            left -= len(chunk)
        yield b"".join(chunks)


def _digest(body: memoryview) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_SIZE).digest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
