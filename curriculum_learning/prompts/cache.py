"""A folder of results that take long to work out of prompt files, so that a restart need not.

Anyone may delete entries at any time: a missing or damaged entry is made again. An entry is read
only if it is the user's own and no other user can write to it. Its files have stamps: whatever
writes to a file or replaces it changes the time of the last change, which no program can set. A
file with another stamp is compared with its recorded hash, which takes about a second for each
gigabyte. Damage on the disk itself leaves the stamp as it is and is not noticed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from curriculum_learning.prompts.files.contents import file_pieces
from curriculum_learning.prompts.rows import content_hash

logger = logging.getLogger(__name__)

_FORMAT = 4
_SAMPLES = 64
_SAMPLE_SIZE = 4096

_DIGESTED = 1 << 24
"""Bytes; smaller files are hashed again each time."""
_MAPPED = 1 << 24
"""Bytes; smaller arrays are read, as each mapped one keeps a file open."""
_MOST_BYTES = 100 << 30
"""Of all entries; the one read longest ago is removed first."""
_LITTER_AGE = 3600
"""Seconds without a change, after which an unfinished entry is a killed process's."""
_OURS = re.compile(r"^(?:v(\d+)-)?[0-9a-f]{32}$")
_UNFINISHED = re.compile(r"^\.(?:v\d+-)?[0-9a-f]{32}\.")
_RECORD = "record.json"
"""The stamp and the hash of each file of an entry."""

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
                path = folder / "array.npy"
                is_large = path.stat().st_size > _MAPPED
                array = np.load(path, mmap_mode="r" if is_large else None)
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
        if path is None or not _is_own(path):
            yield None
            return
        try:
            _verify(path)
        except Exception as error:
            _remove_damaged(path, error)
            yield None
            return
        try:
            os.utime(path)  # read last
            yield path
        except Exception as error:
            _remove_damaged(path, error)

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
            files = list(unfinished.iterdir())
            hashes = {file.name: _hash_of(file) for file in files}
            for file in files:
                _finish(file)
            _record(unfinished, hashes)
            os.rename(unfinished, path)
            _tidy(path)
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
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        return self._folder / f"v{_FORMAT}-{digest}"

    def _new_folder(self, path: Path) -> Path | None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
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


def _is_own(path: Path) -> bool:
    """Whether a folder is the user's, is no link, and can be written by nobody else."""
    try:
        status = path.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        return False
    if status.st_uid == os.geteuid() and not status.st_mode & 0o022:
        return True
    logger.warning(
        "the cache entry %s is not used: it belongs to another user, or others can write to it",
        path,
    )
    return False


def _finish(file: Path) -> None:
    """Makes a file readable by its owner only, and has the disk keep it."""
    file.chmod(0o400)
    with open(file, "rb") as written:
        os.fsync(written.fileno())


def _record(entry: Path, hashes: Mapping[str, str]) -> None:
    """Records the hashes of an entry's files, and their stamps."""
    content = {name: [digest, _stamp(entry / name)] for name, digest in hashes.items()}
    descriptor, unfinished = tempfile.mkstemp(dir=entry)
    with open(descriptor, "wb") as file:
        file.write(orjson.dumps(content))
    _finish(Path(unfinished))
    os.replace(unfinished, entry / _RECORD)


def _stamp(file: Path) -> list[int]:
    status = file.stat()
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _verify(path: Path) -> None:
    """Raises ValueError if a file of an entry has changed since it was written."""
    recorded = orjson.loads((path / _RECORD).read_bytes())
    changed = [name for name, (_, stamp) in recorded.items() if _stamp(path / name) != stamp]
    for name in changed:
        if _hash_of(path / name) != recorded[name][0]:
            raise ValueError(f"{name} has changed since it was written")
    if changed:  # the whole entry was copied or moved, for example
        with suppress(OSError):
            _record(path, {name: digest for name, (digest, _) in recorded.items()})


def _hash_of(path: Path) -> str:
    return content_hash(file_pieces(str(path), path.stat().st_size))


def _remove_damaged(path: Path, error: Exception) -> None:
    logger.warning("the cache entry %s is damaged and made again: %s", path, error)
    shutil.rmtree(path, ignore_errors=True)


def _tidy(kept: Path) -> None:
    """Removes what killed processes and old versions left, and the oldest entries over the limit.

    Other processes may do the same at the same time.
    """
    entries: list[tuple[float, int, Path]] = []
    for path in kept.parent.iterdir():
        match = _OURS.match(path.name)
        if not (match or _UNFINISHED.match(path.name)) or path.is_symlink():
            continue
        try:
            statuses = [file.stat() for file in (path, *path.iterdir())]
        except OSError:
            continue
        changed = max(status.st_mtime for status in statuses)
        if match is None:
            is_litter = changed < time.time() - _LITTER_AGE
        else:
            is_litter = int(match[1] or 0) < _FORMAT
        if is_litter:
            shutil.rmtree(path, ignore_errors=True)
        elif match is not None:
            entries.append((statuses[0].st_mtime, sum(s.st_size for s in statuses[1:]), path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total > _MOST_BYTES and path != kept:
            shutil.rmtree(path, ignore_errors=True)
            total -= size


def file_key(path: str) -> Key:
    """Returns what tells the content of a file from another: path, size, time, sampled hash."""
    status = os.stat(path)
    return {
        "path": os.fsencode(os.path.realpath(path)).decode("utf-8", "backslashreplace"),
        "bytes": status.st_size,
        "time": status.st_mtime_ns,
        "sample": _sampled(path, status.st_size),
    }


def file_digest(path: str, cache: Cache) -> str:
    """Returns the hash of the whole content of a file; of large files the cache knows it."""
    size = os.path.getsize(path)
    key: Key = {"what": "digest", **file_key(path)} if size >= _DIGESTED else {}
    kept = cache.find(key) if key else None
    if kept is None:
        kept = Kept(np.zeros(0), content_hash(file_pieces(path, size)))
        kept = cache.keep(key, kept) if key else kept
    return str(kept.facts)


def _sampled(path: str, size: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb", buffering=0) as file:
        last = max(size - _SAMPLE_SIZE, 0)
        for number in range(_SAMPLES):
            offset = last * number // (_SAMPLES - 1)
            digest.update(os.pread(file.fileno(), _SAMPLE_SIZE, offset))
    return digest.hexdigest()
