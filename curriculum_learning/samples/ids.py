"""The ids that samples carry, and samples in whatever iterables an engine puts them."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any


def whole_id(value: Any) -> int | None:
    """Returns an integer of any type (Python, numpy, torch) as an int; None for anything else."""
    if type(value) is int:
        return value
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def group_id(sample: Any) -> int | None:
    """Returns the ``group_index`` of a sample; None if it has none."""
    return whole_id(getattr(sample, "group_index", None))


def in_lists(samples: Iterable[Any]) -> list[Any]:
    """Returns samples, nested in any iterables, as lists that can be read more than once."""
    return [in_lists(item) if _holds_samples(item) else item for item in samples]


def _holds_samples(item: Any) -> bool:
    if isinstance(item, (list, tuple)):
        return True
    if hasattr(item, "group_index") or isinstance(item, (str, bytes, Mapping)):
        return False
    return isinstance(item, Iterable)
