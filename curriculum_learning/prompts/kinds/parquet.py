"""Rows of a parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from curriculum_learning.prompts.files.arrow import storable
from curriculum_learning.prompts.files.converted import ConvertedRows

_BATCH = 1 << 16
"""Rows that are converted at once."""


class ParquetRows(ConvertedRows):
    """The rows of a parquet file. Parquet itself cannot be read row by row."""

    def _tables(self, path: str) -> Iterator[Any]:
        """See ``ConvertedRows``: goes through the row groups one after the other.

        Each may have dictionaries of its own, which cannot be read together.
        """
        import pyarrow
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(path) as file:
            schema = storable(file.schema_arrow)
            yield schema.empty_table()
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(_BATCH, row_groups=[group]):
                    yield pyarrow.Table.from_batches([batch]).cast(schema)
