"""Random access to the rows of one source: the protocol of every prompt file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

Record = dict[str, Any]

_CHUNK = 1 << 20


class Rows(Protocol):
    """Random access to the rows of one source.

    Several threads may call ``records`` at once.
    """

    fingerprint: dict[str, Any]
    """Plain data that changes if the rows do, wherever the file lies; compared on resume."""

    def __len__(self) -> int:
        """Number of rows."""

    def records(self, indices: Sequence[int]) -> list[Record]:
        """Reads the rows at ``indices``, each a new dictionary of its columns."""

    def grown_from(self, fingerprint: Mapping[str, Any]) -> str | None:
        """Returns why these rows do not begin with those of ``fingerprint``; None if they do."""

    def where(self, index: int) -> str:
        """Returns the file and line of a row, for error messages."""

    def close(self) -> None:
        """Closes the file; reading after it is an error."""


def fingerprint(rows: int, span: slice, size: int, digest: str) -> dict[str, Any]:
    """Makes ``Rows.fingerprint`` for ``rows`` rows of a file of ``size`` bytes."""
    return {"rows": rows, "span": [span.start, span.stop], "bytes": size, "hash": digest}


def content_hash(path: str, size: int) -> str:
    """Hashes the first ``size`` bytes of a file."""
    digest = hashlib.blake2b(digest_size=16)
    for chunk in chunks(path, size):
        digest.update(chunk)
    return digest.hexdigest()


def chunks(path: str, size: int) -> Iterator[bytes]:
    """Yields the first ``size`` bytes of a file, piece by piece."""
    with open(path, "rb") as file:
        while size > 0 and (chunk := file.read(min(size, _CHUNK))):
            size -= len(chunk)
            yield chunk
