"""State files: atomic, checksummed, versioned, and plain data only.

A file is MAGIC, the format version, the zstd-compressed msgpack of the state, and at the end the
BLAKE2b digest of all before it, so that a file cut short has none. Reading one runs no code.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from pathlib import Path
from typing import Any

import zstandard

from curriculum_learning.codec import decode, encode
from curriculum_learning.errors import CheckpointError

MAGIC = b"\x93curriculum\n"
VERSION = 1
_VERSION_FORMAT = "<I"
_DIGEST_SIZE = 32
_LEVEL = 3
_LARGEST = 2**40
"""Bytes; a state that claims to be larger when decompressed is damaged."""


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` so that after a crash at any moment the old file or the new one is there.

    Raises:
        CheckpointError: The file cannot be written; the previous one is untouched.
    """
    body = MAGIC + struct.pack(_VERSION_FORMAT, VERSION)
    body += zstandard.ZstdCompressor(level=_LEVEL).compress(encode(state))
    # Always the same name: what a killed save leaves behind is overwritten by the next one.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(body)
            file.write(_digest(body))
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
        CheckpointError: There is no such file, or it is damaged, foreign, or of a newer format.
    """

    def error(problem: str) -> CheckpointError:
        return CheckpointError(f"{path} {problem}", key="load", value=str(path))

    try:
        content = path.read_bytes()
    except OSError as problem:
        raise error(f"cannot be read: {problem}") from problem
    if not content.startswith(MAGIC):
        raise error(
            "is damaged at its beginning"
            if content[len(MAGIC) :].startswith(struct.pack(_VERSION_FORMAT, VERSION))
            else "is no state file of curriculum_learning; it was not read any further"
        )
    body, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    start = len(MAGIC) + struct.calcsize(_VERSION_FORMAT)
    if len(body) < start or _digest(body) != digest:
        raise error("is damaged (its checksum does not match); load another rollout's state")
    (version,) = struct.unpack_from(_VERSION_FORMAT, body, len(MAGIC))
    if version != VERSION:
        raise error(
            f"has format {version}, this version of curriculum_learning reads format {VERSION}"
        )
    try:
        state = decode(zstandard.ZstdDecompressor().decompress(body[start:], _LARGEST))
    except (ValueError, zstandard.ZstdError) as problem:
        raise error(f"cannot be decoded: {problem}") from problem
    if not isinstance(state, dict):
        raise error("does not hold a state")
    return state


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_SIZE).digest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
