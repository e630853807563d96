"""The typed configuration of the samplers, from verl's ``config.data`` or any mapping."""

from __future__ import annotations

import dataclasses
import difflib
import logging
from collections.abc import Mapping
from typing import Any, TypeVar

from curriculum_learning.config.curricula import (
    AdaptiveConfig,
    RewardConfig,
    TimeConfig,
    is_flag,
    is_number,
    key,
    whole,
)
from curriculum_learning.config.data_source import plain
from curriculum_learning.errors import ConfigurationError

logger = logging.getLogger(__name__)

_OTHERS_KEYS = ("class_path", "class_name")
"""Keys of the sampler node that are verl's."""

_DEFAULT_SEED = 1


def _are_weights(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and is_number(weight) and weight >= 0
        for name, weight in value.items()
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplerConfig(AdaptiveConfig):
    """``MultiSourceSampler``; its keys are those of all samplers."""

    batch_size: int = key(dataclasses.MISSING, whole(1), "a whole number >= 1")
    seed: int = key(_DEFAULT_SEED, whole(0), "a whole number >= 0")
    sampling_strategy: str = key(
        "weighted", lambda value: value in ("weighted", "proportional"), "weighted or proportional"
    )
    source_weights: Mapping[str, float] = key(
        {}, _are_weights, "a mapping from source to a number >= 0"
    )
    adaptive_weights: bool = key(False, is_flag, "true or false")
    journal: str | None = key(
        None, lambda value: value is None or (isinstance(value, str) and value != ""), "a file"
    )

    def __post_init__(self) -> None:
        """Check what concerns several keys."""
        if self.sampling_strategy == "proportional" and self.source_weights:
            raise _error(
                "source_weights", dict(self.source_weights),
                "has no effect with sampling_strategy: proportional; give one of the two",
            )  # fmt: skip
        if self.source_weights and not any(self.source_weights.values()):
            raise _error("source_weights", dict(self.source_weights), "must have one above 0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimeSamplerConfig(SamplerConfig, TimeConfig):
    """``TimeCurriculumSampler``."""

    complexity_source: str = key("logicif", lambda value: isinstance(value, str), "a source")

    def __post_init__(self) -> None:
        """Check what concerns several keys."""
        SamplerConfig.__post_init__(self)
        TimeConfig.__post_init__(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardSamplerConfig(SamplerConfig, RewardConfig):
    """``RewardCurriculumSampler``."""

    complexity_source: str = key("logicif", lambda value: isinstance(value, str), "a source")

    def __post_init__(self) -> None:
        """Check what concerns several keys."""
        SamplerConfig.__post_init__(self)
        RewardConfig.__post_init__(self)


_Config = TypeVar("_Config", bound=SamplerConfig)


def read_sampler_config(data_config: Any, config_type: type[_Config]) -> _Config:
    """Read and check ``data_config`` and its ``sampler`` node.

    Raises:
        ConfigurationError: A key is missing, unknown or out of range; it names key and value.
    """
    data = plain(data_config)
    if not isinstance(data, Mapping):
        raise _error("data_config", data, "must be a mapping")
    node = plain(data.get("sampler")) or {}
    if not isinstance(node, Mapping):
        raise _error("sampler", node, "must be a mapping")
    fields = {field.name: field for field in dataclasses.fields(config_type)}
    batch_key = "train_batch_size" if data.get("gen_batch_size") is None else "gen_batch_size"
    seed_key = "data.seed" if node.get("seed") is None else "sampler.seed"
    values: dict[str, Any] = {"batch_size": data.get(batch_key)}
    seed = data.get("seed") if node.get("seed") is None else node["seed"]
    if seed is not None:
        values["seed"] = seed
    for name, value in node.items():
        if name in _OTHERS_KEYS or name == "seed":
            continue
        if name not in fields or name == "batch_size":
            _refuse(name, value, config_type)
            continue
        values[name] = plain(value)
    missing = [
        name
        for name, field in fields.items()
        if name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    for name in missing:
        raise _error(f"sampler.{name}", None, f"is required: {fields[name].metadata['meaning']}")
    for name, value in values.items():
        if not fields[name].metadata["check"](value):
            where = {"batch_size": batch_key, "seed": seed_key}.get(name, f"sampler.{name}")
            raise _error(where, value, f"must be {fields[name].metadata['meaning']}")
    return config_type(**values)


def _refuse(key: str, value: Any, config_type: type[SamplerConfig]) -> None:
    """Raise for an unknown key; of one that only other samplers know, warn."""
    known = {
        field.name
        for kind in (SamplerConfig, TimeSamplerConfig, RewardSamplerConfig)
        for field in dataclasses.fields(kind)
    } - {"batch_size"}
    if key in known:
        logger.warning("sampler.%s (%r) has no effect with this class_name", key, value)
        return
    near = difflib.get_close_matches(str(key), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
    raise _error(f"sampler.{key}", value, f"is not a key of the samplers; {hint}")


def _error(key: str, value: Any, problem: str) -> ConfigurationError:
    return ConfigurationError(f"{key} ({value!r}) {problem}", key=key, value=value)
