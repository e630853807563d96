"""Describes a configuration as text, to tell whether two clients of a service mean the same."""

from __future__ import annotations

import dataclasses
import numbers
import zlib
from collections.abc import Collection, Mapping
from pathlib import PurePath
from types import CodeType
from typing import Any

from curriculum_learning.config.plan import DataSourcePlan
from curriculum_learning.config.sources import CAPS_KEY
from curriculum_learning.config.weights import CheckedSchedule
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.weights.schedules import Constant
from curriculum_learning.weights.shares import KEY as WEIGHTS_KEY

_OWN = frozenset(("cache", "dump_details", "metrics_callback"))
"""Fields that change no group: each client may have its own."""

_OWN_OF_SERVICE = frozenset(("name", "namespace", "resume", "prefetch"))
"""Fields of ``ray_service`` that clients need not have alike."""

_LISTED = {"name": "sources", "weight": WEIGHTS_KEY, "reward_cap": CAPS_KEY}
"""Fields of sources that are described for all sources together, and their names there."""


def description(config: DataSourcePlan) -> dict[str, str]:
    """Returns what decides which groups are served, as text by key; functions by their path.

    It is the same in every process that has the same configuration and the same code.
    """
    texts = {
        key: _text([getattr(source, name) for source in config.sources])
        for name, key in _LISTED.items()
    }
    plans: dict[str, tuple[Any, Collection[str]]] = {
        "": (config, (*_OWN, "sources", "service")),
        "ray_service.": (config.service, _OWN_OF_SERVICE),
        **{f"{source.name}.": (source, _LISTED) for source in config.sources},
    }
    for prefix, (plan, left_out) in plans.items():
        for field in dataclasses.fields(plan):
            if field.name not in left_out:
                texts[prefix + field.name] = _text(getattr(plan, field.name))
    return texts


def refuse_other(mine: Mapping[str, str], theirs: Mapping[str, str], name: str) -> None:
    """Refuses a client whose description differs from that of the service.

    Raises:
        ConfigurationError: Names all keys that differ, with both values.
    """
    keys = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
    if keys:
        differences = "; ".join(
            f"{key}: {theirs.get(key, 'absent')} here, {mine.get(key, 'absent')} there"
            for key in keys
        )
        raise ConfigurationError(
            f"the service '{name}' was made from another configuration ({differences}); give all "
            f"clients the same one, or this one another ray_service.name",
            key=keys[0],
            value=keys,
        )


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{_text(k)}: {_text(value[k])}" for k in sorted(value, key=str)) + "}"
        )
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_text, value)) + "]"
    if value is None or isinstance(value, (str, numbers.Number, PurePath)):
        return repr(str(value) if isinstance(value, PurePath) else value)
    if isinstance(value, CodeType):
        return f"code {zlib.crc32(value.co_code):08x} {_text(value.co_consts)} {value.co_names}"
    if isinstance(value, (Constant, CheckedSchedule)):
        return _text(value.configured if isinstance(value, CheckedSchedule) else value.weight)
    path = getattr(value, "__qualname__", None)
    if path is not None:  # a function or a class
        return f"{value.__module__}.{path}{_inside(value, path)}"
    if hasattr(value, "__dict__"):
        return f"{_text(type(value))}{_text(vars(value))}"
    return repr(value)


def _inside(function: Any, path: str) -> str:
    """Returns the code of a function without a path of its own, and the values it uses."""
    if "<" not in path:
        return ""
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    return f" {_text(getattr(function, '__code__', None))} {_text(cells)}"
