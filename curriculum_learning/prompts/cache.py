"""A folder of results that take long to work out of prompt files, so that a restart need not.

Anyone may delete entries at any time: a missing or damaged entry is made again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_FORMAT = 2
_SAMPLES = 64
_SAMPLE_SIZE = 4096

Key = dict[str, object]
"""Everything that an entry depends on. Nothing is kept for a key that is not plain data."""


class Kept(NamedTuple):
    """An array, and plain data about it."""

    array: NDArray[Any]
    facts: Any = None


class Cache:
    """A folder of entries. An entry is a folder of files, named by the hash of its key.

    Args:
        folder: Where the entries are; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._told = False

    def find(self, key: Key) -> Kept | None:
        """Returns the array kept under ``key``, mapped from its file; None if there is none."""
        with self.reading(key) as folder:
            if folder is not None:
                array = np.load(folder / "array.npy", mmap_mode="r")
                facts = orjson.loads((folder / "facts.json").read_bytes())
                return Kept(np.asarray(array), facts)  # indexing a memmap is slow
        return None

    def keep(self, key: Key, kept: Kept) -> Kept:
        """Keeps an array; returns it mapped from its file, or as it is if it cannot be kept."""
        with self.writing(key) as folder:
            if folder is not None:
                np.save(folder / "array.npy", kept.array)
                (folder / "facts.json").write_bytes(orjson.dumps(kept.facts))
        return self.find(key) or kept

    @contextmanager
    def reading(self, key: Key) -> Iterator[Path | None]:
        """Gives the folder of an entry, None if there is none.

        If the block raises, the entry is damaged: it is removed, and the error goes to the log.
        """
        path = self._path(key)
        if path is None or not path.is_dir():
            yield None
            return
        try:
            yield path
        except Exception as error:
            logger.warning("the cache entry %s is damaged and made again: %s", path, error)
            shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def writing(self, key: Key) -> Iterator[Path | None]:
        """Gives an empty folder that becomes the entry when the block ends.

        Gives None if there is no cache. A full or read-only disk leaves the entry out and is
        logged once; any other error of the block is raised.
        """
        path = self._path(key)
        unfinished = None if path is None else self._new_folder(path)
        if path is None or unfinished is None:
            yield None
            return
        try:
            yield unfinished
            for file in unfinished.iterdir():
                with open(file, "rb") as written:
                    os.fsync(written.fileno())
            unfinished.chmod(0o755)  # users can share a cache
            os.rename(unfinished, path)
        except OSError as error:
            if not path.is_dir():  # else another process has just made the same entry
                self._tell(error)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _path(self, key: Key) -> Path | None:
        if self._folder is None:
            return None
        try:
            content = orjson.dumps([_FORMAT, key])
        except TypeError:
            return None
        return self._folder / hashlib.blake2b(content, digest_size=16).hexdigest()

    def _new_folder(self, path: Path) -> Path | None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        except OSError as error:
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


def file_key(path: str) -> Key:
    """Returns what tells the content of a file from another: path, size, time, sampled hash."""
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
