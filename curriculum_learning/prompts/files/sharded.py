"""Shards: the files of a folder or a glob, as one source."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from curriculum_learning.prompts.rows import Record, Rows, fingerprint


class ShardedRows(Rows):
    """The rows of several files, one file after the other.

    Args:
        shards: The rows of each file, at least one; they have an end.
    """

    def __init__(self, shards: Sequence[Rows]) -> None:
        self._shards = list(shards)
        sizes = [len(shard) for shard in shards]
        self._starts = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        self.size = int(self._starts[-1])
        self.is_json = all(shard.is_json for shard in shards)
        prints = [shard.fingerprint for shard in shards]
        listed = [[each["rows"], each["bytes"], each["hash"]] for each in prints]
        digest = hashlib.blake2b(repr(listed).encode(), digest_size=16).hexdigest()
        total = sum(each["bytes"] for each in prints)
        self.fingerprint = {**fingerprint(self.size, total, digest), "shards": listed}

    def records(self, indices: Sequence[int]) -> list[Record]:
        """See ``Rows``: reads the rows of each shard together."""
        rows = np.asarray(indices, dtype=np.int64)
        which = self._which(rows)
        records: list[Record] = [{}] * len(rows)
        for number in np.unique(which).tolist():
            places = np.flatnonzero(which == number)
            inside = (rows[places] - self._starts[number]).tolist()
            read = self._shards[number].records(inside)
            for place, record in zip(places.tolist(), read, strict=True):
                records[place] = record
        return records

    def _which(self, rows: Any) -> Any:
        """Returns the number of the shard of each row; an empty one has none."""
        return np.searchsorted(self._starts, rows, side="right") - 1

    def where(self, index: int) -> str:
        """See ``Rows``."""
        number = int(self._which(index))
        return self._shards[number].where(index - int(self._starts[number]))

    def grown_from(self, fingerprint: Mapping[str, Any]) -> str | None:
        """See ``Rows``: shards may have been added at the end, and the last one may have grown."""
        before: Any = fingerprint.get("shards")
        if not before or len(before) > len(self._shards):
            return "there are fewer shards"
        now = self.fingerprint["shards"]
        changed = [number for number, entry in enumerate(before) if entry != now[number]]
        if not changed:
            return None
        if changed != [len(now) - 1]:
            return f"shard {changed[0] + 1} has changed"
        rows, size, digest = before[-1]
        return self._shards[-1].grown_from({"rows": rows, "bytes": size, "hash": digest})

    def parts(self, span: range) -> list[tuple[Rows, range]]:
        """See ``Rows``."""
        parts: list[tuple[Rows, range]] = []
        for number, shard in enumerate(self._shards):
            first = int(self._starts[number])
            start, stop = max(span.start - first, 0), min(span.stop - first, len(shard))
            if start < stop:
                parts += shard.parts(range(start, stop))
        return parts

    def close(self) -> None:
        """See ``Rows``."""
        for shard in self._shards:
            shard.close()
