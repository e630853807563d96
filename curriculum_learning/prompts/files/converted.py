"""Files that cannot be read row by row: their rows are read from an Arrow copy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curriculum_learning.prompts.cache import Cache, file_digest, file_key
from curriculum_learning.prompts.files.arrow import ArrowRows, mapped, valid
from curriculum_learning.prompts.files.packed import ending_of, unpacked_file
from curriculum_learning.prompts.rows import fingerprint, unreadable

SMALL = 1 << 20
"""Bytes; smaller files are read again each time."""
_NAME = "rows.arrow"


class ConvertedRows(ArrowRows):
    """The rows of a file that is converted to Arrow; a kind of file derives from it.

    The file is converted once, batch by batch, and the copy in the cache is mapped into memory.
    Small files, and all without a cache, are held in memory.
    """

    def __init__(self, path: str, source: str, cache: Cache) -> None:
        self._remake = (path, source, cache)
        try:
            import pyarrow
        except ImportError:
            problem = f"reading {path} needs pyarrow; pip install 'curriculum_learning[parquet]'"
            raise unreadable(source, path, problem) from None
        try:
            batches = self._opened(path, source, cache)
        except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
            message = f"{path} is not a readable {ending_of(path)[1:]} file: {error}; write it anew"
            raise unreadable(source, path, message) from None
        rows, digest = sum(map(len, batches)), file_digest(path, cache)
        super().__init__(path, batches, fingerprint(rows, os.path.getsize(path), digest))

    def _tables(self, path: str) -> Iterator[Any]:
        """Yields tables with the rows, all of one schema that is ``storable``; at least one."""
        raise NotImplementedError

    def _opened(self, path: str, source: str, cache: Cache) -> list[Any]:
        """Returns the batches of a file."""
        import pyarrow

        if os.path.getsize(path) >= SMALL:
            key = {"what": "arrow", **file_key(path)}
            with cache.reading(key) as folder:
                if folder is not None:
                    return mapped(folder / _NAME)
            with cache.writing(key) as folder:
                if folder is not None:
                    self._convert(path, source, folder / _NAME)
                    return mapped(folder / _NAME)
        with unpacked_file(path, source) as file:
            table = pyarrow.concat_tables(map(valid, self._tables(file))).combine_chunks()
        batches: list[Any] = table.to_batches()
        return batches

    def _convert(self, path: str, source: str, copy: Path) -> None:
        import pyarrow

        with unpacked_file(path, source) as file:
            tables = self._tables(file)
            first = valid(next(tables))
            with pyarrow.ipc.new_file(str(copy), first.schema) as writer:
                writer.write_table(first)
                for table in tables:
                    writer.write_table(valid(table))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._remake
