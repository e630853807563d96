"""Rows of an Arrow file, as ``datasets`` writes them too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curriculum_learning.prompts.cache import Cache, file_key
from curriculum_learning.prompts.files.arrow import check, mapped, storable
from curriculum_learning.prompts.files.converted import SMALL, ConvertedRows
from curriculum_learning.prompts.files.packed import is_packed


class ArrowFileRows(ConvertedRows):
    """The rows of an Arrow file or stream: mapped as it is, if its types allow that."""

    def _opened(self, path: str, source: str, cache: Cache) -> list[Any]:
        if not is_packed(path):
            batches = mapped(Path(path))
            if all(batch.schema == storable(batch.schema) for batch in batches[:1]):
                kept = cache if os.path.getsize(path) >= SMALL else Cache(None)
                check(batches, {"what": "valid", **file_key(path)}, kept)
                return batches
        return super()._opened(path, source, cache)

    def _tables(self, path: str) -> Iterator[Any]:
        """See ``ConvertedRows``."""
        import pyarrow

        batches = mapped(Path(path))
        for batch in batches:
            yield pyarrow.Table.from_batches([batch]).cast(storable(batch.schema))
