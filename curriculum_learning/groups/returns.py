"""Checks that the groups an engine gives back are groups it was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from curriculum_learning.errors import GroupError
from curriculum_learning.groups.buffers import Buffers
from curriculum_learning.groups.in_flight import GroupLedger
from curriculum_learning.groups.maker import GroupMaker
from curriculum_learning.groups.served import NO_SOURCE, Served
from curriculum_learning.samples.codec import encode_group
from curriculum_learning.samples.ids import whole_id
from curriculum_learning.samples.sample import Group, flatten
from curriculum_learning.samples.tags import (
    EPOCH_KEY,
    ROW_KEY,
    SOURCE_KEY,
    SOURCE_NAME_KEY,
    STEP_KEY,
)


class Returned(NamedTuple):
    """A group that passed the check."""

    group_index: int
    served: Served
    group: Group
    data: bytes
    """The group, encoded for a checkpoint."""


class ReturnCheck:
    """Checks all groups of one ``add_samples`` call before any is taken in.

    Args:
        maker: Knows the sample type, the size of groups and the sources.
        ledger: Knows what was served.
        buffers: The groups that wait already.
    """

    def __init__(self, maker: GroupMaker, ledger: GroupLedger, buffers: Buffers) -> None:
        self._sample_type, self._size = maker.sample_type, maker.size
        self._sources = maker.sources
        self._ledger = ledger
        self._buffers = buffers

    def accept(self, samples: Any, encoded: Sequence[bytes | Exception]) -> list[Returned]:
        """Returns the groups with the way they were served.

        Args:
            samples: The groups; None is none.
            encoded: What ``encode_groups`` returned for them.

        Raises:
            GroupError: One of them cannot come back; the message names it.
        """
        if samples is None:  # as slime takes it
            return []
        if not isinstance(samples, (list, tuple)):
            raise GroupError(f"add_samples takes a list of groups, not a {type(samples).__name__}")
        accepted: dict[int, Returned] = {}
        for number, group in enumerate(samples):
            what = f"add_samples: group {number} of {len(samples)}"
            leaves = self._leaves(group, what)
            group_index = _group_index(leaves, what)
            what += f", group_index {group_index}"
            source = self._source(leaves, what)
            served = self._served(group_index, leaves, source, what)
            if group_index in accepted or group_index in self._buffers:
                raise _error(
                    f"{what}, was given back already; give each group back once",
                    "group_index", group_index, source,
                )  # fmt: skip
            self._check_indices(leaves, served, what)
            data = encoded[number]
            if isinstance(data, Exception):
                raise _error(
                    f"{what} of source '{source}': {data}", "group_index", group_index, source
                )
            accepted[group_index] = Returned(group_index, served, group, data)
        return list(accepted.values())

    def _leaves(self, group: Any, what: str) -> list[Any]:
        if not isinstance(group, list):
            raise GroupError(f"{what} is a {type(group).__name__}, not a list of samples")
        if len(group) != self._size:
            raise _error(
                f"{what} has {len(group)} samples; a group has n_samples_per_prompt={self._size}: "
                f"give groups back whole",
                "n_samples_per_prompt", len(group),
            )  # fmt: skip
        leaves = list(flatten(group))
        if any(item == [] for item in group) or not all(
            isinstance(sample, self._sample_type) for sample in leaves
        ):
            raise GroupError(f"{what} holds objects that are not {self._sample_type.__qualname__}s")
        return leaves

    def _source(self, leaves: list[Any], what: str) -> str:
        if self._sources == (NO_SOURCE,):
            return NO_SOURCE
        tags = {_plain(tag) for key in (SOURCE_KEY, SOURCE_NAME_KEY) for tag in _tags(leaves, key)}
        if len(tags) == 1 and (tag := next(iter(tags))) in self._sources:
            return str(tag)
        names = sorted(map(str, tags))
        raise _error(
            f"{what}, has the source tags {names} in metadata['{SOURCE_KEY}'] and "
            f"metadata['{SOURCE_NAME_KEY}']; all its samples must carry the one they were served "
            f"with; the sources are {list(self._sources)}",
            SOURCE_KEY, names,
        )  # fmt: skip

    def _served(self, group_index: int, leaves: list[Any], source: str, what: str) -> Served:
        if group_index not in self._buffers:
            self._ledger.check_return(group_index, what)
        served = self._ledger.served(group_index) or _served_from_tags(leaves, source, what)
        if served.source != source:
            raise _error(
                f"{what}, is tagged as source '{source}' but was served from '{served.source}'",
                SOURCE_KEY, source, source,
            )  # fmt: skip
        for key, expected in ((ROW_KEY, served.row), (EPOCH_KEY, served.epoch)):
            tags = {_plain(tag) for tag in _tags(leaves, key)} - {None, expected}
            if tags:
                raise _error(
                    f"{what} of source '{source}', has {sorted(map(str, tags))} in "
                    f"metadata['{key}']; the group of this id was served with {expected}: it is "
                    f"a group of another run or data source",
                    key, sorted(map(str, tags)), source,
                )  # fmt: skip
        return served

    def _check_indices(self, leaves: list[Any], served: Served, what: str) -> None:
        expected = set(range(served.first_index, served.first_index + self._size))
        found = {_plain(sample.index) for sample in leaves}
        if found == expected:  # of a fan-out group several samples share an index
            return
        raise _error(
            f"{what} of source '{served.source}', has samples with index "
            f"{sorted(map(str, found))}; it was served with {min(expected)} to {max(expected)}",
            "index", sorted(map(str, found)), served.source,
        )  # fmt: skip


def encode_groups(samples: Any) -> list[bytes | Exception]:
    """Encodes each group, or says why it cannot; returns [] if ``samples`` is no list.

    It runs before the check and outside of the lock, because it takes long.
    """
    if not isinstance(samples, (list, tuple)):
        return []
    return [_encoded(group) for group in samples]


def _encoded(group: Any) -> bytes | Exception:
    try:
        return encode_group(group)
    except Exception as error:  # the check names what is wrong with the group
        return error


def _group_index(leaves: list[Any], what: str) -> int:
    ids = {_plain(sample.group_index) for sample in leaves}
    if len(ids) == 1 and isinstance(group_index := next(iter(ids)), int):
        return group_index
    names = sorted(map(str, ids))
    raise _error(
        f"{what} has the group_index {names}; all samples of a group carry the one that "
        f"get_samples gave them",
        "group_index", names,
    )  # fmt: skip


def _served_from_tags(leaves: list[Any], source: str, what: str) -> Served:
    """Reads from a group how it was served, where the ledger no longer knows it."""
    indices = [index for sample in leaves if (index := whole_id(sample.index)) is not None]
    if source == NO_SOURCE:
        return Served(source, min(indices, default=-1), 0, 0, 0)
    metadata = leaves[0].metadata
    tags = [metadata.get(key) for key in (ROW_KEY, EPOCH_KEY, STEP_KEY)]
    numbers = [number for tag in tags if (number := whole_id(tag)) is not None]
    if len(numbers) < len(tags):
        raise _error(
            f"{what} of source '{source}', has lost metadata['{ROW_KEY}'], ['{EPOCH_KEY}'] or "
            f"['{STEP_KEY}'], without which its prompt is not known; keep them",
            ROW_KEY, tags, source,
        )  # fmt: skip
    row, epoch, step = numbers
    return Served(source, min(indices, default=-1), row, epoch, step)


def _tags(leaves: list[Any], key: str) -> list[Any]:
    """Returns an entry of the metadata of each sample; None where it is missing."""
    return [
        sample.metadata.get(key) if isinstance(sample.metadata, dict) else None for sample in leaves
    ]


def _plain(value: Any) -> Any:
    """Returns names as they are and ids as int, anything else as text, which no id equals."""
    if value is None or isinstance(value, str):
        return value
    number = whole_id(value)
    return repr(value) if number is None else number


def _error(problem: str, key: str, value: object, source: str | None = None) -> GroupError:
    return GroupError(problem, source=source, key=key, value=value)
