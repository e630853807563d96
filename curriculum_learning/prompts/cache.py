"""What is worked out of prompt files once and used again: a folder of entries, keyed by content.

Any entry may be removed at any time; it is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import orjson

logger = logging.getLogger(__name__)

_FORMAT = 1
_SAMPLES = 64
_SAMPLE_SIZE = 4096

Value = TypeVar("Value")
Key = dict[str, object]
"""All that an entry depends on, as plain data."""


class Cache:
    """Entries in a folder; each is a folder of files of its own.

    Args:
        folder: Where they are kept; None keeps none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._told = False

    def get(
        self, key: Key, write: Callable[[Path], None], read: Callable[[Path], Value]
    ) -> Value | None:
        """What ``read`` gives of the folder of an entry, written by ``write`` if it is not there.

        An entry that cannot be read is written again.

        Returns:
            None if it cannot be kept: without a cache, or on a full or read-only disk. The log
            says so once.
        """
        if self._folder is None:
            return None
        name = hashlib.blake2b(orjson.dumps([_FORMAT, key]), digest_size=16).hexdigest()
        path = self._folder / name
        if path.is_dir():
            try:
                return read(path)
            except Exception as error:
                logger.warning("the cache entry %s is damaged and made again: %s", path, error)
                shutil.rmtree(path, ignore_errors=True)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Two processes may be at it: each writes its own, and the first to finish counts.
            unfinished = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=self._folder))
            try:
                write(unfinished)
                for file in unfinished.iterdir():
                    _sync(file)
                unfinished.chmod(0o755)  # a cache can be shared
                with contextlib.suppress(FileExistsError):
                    os.rename(unfinished, path)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        except OSError as error:
            if not path.is_dir():
                self._tell(error)
                return None
        try:
            return read(path)
        except Exception as error:  # another user's, or somebody has just removed it
            self._tell(error)
            return None

    def _tell(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            logger.warning(
                "nothing can be kept in the cache folder %s (%s): what is worked out of the prompt "
                "files is held in memory and lost at the end; set data_source_cache to another one",
                self._folder, error,
            )  # fmt: skip


def _sync(path: Path) -> None:
    """Have a file on the disk before its name is."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_key(path: str) -> Key:
    """What tells one content of a file from another: its path, size, time, and a sampled hash."""
    status = os.stat(path)
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb", buffering=0) as file:
        last = max(status.st_size - _SAMPLE_SIZE, 0)
        for number in range(_SAMPLES):
            offset = last * number // (_SAMPLES - 1)
            digest.update(os.pread(file.fileno(), _SAMPLE_SIZE, offset))
    return {
        "path": os.fsencode(os.path.realpath(path)).decode("utf-8", "backslashreplace"),
        "bytes": status.st_size,
        "time": status.st_mtime_ns,
        "sample": digest.hexdigest(),
    }
