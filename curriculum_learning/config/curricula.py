"""The keys of adaptive weights and curricula, checked, and what they make."""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.curricula.adaptive import AdaptiveWeights
from curriculum_learning.curricula.reward import RewardCurriculum
from curriculum_learning.curricula.time import TimeCurriculum
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.mixing.focused import FocusedSource
from curriculum_learning.mixing.source import RowSource, Source


def key(default: Any, check: Callable[[Any], bool], meaning: str) -> Any:
    """A field of a configuration: its default (or ``MISSING``), its check, what it must be."""
    metadata = {"check": check, "meaning": meaning}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=metadata)
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def number(low: float, high: float = math.inf, *, above: bool = False) -> Callable[[Any], bool]:
    """A check for a finite number from ``low`` (or above it) to ``high``."""
    return lambda value: (
        is_number(value) and (value > low if above else value >= low) and value <= high
    )


def whole(least: int) -> Callable[[Any], bool]:
    """A check for a whole number of at least ``least``."""
    return lambda value: (
        isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= least
    )


def is_flag(value: Any) -> bool:
    """Whether it is true or false."""
    return isinstance(value, bool)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptiveConfig:
    """Of ``AdaptiveWeights``."""

    alpha: float = key(0.1, number(0, 1, above=True), "a number above 0 and at most 1")
    update_frequency: int = key(5, whole(1), "a whole number >= 1")
    temperature: float = key(1.0, number(0, above=True), "a number above 0")
    max_source_ratio: float = key(3.0, number(1), "a number >= 1")

    def adaptive(self, names: Sequence[str]) -> AdaptiveWeights:
        """Adaptive weights of these sources."""
        return AdaptiveWeights(
            names,
            alpha=self.alpha,
            update_frequency=self.update_frequency,
            temperature=self.temperature,
            max_source_ratio=self.max_source_ratio,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _PercentileConfig:
    """What all curricula have in common."""

    initial_complexity_percentile: float = key(30, number(0, 100), "a number from 0 to 100")
    final_complexity_percentile: float = key(100, number(0, 100), "a number from 0 to 100")

    def __post_init__(self) -> None:
        """Check what concerns several keys."""
        if self.initial_complexity_percentile > self.final_complexity_percentile:
            raise ConfigurationError(
                f"initial_complexity_percentile ({self.initial_complexity_percentile!r}) must not "
                f"be above final_complexity_percentile ({self.final_complexity_percentile})",
                key="initial_complexity_percentile",
                value=self.initial_complexity_percentile,
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimeConfig(_PercentileConfig):
    """Of ``TimeCurriculum``."""

    complexity_warmup_steps: int = key(100, whole(1), "a whole number of updates >= 1")

    def curriculum(self, scores: NDArray[np.float64]) -> TimeCurriculum:
        """The curriculum of rows with these complexity scores."""
        return TimeCurriculum(
            scores,
            self.initial_complexity_percentile,
            self.final_complexity_percentile,
            self.complexity_warmup_steps,
        )

    def source(
        self, name: str, curriculum: TimeCurriculum, *, seed: int, shuffle: bool
    ) -> RowSource:
        """The source with that curriculum."""
        size = len(curriculum.rank)
        return Source(name, size, seed=seed, shuffle=shuffle, curriculum=curriculum)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardConfig(_PercentileConfig):
    """Of ``RewardCurriculum``."""

    reward_threshold: float = key(dataclasses.MISSING, is_number, "a finite number")
    num_intervals: int = key(10, whole(1), "a whole number >= 1")
    reward_alpha: float = key(0.1, number(0, 1, above=True), "a number above 0 and at most 1")
    min_batches_per_level: int = key(10, whole(0), "a whole number of updates >= 0")
    check_frequency: int = key(3, whole(1), "a whole number of updates >= 1")
    focus_new_intervals: bool = key(False, is_flag, "true or false")
    interval_decay: float = key(0.5, number(0, 1), "a number from 0 to 1")

    def curriculum(self, scores: NDArray[np.float64]) -> RewardCurriculum:
        """The curriculum of rows with these complexity scores."""
        return RewardCurriculum(
            scores,
            self.initial_complexity_percentile,
            self.final_complexity_percentile,
            num_intervals=self.num_intervals,
            threshold=self.reward_threshold,
            alpha=self.reward_alpha,
            min_batches=self.min_batches_per_level,
            check_frequency=self.check_frequency,
        )

    def source(
        self, name: str, curriculum: RewardCurriculum, *, seed: int, shuffle: bool
    ) -> RowSource:
        """The source with that curriculum."""
        size = len(curriculum.rank)
        if not self.focus_new_intervals:
            return Source(name, size, seed=seed, shuffle=shuffle, curriculum=curriculum)
        return FocusedSource(
            name,
            size,
            seed=seed,
            shuffle=shuffle,
            curriculum=curriculum,
            interval_decay=self.interval_decay,
        )


KINDS: dict[str, type[TimeConfig | RewardConfig]] = {"time": TimeConfig, "reward": RewardConfig}
"""The curricula, by ``type``."""

_Config = TypeVar("_Config", bound=AdaptiveConfig | TimeConfig | RewardConfig)


def read_keys(
    kind: type[_Config], values: Mapping[Any, Any], key: str, source: str | None = None
) -> _Config:
    """Read and check a mapping of keys.

    Args:
        kind: What its keys are.
        values: The mapping.
        key: The configuration key that it is the value of, for ``source`` if it has one.
        source: The source, or None.

    Raises:
        ConfigurationError: A key is missing, unknown or out of range; it names key and value.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}

    where = key if source is None else f"{key} of source '{source}'"

    def error(name: object, value: Any, problem: str) -> ConfigurationError:
        what = f"{where}.{name} ({value!r}) {problem}"
        return ConfigurationError(what, source=source, key=key, value=value)

    for name, value in values.items():
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, n=1)
            known = f"did you mean {near[0]}?" if near else f"known are {', '.join(fields)}"
            raise error(name, value, f"is not a key of it; {known}")
        if not fields[name].metadata["check"](value):
            raise error(name, value, f"must be {fields[name].metadata['meaning']}")
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in values:
            raise error(name, None, f"is required: {field.metadata['meaning']}")
    try:
        return kind(**values)
    except ConfigurationError as problem:  # of several keys together
        what = f"{where}.{problem}"
        raise ConfigurationError(what, source=source, key=key, value=problem.value) from None
