"""Checks of the whole numbers that methods take."""

from __future__ import annotations

import numbers
from typing import Any

from curriculum_learning.errors import ConfigurationError

MOST_ROLLOUTS = 2**31 - 2
"""The last rollout and step that a state can hold."""


def whole_number(
    value: Any, method: str, key: str, kind: str = "a whole number from 0 to 2**31 - 2"
) -> int:
    """Returns a whole number from 0 to ``MOST_ROLLOUTS``, numpy's as an int.

    Args:
        value: The number.
        method: The method that takes it, for the error.
        key: Its argument.
        kind: What it must be, for the error.

    Raises:
        ConfigurationError: It is something else.
    """
    if type(value) is int and 0 <= value <= MOST_ROLLOUTS:  # by far the most frequent
        return value
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if is_whole and 0 <= int(value) <= MOST_ROLLOUTS:
        return int(value)
    raise ConfigurationError(
        f"{method}: {key} is {value!r}; it must be {kind}", key=key, value=value
    )
