"""How a group was handed out, and the packed entries that keep account of it."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

NO_SOURCE = ""
"""The source of groups whose prompts are the engine's own (``rollout_global_dataset: false``)."""

_ENTRY = struct.Struct("<I4q?")


class Served(NamedTuple):
    """How a group was last handed out. Its prompt can be made again from its row."""

    source: str
    first_index: int
    """The id of its first sample."""
    row: int
    epoch: int
    step: int
    """The rollout step at which it was last served."""
    rewarded: bool = False
    """Whether its rewards have been counted."""


class Partial(NamedTuple):
    """A group as it last came back unfinished."""

    data: bytes
    """The group, encoded."""
    begun: int | None
    """The rollout step at which its first token was generated; None if it has no token."""


class Packer:
    """Packs ``Served`` into 37 bytes: thousands of groups are in flight for long."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        """The sources by the numbers that entries hold."""
        self._numbers: dict[str, int] = {}

    def pack(self, served: Served) -> bytes:
        """Returns the entry of ``served``."""
        source = served[0]
        number = self._numbers.get(source)
        if number is None:
            number = self._numbers[source] = len(self.sources)
            self.sources.append(source)
        return _ENTRY.pack(number, *served[1:])

    def unpack(self, entry: bytes) -> Served:
        """Returns what ``pack`` packed."""
        number, *numbers = _ENTRY.unpack(entry)
        return Served(self.sources[number], *numbers)

    def state_of(self, entries: Mapping[int, bytes]) -> dict[str, Any]:
        """Returns entries by group as plain data, which ``listed`` reads.

        It joins bytes and unpacks nothing, since the engine waits while a state is taken.
        """
        return {
            "sources": list(self.sources),
            "ids": array("q", entries).tobytes(),
            "served": b"".join(entries.values()),
        }


def listed(packed: Mapping[str, Any]) -> list[list[Any]]:
    """Lists the groups of a packed state: the id of each and the fields of ``Served``."""
    try:
        entries = list(_ENTRY.iter_unpack(packed["served"]))
    except struct.error as error:
        raise ValueError(f"the list of groups is cut off: {error}") from None
    ids = array("q", packed["ids"])
    return [
        [group_index, packed["sources"][number], *rest]
        for group_index, (number, *rest) in zip(ids, entries, strict=True)
    ]


def packed(groups: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Packs groups again that ``listed`` listed."""
    packer = Packer()
    entries = {group_index: packer.pack(Served(*rest)) for group_index, *rest in groups}
    return packer.state_of(entries)


def step_of(entry: bytes) -> int:
    """Returns the step of an entry."""
    step: int = _ENTRY.unpack(entry)[-2]
    return step
