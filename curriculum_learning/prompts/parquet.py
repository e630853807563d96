"""Rows of a parquet file: mapped into memory as Arrow data that is kept in the cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from curriculum_learning.errors import DataError
from curriculum_learning.prompts.cache import Cache, file_key
from curriculum_learning.prompts.rows import Record, fingerprint

_BATCH = 1 << 16
"""Rows that are converted at once."""
_SMALL = 1 << 20
"""Bytes; smaller files are read again each time."""
_CHUNK = 1 << 20


class ParquetRows:
    """The rows of a parquet file.

    Parquet cannot be read row by row, so the file is converted once, batch by batch, and the copy
    in the cache is mapped into memory. Without a cache, and of small files, the rows are held in
    memory.
    """

    def __init__(self, path: str, source: str, span: slice, cache: Cache) -> None:
        self.path = path
        self._remake = (path, source, span, cache)
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise DataError(
                f"source '{source}': reading {path} needs pyarrow; "
                f"pip install 'curriculum_learning[parquet]'",
                source=source,
                key="prompt_data",
                value=path,
            ) from None
        try:
            kept = None
            if os.path.getsize(path) >= _SMALL:
                kept = cache.get({"what": "arrow", **file_key(path)}, self._convert, _mapped)
            if kept is None:
                table = pyarrow.parquet.read_table(path)
                kept = table.combine_chunks().to_batches(), _digest(path)
            batches, digest = kept
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(
                f"source '{source}': {path} is not a readable parquet file: {error}; write it anew",
                source=source,
                key="prompt_data",
                value=path,
            ) from None
        self._batches = batches
        self._ends = np.cumsum([len(batch) for batch in batches])
        start, stop, _ = span.indices(int(self._ends[-1]) if batches else 0)
        self._first, self._length = start, max(stop - start, 0)
        self.fingerprint = fingerprint(self._length, span, os.path.getsize(path), digest)

    def _convert(self, folder: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(self.path) as file:
            schema = file.schema_arrow
            with pyarrow.ipc.new_file(str(folder / "rows.arrow"), schema) as writer:
                for batch in file.iter_batches(_BATCH):
                    writer.write_batch(batch)
        (folder / "facts.json").write_bytes(orjson.dumps([_digest(self.path)]))

    def __len__(self) -> int:
        return self._length

    def __reduce__(self) -> tuple[Any, ...]:
        return ParquetRows, self._remake

    def records(self, indices: Sequence[int]) -> list[Record]:
        """See ``Rows``."""
        rows = np.asarray(indices, dtype=np.int64) + self._first
        which = np.searchsorted(self._ends, rows, side="right")
        records: list[Record] = [{}] * len(rows)
        for number in np.unique(which).tolist():
            places = np.flatnonzero(which == number)
            batch = self._batches[number]
            inside = rows[places] - (self._ends[number] - len(batch))
            for place, record in zip(places.tolist(), batch.take(inside).to_pylist(), strict=True):
                records[place] = record
        return records

    def grown_from(self, fingerprint: Mapping[str, Any]) -> str | None:
        """See ``Rows``."""
        return "only files of lines can be seen to have grown; this one was written anew"

    def where(self, index: int) -> str:
        """See ``Rows``."""
        return f"{self.path}, row {self._first + index}"

    def close(self) -> None:
        """See ``Rows``."""
        self._batches = []


def _mapped(folder: Path) -> tuple[list[Any], str]:
    """The batches of a converted file, and the hash of the original."""
    import pyarrow

    file = pyarrow.ipc.open_file(pyarrow.memory_map(str(folder / "rows.arrow")))
    (digest,) = orjson.loads((folder / "facts.json").read_bytes())
    return file.read_all().to_batches(), digest


def _digest(path: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
