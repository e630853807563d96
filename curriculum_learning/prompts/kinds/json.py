"""Rows of a json file, and of packed files of lines: read from a copy with one row a line."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from curriculum_learning.prompts.cache import Cache, Kept, file_key
from curriculum_learning.prompts.files.contents import Content, MappedContent
from curriculum_learning.prompts.files.line_index import BOM, line_index
from curriculum_learning.prompts.files.packed import ending_of, unpacked_pieces
from curriculum_learning.prompts.kinds.jsonl import JsonlRows
from curriculum_learning.prompts.rows import unreadable

_SMALL = 1 << 20
"""Bytes; smaller files are read again each time."""


class CopiedLines(JsonlRows):
    """The rows of ``.json``, a list of objects, and of ``.jsonl.gz`` and ``.jsonl.zst``.

    The copy is in the cache, or in a temporary file, and mapped into memory.
    """

    def _opened(self, path: str, cache: Cache) -> tuple[Content, Kept]:
        self._remake = (path, self.source, cache)
        if os.path.getsize(path) >= _SMALL:
            key = {"what": "copied lines", **file_key(path)}
            with cache.reading(key) as folder:
                if folder is not None:
                    return self._mapped(folder)
            with cache.writing(key) as folder:
                if folder is not None:
                    self._copy(path, folder)
                    return self._mapped(folder)
        with tempfile.TemporaryDirectory() as name:
            self._copy(path, Path(name))
            return self._mapped(Path(name))

    def _copy(self, path: str, folder: Path) -> None:
        pieces = unpacked_pieces(path, self.source)
        with open(folder / "lines", "wb") as file:
            file.writelines(self._lines(pieces) if ending_of(path) == ".json" else pieces)
        kept = line_index(str(folder / "lines"), Cache(None))
        np.save(folder / "starts.npy", kept.array)
        (folder / "hash").write_text(kept.facts)

    def _mapped(self, folder: Path) -> tuple[Content, Kept]:
        starts = np.load(folder / "starts.npy")
        return MappedContent(folder / "lines"), Kept(starts, (folder / "hash").read_text())

    def _lines(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yields the objects of a list as lines; a file of lines as it is."""
        content = b"".join(pieces).removeprefix(BOM)
        if content.lstrip()[:1] != b"[":
            yield content
            return
        try:
            items = msgspec.json.decode(content, type=list[msgspec.Raw])
            yield from (msgspec.json.format(bytes(item), indent=-1) + b"\n" for item in items)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            yield from self._lenient_lines(content, error)

    def _lenient_lines(self, content: bytes, error: Exception) -> Iterator[bytes]:
        """Yields the objects of a list that only Python's own parser reads: it knows NaN."""
        try:
            items: list[Any] = json.loads(content)
        except (ValueError, RecursionError):
            problem = f"{self.path} is not valid JSON: {error}; mend it, or write one object a line"
            raise unreadable(
                self.source, self.path, f"{problem} and name the file .jsonl"
            ) from None
        yield from (json.dumps(item).encode() + b"\n" for item in items)

    def where(self, index: int) -> str:
        """See ``Rows``."""
        if ending_of(self.path) == ".json":
            return f"{self.path}, row {index}"
        return super().where(index)

    def __reduce__(self) -> tuple[Any, ...]:
        return CopiedLines, self._remake
