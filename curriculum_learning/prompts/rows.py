"""Random access to the rows of one source: what every kind of file gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

Record = dict[str, Any]


@runtime_checkable
class Rows(Protocol):
    """Random access to the rows of one source.

    ``records`` may be called from several threads at once.
    """

    fingerprint: dict[str, Any]
    """Plain data that changes when the rows do: path-independent, compared on resume."""

    def __len__(self) -> int:
        """Number of rows."""

    def records(self, indices: Sequence[int]) -> list[Record]:
        """The rows at ``indices``, each a fresh dictionary of its columns."""

    def grown_from(self, fingerprint: Mapping[str, Any]) -> str | None:
        """Why these rows do not begin with those of ``fingerprint``; None if they do."""

    def where(self, index: int) -> str:
        """Where a person finds the row, for error messages."""

    def close(self) -> None:
        """Release the file; reading after it is an error."""


def fingerprint(rows: int, span: slice, size: int, digest: str) -> dict[str, Any]:
    """``Rows.fingerprint`` of ``rows`` rows of a file of ``size`` bytes."""
    return {"rows": rows, "span": [span.start, span.stop], "bytes": size, "hash": digest}
