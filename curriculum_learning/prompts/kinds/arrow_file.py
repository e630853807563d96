"""Rows of an Arrow file, as ``datasets`` writes them too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curriculum_learning.prompts.cache import Cache
from curriculum_learning.prompts.kinds.arrow import mapped, storable
from curriculum_learning.prompts.kinds.converted import ConvertedRows
from curriculum_learning.prompts.packed import is_packed


class ArrowFileRows(ConvertedRows):
    """The rows of an Arrow file or stream: mapped as it is, if its types allow that."""

    def _opened(self, path: str, source: str, cache: Cache) -> list[Any]:
        if not is_packed(path):
            batches = mapped(Path(path))
            if all(batch.schema == storable(batch.schema) for batch in batches[:1]):
                return batches
        return super()._opened(path, source, cache)

    def _tables(self, path: str) -> Iterator[Any]:
        """See ``ConvertedRows``."""
        import pyarrow

        batches = mapped(Path(path))
        for batch in batches:
            yield pyarrow.Table.from_batches([batch]).cast(storable(batch.schema))
