"""The typed configuration of the samplers, from verl's ``config.data`` or any mapping."""

from __future__ import annotations

import dataclasses
import difflib
import logging
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from curriculum_learning.config import plain
from curriculum_learning.errors import ConfigurationError

logger = logging.getLogger(__name__)

_OTHERS_KEYS = ("class_path", "class_name")
"""Keys of the sampler node that are verl's."""

_DEFAULT_SEED = 1


def _key(default: Any, check: Callable[[Any], bool], meaning: str) -> Any:
    metadata = {"check": check, "meaning": meaning}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _number(low: float, high: float = math.inf, *, above: bool = False) -> Callable[[Any], bool]:
    return lambda value: (
        _is_number(value) and (value > low if above else value >= low) and value <= high
    )


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= least
    )


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _are_weights(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and _is_number(weight) and weight >= 0
        for name, weight in value.items()
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """``MultiSourceSampler``; its keys are those of all samplers."""

    batch_size: int = _key(dataclasses.MISSING, _whole(1), "a whole number >= 1")
    seed: int = _key(_DEFAULT_SEED, _whole(0), "a whole number >= 0")
    sampling_strategy: str = _key(
        "weighted", lambda value: value in ("weighted", "proportional"), "weighted or proportional"
    )
    source_weights: Mapping[str, float] = _key(
        {}, _are_weights, "a mapping from source to a number >= 0"
    )
    adaptive_weights: bool = _key(False, _is_flag, "true or false")
    alpha: float = _key(0.1, _number(0, 1, above=True), "a number above 0 and at most 1")
    update_frequency: int = _key(5, _whole(1), "a whole number >= 1")
    temperature: float = _key(1.0, _number(0, above=True), "a number above 0")
    max_source_ratio: float = _key(3.0, _number(1), "a number >= 1")
    journal: str | None = _key(
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
class _ComplexityConfig(SamplerConfig):
    """What the samplers with a curriculum have in common."""

    complexity_source: str = _key("logicif", lambda value: isinstance(value, str), "a source")
    initial_complexity_percentile: float = _key(30, _number(0, 100), "a number from 0 to 100")
    final_complexity_percentile: float = _key(100, _number(0, 100), "a number from 0 to 100")

    def __post_init__(self) -> None:
        """Check what concerns several keys."""
        super().__post_init__()
        if self.initial_complexity_percentile > self.final_complexity_percentile:
            raise _error(
                "initial_complexity_percentile", self.initial_complexity_percentile,
                f"must not be above final_complexity_percentile "
                f"({self.final_complexity_percentile})",
            )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimeSamplerConfig(_ComplexityConfig):
    """``TimeCurriculumSampler``."""

    complexity_warmup_steps: int = _key(100, _whole(1), "a whole number of updates >= 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardSamplerConfig(_ComplexityConfig):
    """``RewardCurriculumSampler``."""

    reward_threshold: float = _key(dataclasses.MISSING, _is_number, "a finite number")
    num_intervals: int = _key(10, _whole(1), "a whole number >= 1")
    reward_alpha: float = _key(0.1, _number(0, 1, above=True), "a number above 0 and at most 1")
    min_batches_per_level: int = _key(10, _whole(0), "a whole number of updates >= 0")
    check_frequency: int = _key(3, _whole(1), "a whole number of updates >= 1")
    focus_new_intervals: bool = _key(False, _is_flag, "true or false")
    interval_decay: float = _key(0.5, _number(0, 1), "a number from 0 to 1")


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
    for key, value in node.items():
        if key in _OTHERS_KEYS or key == "seed":
            continue
        if key not in fields or key == "batch_size":
            _refuse(key, value, config_type)
            continue
        values[key] = plain(value)
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
            key = {"batch_size": batch_key, "seed": seed_key}.get(name, f"sampler.{name}")
            raise _error(key, value, f"must be {fields[name].metadata['meaning']}")
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
