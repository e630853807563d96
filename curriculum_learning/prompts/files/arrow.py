"""Rows that lie in Arrow batches, and Arrow files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curriculum_learning.prompts.cache import Cache, Kept, Key
from curriculum_learning.prompts.rows import Record, Rows


class ArrowRows(Rows):
    """Rows in Arrow batches: in memory, or in a file that is mapped into it.

    Args:
        path: Where the rows come from, for messages.
        batches: Arrow record batches whose types are ``storable``.
        fingerprint: See ``Rows``.
    """

    def __init__(self, path: str, batches: Sequence[Any], fingerprint: dict[str, Any]) -> None:
        self.path = path
        self.batches = list(batches)
        self.fingerprint = fingerprint
        self._ends = np.cumsum([len(batch) for batch in self.batches], dtype=np.int64)
        self.size = int(self._ends[-1]) if self.batches else 0

    def records(self, indices: Sequence[int]) -> list[Record]:
        """See ``Rows``."""
        rows = np.asarray(indices, dtype=np.int64)
        which = np.searchsorted(self._ends, rows, side="right")
        records: list[Record] = [{}] * len(rows)
        for number in np.unique(which).tolist():
            places = np.flatnonzero(which == number)
            batch = self.batches[number]
            inside = rows[places] - (self._ends[number] - len(batch))
            for place, record in zip(places.tolist(), batch.take(inside).to_pylist(), strict=True):
                records[place] = record
        return records

    def slices(self, span: range) -> Iterator[Any]:
        """Yields batches, cut to a range of rows; nothing is copied."""
        first, last = np.searchsorted(self._ends, [span.start, span.stop - 1], side="right")
        for number in range(int(first), int(last) + 1):
            batch = self.batches[number]
            begins = int(self._ends[number]) - len(batch)
            start = max(span.start - begins, 0)
            yield batch.slice(start, min(span.stop - begins, len(batch)) - start)

    def where(self, index: int) -> str:
        """See ``Rows``."""
        return f"{self.path}, row {index}"

    def close(self) -> None:
        """See ``Rows``."""
        self.batches = []


def storable(schema: Any) -> Any:
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


def valid(table: Any) -> Any:
    """Returns a table or batch; raises ValueError if its memory is not what its types say.

    A damaged file can hold anything, such as text that is none, or offsets to nowhere.
    """
    table.validate(full=True)
    table.slice(0, 1).to_pylist()  # reads the names of columns, which may be no text either
    return table


def check(batches: Sequence[Any], key: Key, cache: Cache) -> None:
    """Validates batches, unless the cache knows that those of ``key`` are valid."""
    if cache.find(key) is None:
        for batch in batches:
            valid(batch)
        cache.keep(key, Kept(np.zeros(0)))


def mapped(path: Path) -> list[Any]:
    """Returns the batches of an Arrow file or stream, mapped into memory."""
    import pyarrow

    # The batches hold the mapped memory; the file need not stay open.
    with pyarrow.memory_map(str(path)) as memory:
        try:
            table = pyarrow.ipc.open_file(memory).read_all()
        except pyarrow.ArrowInvalid:  # it is no file, so it may be a stream
            memory.seek(0)
            table = pyarrow.ipc.open_stream(memory).read_all()
    batches: list[Any] = table.to_batches()
    return batches
