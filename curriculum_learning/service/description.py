"""Describes a configuration as text, to tell whether two clients of a service mean the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from curriculum_learning.config.data_source import ADAPTIVE_KEY, FUNCTIONS, PLAIN, RULE_KEY
from curriculum_learning.config.plain import plain, values_of
from curriculum_learning.config.plan import DataSourcePlan, path_of
from curriculum_learning.config.sources import CAPS_KEY, CURRICULA_KEY, PATHS_KEY
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.weights.shares import KEY as WEIGHTS_KEY

_OWN = {"cache", "dump_details", "metrics_callback"}
"""Fields that change no group: each client may have its own."""

_OWN_OF_SERVICE = {"name", "namespace", "resume", "prefetch"}
"""Fields of ``ray_service`` that clients need not have alike."""

_CODE = {name for name, key in PLAIN.items() if key in FUNCTIONS} | {"rule", "sources", "service"}
_CODE_OF_SOURCE = {"kind", "weight", "reward_cap", "curriculum"}
"""Fields that hold code, or parts: described as they were configured, or part by part."""

_CONFIGURED = (
    *(PATHS_KEY, WEIGHTS_KEY, CAPS_KEY, CURRICULA_KEY, RULE_KEY, ADAPTIVE_KEY),
    *(PLAIN[name] for name in PLAIN if name in _CODE - _OWN),
)
"""The keys of these fields."""


def description(args: Any, config: DataSourcePlan) -> dict[str, str]:
    """Returns what decides which groups are served, as text by key.

    It is the same in every process that has the same configuration; of code only the text that
    names it, a lambda or a dotted path, is compared.

    Args:
        args: The configuration.
        config: What was read from it.
    """
    values = values_of(args, _CONFIGURED)
    texts = {key: _text(values.get(key)) for key in _CONFIGURED}
    texts["sources"] = _text([source.name for source in config.sources])
    parts: list[tuple[str, Any, set[str]]] = [
        ("", config, _CODE | _OWN),
        ("ray_service.", config.service, _OWN_OF_SERVICE),
        *((f"{source.name}.", source, _CODE_OF_SOURCE) for source in config.sources),
    ]
    for prefix, part, left_out in parts:
        for field in dataclasses.fields(part):
            if field.name not in left_out:
                texts[prefix + field.name] = _text(plain(getattr(part, field.name)))
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
    """Writes plain data with the keys of mappings in order, functions by their path."""
    if isinstance(value, Mapping):
        items = [f"{_text(key)}: {_text(value[key])}" for key in sorted(value, key=str)]
        return f"{{{', '.join(items)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return path_of(value) if callable(value) else repr(value)
