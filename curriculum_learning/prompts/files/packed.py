"""Packed files: ``.gz`` and ``.zst``."""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import zstandard

from curriculum_learning.prompts.files.contents import file_pieces
from curriculum_learning.prompts.rows import unreadable

PACKINGS = (".gz", ".zst")

_CHUNK = 1 << 18


def ending_of(path: str) -> str:
    """Returns the ending of a file name without the ending of its packing, in small letters."""
    stem, ending = os.path.splitext(path.lower())
    return os.path.splitext(stem)[1] if ending in PACKINGS else ending


def is_packed(path: str) -> bool:
    """Whether a file has to be unpacked."""
    return path.lower().endswith(PACKINGS)


def unpacked_pieces(path: str, source: str) -> Iterator[bytes]:
    """Yields the content of a file, unpacked if it is packed, piece by piece.

    Raises:
        DataError: The file is cut off or damaged.
    """
    if not is_packed(path):
        yield from file_pieces(path, os.path.getsize(path))
        return
    try:
        yield from _gzip_pieces(path) if path.lower().endswith(".gz") else _zstd_pieces(path)
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        problem = f"{path} cannot be unpacked, it is cut off or damaged: {error}; write it anew"
        raise unreadable(source, path, problem) from None


def _gzip_pieces(path: str) -> Iterator[bytes]:
    with gzip.open(path) as file:
        while piece := file.read(_CHUNK):
            yield piece


def _zstd_pieces(path: str) -> Iterator[bytes]:
    """Yields the content of all frames; zstandard's own reader takes a cut-off one for whole."""
    frame = None
    with open(path, "rb") as file:
        while piece := file.read(_CHUNK):
            while piece:
                frame = frame or zstandard.ZstdDecompressor().decompressobj()
                yield frame.decompress(piece)
                piece = frame.unused_data if frame.eof else b""
                frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("the last frame does not end")


@contextmanager
def unpacked_file(path: str, source: str) -> Iterator[str]:
    """Gives the path of the file, or within the block of a temporary file with what is in it.

    Raises:
        DataError: The file is cut off or damaged.
    """
    if not is_packed(path):
        yield path
        return
    with tempfile.NamedTemporaryFile(suffix=ending_of(path)) as file:
        for piece in unpacked_pieces(path, source):
            file.write(piece)
        file.flush()
        yield file.name
