"""The shape of a state: what must hold of its numbers before any of them is believed.

A state file can be crafted. Types and ranges are checked here once, so that a wrong one is refused
when the state is loaded and not met days later. What curricula and source rules keep is theirs to
check.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from curriculum_learning.groups.served import NO_SOURCE, listed

Count = Annotated[int, Meta(ge=0, le=2**53)]
Step = Annotated[int, Meta(ge=0, lt=2**31)]
Units = Annotated[int, Meta(ge=-(2**62), le=2**62)]
Id = Annotated[int, Meta(ge=-1, le=2**53)]
Finite = Annotated[float, Meta(ge=-1e308, le=1e308)]

_Entry = tuple[Count, str, Id, Count, Count, Step, bool]
"""A group: its id, and the fields of ``Served``."""


class _Clock(msgspec.Struct):
    step: Step
    told: bool
    override: Step | None


class _Packed(msgspec.Struct):
    sources: list[str]
    ids: bytes
    served: bytes


class _Groups(msgspec.Struct):
    next_group: Count
    next_index: Count
    size: Annotated[int, Meta(ge=1)]
    accounting: bool
    counts: dict[str, dict[str, Count]]
    presumed: _Packed
    in_flight: _Packed


class _Replaced(msgspec.Struct):
    replaced: Count
    lapsed: Count
    lapsed_before: Count
    credit: Units
    at_bound: bool
    marks: list[tuple[Count, Count, Count, Count]]


class _Replacements(msgspec.Struct):
    sources: dict[str, _Replaced]
    ledger_credit: Units
    batch: Annotated[int, Meta(ge=1, le=2**53)]
    logged: Count
    steps: list[Count]


class _Feedback(msgspec.Struct):
    updates: Count
    results: list[tuple[str, Count | None, Step, list[Finite]]]


class _Place(msgspec.Struct):
    """The place of a source in its order; one with intervals has a place in each of them."""

    epoch: Count | None = None
    offset: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    rows: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    order_name: str | None = None
    intervals: list[_Place] | None = None
    credits: list[Units] | bytes | None = None
    credit: Units = 0
    drawn: Count = 0
    rows_left_out: Count = 0


class _Rule(msgspec.Struct):
    kind: str
    sources: dict[str, Any]


class _Mixture(msgspec.Struct):
    sources: dict[str, _Place] = {}
    rule: _Rule | None = None


class _Shape(msgspec.Struct):
    runs: Annotated[list[Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]], Meta(min_length=1)]
    mixture: _Mixture
    replacements: _Replacements | None
    feedback: _Feedback | None
    clock: _Clock
    logs: bool
    groups: _Groups
    waiting: list[_Entry]
    generated: list[Count]
    generated_begun: list[Count | None]
    generated_data: list[bytes]
    metadata: bytes


def check_types(state: Mapping[str, Any]) -> _Shape:
    """Checks the types and ranges of a state; raises ValueError for what nobody has written."""
    shape = msgspec.convert(state, _Shape)
    for name, place in shape.mixture.sources.items():
        if place.intervals is None and None in (place.epoch, place.offset, place.rows):
            raise ValueError(f"source '{name}' has no place")
    _check_numbers(state["mixture"])
    return shape


def check_shape(state: Mapping[str, Any], sizes: Mapping[str, int | None]) -> None:
    """Checks the types and ranges of a state, and that its groups are of rows that there are.

    Args:
        state: The state, fitted to the configuration.
        sizes: The number of rows of each source; None is without end.

    Raises:
        ValueError: Something in it cannot be what a data source wrote.
    """
    shape = check_types(state)
    groups = shape.groups
    for packed in (groups.in_flight, groups.presumed):
        entries = msgspec.convert(listed(msgspec.structs.asdict(packed)), list[_Entry])
        _check_entries(entries, sizes, groups.next_group)
    _check_entries(shape.waiting, sizes, groups.next_group)
    if shape.feedback is not None:
        for source, row, _, rewards in shape.feedback.results:
            _check_row(source, row or 0, sizes)
            if not rewards:
                raise ValueError(f"a result of '{source}' has no rewards")


def _check_entries(
    entries: Iterable[_Entry], sizes: Mapping[str, int | None], next_group: int
) -> None:
    for group_index, source, _, row, *_ in entries:
        _check_row(source, row, sizes)
        if group_index >= next_group:
            raise ValueError(f"group {group_index} was never served")


def _check_row(source: str, row: int, sizes: Mapping[str, int | None]) -> None:
    if source == NO_SOURCE and not sizes:
        return
    size = sizes[source]
    if size is not None and row >= size:
        raise ValueError(f"source '{source}' has no row {row}")


def _check_numbers(value: Any) -> None:
    """Raises ValueError for numbers that nothing can be computed with, at any depth."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        for item in value:
            _check_numbers(item)
    elif isinstance(value, (int, float)) and not (math.isfinite(value) and abs(value) <= 2**62):
        raise ValueError(f"{value!r:.40} is no usable number")
