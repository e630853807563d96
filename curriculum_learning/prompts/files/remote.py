"""Files on other machines, through fsspec: fetched once to the cache, and checked."""

from __future__ import annotations

import os
import time
from typing import Any

from curriculum_learning.errors import DataError
from curriculum_learning.prompts.cache import Cache, Key
from curriculum_learning.prompts.files.packed import ending_of
from curriculum_learning.prompts.rows import unusable

_TRIES = 3
_PAUSE = 0.2
"""Seconds before the second try; twice as long before each further one."""
_PATIENCE = 2
"""Seconds of work before a progress bar is shown."""
_FACTS = (
    "ETag", "etag", "Content-MD5", "md5Hash", "checksum", "blob_id", "Last-Modified",
    "LastModified", "last_modified", "mtime", "created",
)  # fmt: skip
"""What file systems tell of a file that changes if its content does."""


class _FetchError(Exception):
    """A try to fetch a file has failed."""


def is_remote(path: str) -> bool:
    """Whether a path is a URL, such as ``s3://bucket/rows.jsonl``."""
    return "://" in path


class RemoteFiles:
    """The files at a URL, which may be a glob or a folder.

    Args:
        url: Where they are.
        source: The name of the source.
        cache: Keeps them; a file that has another size or tag on the server is fetched again.

    Raises:
        DataError: The server does not answer, or its package is not installed.
    """

    def __init__(self, url: str, source: str, cache: Cache) -> None:
        self._url, self._source, self._cache = url, source, cache
        try:
            import fsspec
        except ImportError:
            raise self._error("needs fsspec; pip install 'curriculum_learning[remote]'") from None
        try:
            self._system, self._path = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise self._error(f"is at no place that fsspec knows: {error}") from None

    def _error(self, problem: str) -> DataError:
        return unusable(self._url, self._source, problem)

    def find(self) -> tuple[list[str], bool]:
        """Returns the paths of the files, and whether they are the files of a folder.

        Raises:
            DataError: The server does not answer.
        """
        system, path = self._system, self._path
        try:
            system.invalidate_cache()
            if "*" in path or "[" in path:  # a question mark begins the query of a URL
                return sorted(map(str, system.glob(path))), False
            if not ending_of(path.partition("?")[0]) and system.isdir(path):
                return sorted(map(str, system.ls(path, detail=False))), True
        except Exception as error:  # of many libraries below it
            raise self._error(
                f"cannot be listed: {error!r}; see that the server answers"
            ) from error
        return [path], False

    def fetch(self, path: str) -> str:
        """Returns the local copy of a file, fetched if the cache has none.

        Raises:
            DataError: There is no such file, or it cannot be fetched as it is on the server.
        """
        problem: Exception | None = None
        for tried in range(_TRIES):
            time.sleep(_PAUSE * 2 ** (tried - 1) if tried else 0)
            try:
                return self._fetch_once(path)
            except FileNotFoundError as error:
                raise self._error(f"does not exist: {error}; correct the path") from error
            except _FetchError as error:
                problem = error
        raise self._error(
            f"cannot be fetched, tried {_TRIES} times: {problem}; see that the server answers"
        ) from problem

    def _fetch_once(self, path: str) -> str:
        facts = self._facts(path)
        key: Key = {"what": "fetched", "url": self._system.unstrip_protocol(path), **facts}
        name = os.path.basename(path.partition("?")[0])
        for is_fetched in (False, True):
            with self._cache.reading(key) as folder:
                if folder is not None:
                    return str(folder / name)
            if is_fetched:
                break
            with self._cache.writing(key) as folder:
                if folder is not None:
                    self._copy(path, str(folder / name), facts)
        raise self._error("is fetched to the cache, and there is none; set data_source_cache")

    def _facts(self, path: str) -> Key:
        """Asks the server for what tells one content of a file from another."""
        try:
            self._system.invalidate_cache()
            found = self._system.info(path)
        except FileNotFoundError as error:
            cause = error.__cause__  # over http, any failure is said to be a missing file
            if cause is None or getattr(cause, "status", None) == 404:
                raise
            raise _FetchError(str(cause) or repr(cause)) from error
        except Exception as error:  # of many libraries below it
            raise _FetchError(str(error) or repr(error)) from error
        told = {name: str(found[name]) for name in _FACTS if found.get(name) is not None}
        return {"size": found.get("size"), **told}

    def _copy(self, path: str, copy: str, facts: Key) -> None:
        from fsspec.callbacks import TqdmCallback

        look: dict[str, Any] = {
            "desc": f"{self._source}: fetching", "unit": "B", "unit_scale": True,
            "delay": _PATIENCE, "disable": None,
        }  # fmt: skip
        try:
            self._system.get_file(path, copy, callback=TqdmCallback(tqdm_kwargs=look))
        except Exception as error:  # of many libraries below it
            raise _FetchError(str(error) or repr(error)) from error
        size = os.path.getsize(copy)
        if facts["size"] not in (None, size):
            raise _FetchError(f"{size} bytes came, the server has {facts['size']}")
        if self._facts(path) != facts:
            raise _FetchError("it has changed meanwhile")
