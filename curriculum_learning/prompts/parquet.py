"""Rows of a parquet file, read from an Arrow copy of it that is mapped into memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curriculum_learning.errors import DataError
from curriculum_learning.prompts.cache import Cache, file_key
from curriculum_learning.prompts.rows import Record, content_hash, fingerprint

_BATCH = 1 << 16
"""Rows that are converted at once."""
_SMALL = 1 << 20
"""Bytes; smaller files are read again each time."""


class ParquetRows:
    """The rows of a parquet file.

    Parquet cannot be read row by row. So the file is converted once, batch by batch, and the copy
    in the cache is mapped into memory. Small files, and all without a cache, are held in memory.
    """

    def __init__(self, path: str, source: str, span: slice, cache: Cache) -> None:
        self.path = path
        self._remake = (path, source, span, cache)
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            message = f"reading {path} needs pyarrow; pip install 'curriculum_learning[parquet]'"
            raise self._error(source, message) from None
        try:
            self._batches, digest = _open(path, cache)
        except (OSError, pyarrow.ArrowException) as error:
            message = f"{path} is not a readable parquet file: {error}; write it anew"
            raise self._error(source, message) from None
        self._ends = np.cumsum([len(batch) for batch in self._batches])
        start, stop, _ = span.indices(int(self._ends[-1]) if self._batches else 0)
        self._first, self._length = start, max(stop - start, 0)
        self.fingerprint = fingerprint(self._length, span, os.path.getsize(path), digest)

    def _error(self, source: str, problem: str) -> DataError:
        message = f"source '{source}': {problem}"
        return DataError(message, source=source, key="prompt_data", value=self.path)

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


def _open(path: str, cache: Cache) -> tuple[list[Any], str]:
    """Returns the batches of a file and the hash of its content."""
    import pyarrow.parquet

    size = os.path.getsize(path)
    if size >= _SMALL:
        key = {"what": "arrow", **file_key(path)}
        with cache.reading(key) as folder:
            if folder is not None:
                return _mapped(folder)
        with cache.writing(key) as folder:
            if folder is not None:
                _convert(path, folder, content_hash(path, size))
                return _mapped(folder)
    with pyarrow.parquet.ParquetFile(path) as file:
        schema = _storable(file.schema_arrow)
        tables = [schema.empty_table(), *_pieces(file, schema)]
    return pyarrow.concat_tables(tables).combine_chunks().to_batches(), content_hash(path, size)


def _pieces(file: Any, schema: Any) -> Iterator[Any]:
    """Yields tables of some of the rows, one row group after the other.

    Each may have dictionaries of its own, which cannot be read together.
    """
    import pyarrow

    for group in range(file.num_row_groups):
        for batch in file.iter_batches(_BATCH, row_groups=[group]):
            yield pyarrow.Table.from_batches([batch]).cast(schema)


def _convert(path: str, folder: Path, digest: str) -> None:
    import pyarrow
    import pyarrow.parquet

    copy = str(folder / "rows.arrow")
    with pyarrow.parquet.ParquetFile(path) as file:
        schema = _storable(file.schema_arrow)
        with pyarrow.ipc.new_file(copy, schema) as writer:
            for table in _pieces(file, schema):
                writer.write_table(table)
    (folder / "hash").write_text(digest)


def _mapped(folder: Path) -> tuple[list[Any], str]:
    import pyarrow

    # The batches hold the mapped memory; the file need not stay open.
    with pyarrow.memory_map(str(folder / "rows.arrow")) as mapped:
        batches = pyarrow.ipc.open_file(mapped).read_all().to_batches()
    return batches, (folder / "hash").read_text()


def _storable(schema: Any) -> Any:
    """Returns a schema of the same values whose rows can be copied and taken one by one.

    An Arrow file has one dictionary for a column, a parquet file may have one for each row group;
    and not all that can be done with texts can be done with views of them.
    """
    import pyarrow

    return pyarrow.schema(
        [field.with_type(_plain_type(field.type)) for field in schema], metadata=schema.metadata
    )


def _plain_type(kind: Any) -> Any:
    import pyarrow

    def inside(field: Any) -> Any:
        return field.with_type(_plain_type(field.type))

    types = pyarrow.types
    if types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    for name, plain in (("string_view", "large_string"), ("binary_view", "large_binary")):
        if getattr(types, f"is_{name}", lambda kind: False)(kind):  # since pyarrow 16
            return getattr(pyarrow, plain)()
    if types.is_struct(kind):
        return pyarrow.struct([inside(kind.field(place)) for place in range(kind.num_fields)])
    if types.is_list(kind):
        return pyarrow.list_(inside(kind.value_field))
    if types.is_large_list(kind):
        return pyarrow.large_list(inside(kind.value_field))
    return kind
