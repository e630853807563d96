"""Checks of the whole numbers that methods take."""

from __future__ import annotations

import numbers
from typing import Any

from curriculum_learning.errors import ConfigurationError


def whole_number(value: Any, method: str, key: str, kind: str = "a whole number >= 0") -> int:
    """Returns a whole number >= 0, numpy's included, as an int.

    Args:
        value: The number.
        method: The method that takes it, for the error.
        key: Its argument.
        kind: What it must be, for the error.

    Raises:
        ConfigurationError: It is something else.
    """
    if type(value) is int and value >= 0:  # by far the most frequent
        return value
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 0:
        return int(value)
    raise ConfigurationError(
        f"{method}: {key} is {value!r}; it must be {kind}", key=key, value=value
    )
