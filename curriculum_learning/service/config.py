"""How a service is configured, and whether two clients mean the same data source."""

from __future__ import annotations

import dataclasses
import numbers
import re
import zlib
from collections.abc import Mapping
from pathlib import PurePath
from types import CodeType
from typing import Any

from curriculum_learning.config.data_source import CAPS_KEY, Config, plain
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.weights.parse import KEY as WEIGHTS_KEY

KEY = "ray_service"

_OWN = frozenset(("cache", "dump_details", "metrics_callback"))
"""Fields that each client may have of its own: they change no group."""


@dataclasses.dataclass(frozen=True)
class ServiceConfig:
    """The keys of ``ray_service``; ``docs/ray.md`` says what they mean."""

    name: str = "curriculum_learning"
    namespace: str | None = None
    detached: bool = False
    max_restarts: int = -1
    lease_timeout: float = 60.0
    """Seconds."""
    checkpoint_interval: int = 1000
    """Groups settled between two states."""
    max_leased_groups: int = 4096
    """Of one client; it waits for room beyond that."""
    draw_timeout: float = 600.0
    """Seconds that a request waits for room."""
    prefetch: int = 0
    """Groups that a client holds ready."""
    resume: bool = False


_LEAST: dict[str, float] = {
    "max_restarts": -1,
    "lease_timeout": 0.1,
    "checkpoint_interval": 1,
    "max_leased_groups": 1,
    "draw_timeout": 0,
    "prefetch": 0,
}


def read_service_config(args: Any) -> ServiceConfig:
    """Read ``ray_service`` from ``args``: a mapping, all of whose keys may be left out.

    Raises:
        ConfigurationError: A key is not known, or its value cannot be used.
    """
    values = args.get(KEY) if isinstance(args, Mapping) else getattr(args, KEY, None)
    values = plain(values)
    if values is None:
        return ServiceConfig()
    if not isinstance(values, Mapping):
        raise _error(KEY, values, "must be a mapping")
    fields = {field.name: field for field in dataclasses.fields(ServiceConfig)}
    for key, value in values.items():
        if key not in fields:
            raise _error(f"{KEY}.{key}", value, f"is not known; known are {', '.join(fields)}")
        _check(f"{KEY}.{key}", value, fields[key].default, _LEAST.get(key))
    config = ServiceConfig(**values)
    if not re.fullmatch(r"[\w.-]+", config.name):
        raise _error(f"{KEY}.name", config.name, "must be of letters, digits and '_.-'")
    if config.prefetch > config.max_leased_groups:
        raise _error(
            f"{KEY}.prefetch",
            config.prefetch,
            f"must be at most max_leased_groups ({config.max_leased_groups})",
        )
    return config


def _check(key: str, value: Any, default: Any, least: float | None) -> None:
    if default is None or isinstance(default, str):
        if not isinstance(value, str) and value is not default:
            raise _error(key, value, "must be a text")
    elif isinstance(default, bool):
        if not isinstance(value, bool):
            raise _error(key, value, "must be true or false")
    else:
        kind = numbers.Integral if isinstance(default, int) else numbers.Real
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _error(key, value, f"must be a {'whole ' * isinstance(default, int)}number")
        assert least is not None
        if not float(value) >= least:
            raise _error(key, value, f"must be at least {least:g}")


def _error(key: str, value: object, problem: str) -> ConfigurationError:
    return ConfigurationError(f"{key} ({value!r}) {problem}", key=key, value=value)


def description(args: Any, config: Config) -> dict[str, str]:
    """What decides which groups are served, as text by key; functions by their dotted path.

    It is the same in every process that has the same configuration and the same code.

    Args:
        args: What the configuration was read from; schedules are described as they are there.
        config: The configuration.
    """
    texts = {
        key: _text(plain(args.get(key) if isinstance(args, Mapping) else getattr(args, key, None)))
        for key in (WEIGHTS_KEY, CAPS_KEY)
    }
    texts |= {
        field.name: _text(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if field.name not in _OWN and field.name != "sources"
    }
    for source in config.sources:
        for field in dataclasses.fields(source):
            if field.name in ("weight", "reward_cap"):
                continue
            texts[f"{source.name}.{field.name}"] = _text(getattr(source, field.name))
    texts["sources"] = _text([source.name for source in config.sources])
    return texts


def refuse_other(mine: Mapping[str, str], theirs: Mapping[str, str], name: str) -> None:
    """Refuse a client whose description differs from that of the service.

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
    path = getattr(value, "__qualname__", None)
    if path is not None:  # a function or a class
        return f"{value.__module__}.{path}{_inside(value, path)}"
    if hasattr(value, "__dict__"):
        return f"{_text(type(value))}{_text(vars(value))}"
    return repr(value)


def _inside(function: Any, path: str) -> str:
    """Of a function without a path of its own: its code, and what it has closed over."""
    if "<" not in path:
        return ""
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    return f" {_text(getattr(function, '__code__', None))} {_text(cells)}"
