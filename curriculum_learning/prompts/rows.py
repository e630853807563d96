"""Random access to the rows of one source: what every kind of source gives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from curriculum_learning.errors import DataError

Record = dict[str, Any]


class Rows:
    """Random access to the rows of one source; a kind of source derives from it.

    A row depends on its index alone: the same index gives the same row, also after a resume.
    Several threads may call ``records`` at once.
    """

    size: int | None
    """Number of rows; None if there are rows without end."""

    fingerprint: dict[str, Any]
    """Plain data that changes if the rows do, wherever they lie; compared on resume."""

    levels: Sequence[float] = (0.0,)
    """Complexity of each difficulty level of rows without end: row i has level i % len(levels)."""

    is_json = False
    """The rows hold only types that JSON has."""

    is_generated = False
    """A row is made when it is asked for, so the rows are not all checked at the start."""

    tried = 64
    """How many of generated rows are checked at the start."""

    def __len__(self) -> int:
        if self.size is None:
            raise TypeError("these rows have no end")
        return self.size

    def records(self, indices: Sequence[int]) -> list[Record]:
        """Reads the rows at ``indices``, each a new dictionary of its columns."""
        raise NotImplementedError

    def row(self, index: int) -> Record:
        """Reads one row."""
        return self.records([index])[0]

    def where(self, index: int) -> str:
        """Returns the place of a row, such as file and line, for error messages."""
        raise NotImplementedError

    def grown_from(self, fingerprint: Mapping[str, Any]) -> str | None:
        """Returns why these rows do not begin with those of ``fingerprint``; None if they do."""
        return "only files of lines, and shards added at the end, can be seen to have grown"

    def parts(self, span: range) -> list[tuple[Rows, range]]:
        """Returns the rows that a span consists of: of each shard, the range inside it."""
        return [(self, span)]

    def close(self) -> None:
        """Closes what is open; reading after it is an error."""


def fingerprint(rows: int, size: int, digest: str) -> dict[str, Any]:
    """Makes ``Rows.fingerprint`` for ``rows`` rows of a file of ``size`` bytes."""
    return {"rows": rows, "span": [None, None], "bytes": size, "hash": digest}


def content_hash(pieces: Iterable[bytes]) -> str:
    """Hashes a content that comes in pieces."""
    digest = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def unreadable(source: str, path: str, problem: str) -> DataError:
    """Makes the error of rows that cannot be read."""
    message = f"source '{source}': {problem}"
    return DataError(message, source=source, key="prompt_data", value=path)


def unusable(path: str, source: str, problem: str) -> DataError:
    """Makes the error of an entry of ``prompt_data`` that cannot be used."""
    message = f"prompt_data of source '{source}': {path!r} {problem}"
    return DataError(message, source=source, key="prompt_data", value=path)
