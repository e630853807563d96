"""Turns configuration values into plain data: dictionaries, lists, numbers and texts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Returns a value without OmegaConf nodes, numpy numbers, tuples and path objects.

    What is none of these, such as a function, stays as it is.
    """
    if type(value).__module__.startswith("omegaconf"):
        from omegaconf import OmegaConf

        return OmegaConf.to_container(value, resolve=True)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (Sequence, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, Real):  # a fraction, say
        return int(value) if isinstance(value, Integral) else float(value)
    return value


def values_of(args: Any, keys: Iterable[str]) -> dict[str, Any]:
    """Returns the values of those ``keys`` that ``args`` has, as plain data.

    Args:
        args: An argparse namespace, a mapping, or an object that has some of the attributes.
        keys: What is read of it.
    """
    if isinstance(args, Mapping):
        return {key: plain(args[key]) for key in keys if key in args}
    return {key: plain(getattr(args, key)) for key in keys if hasattr(args, key)}
