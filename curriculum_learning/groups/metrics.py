"""What is measured of the samples of a rollout, per source."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.samples.ids import whole_id
from curriculum_learning.samples.rewards import number, raw_reward
from curriculum_learning.samples.sample import flatten
from curriculum_learning.samples.tags import SOURCE_KEY, SOURCE_NAME_KEY

_FIELDS = ("metadata", "reward", "group_index", "loss_mask", "response_length")
_fields = attrgetter(*_FIELDS)
_UNTAGGED = ""
_PLAIN = frozenset((float, int, bool, np.float64, np.float32))
"""Types of rewards and lengths that numpy turns into an array at once."""


@dataclasses.dataclass
class _Seen:
    """What there was of a source; an entry for each sample."""

    groups: list[Any] = dataclasses.field(default_factory=list)
    lengths: list[Any] = dataclasses.field(default_factory=list)
    rewards: list[Any] = dataclasses.field(default_factory=list)

    def group_count(self) -> int:
        """Distinct groups; a sample that does not say its group is one of its own."""
        if {int}.issuperset(map(type, self.groups)):
            return len(set(self.groups))
        ids = [whole_id(group) for group in self.groups]
        return len({*ids} - {None}) + ids.count(None)


def per_source_metrics(
    samples: Iterable[Any],
    *,
    status: Mapping[str, Mapping[str, float]] | None = None,
    reward_key: str | None = None,
) -> dict[str, float]:
    """Metrics of each source over the samples of one rollout.

    Args:
        samples: Samples, flat or in groups, with their source in ``metadata``.
        status: What ``source_status`` of a data source gives. Its sources are reported also
            where they have no sample, and its values as they are.
        reward_key: The entry to report where rewards are mappings.

    Returns:
        For each source, under ``rollout/{source}/``: what ``status`` has; ``sample_count``;
        ``trained_share``, its part of the groups (0 to 1); and where it has samples
        ``response_len/{mean,median,max,min}`` in trained tokens and
        ``raw_reward/{mean,median,max,min}``. Samples without a usable reward are counted in
        ``missing_reward_count``, those without a source in ``rollout/untagged_sample_count``;
        both are absent where there are none.
    """
    status = status or {}
    seen = _look_at(samples, status, reward_key)
    groups = {name: of_source.group_count() for name, of_source in seen.items()}
    total = sum(groups.values())
    untagged = seen.pop(_UNTAGGED, None)
    metrics: dict[str, float] = {}
    if untagged is not None:
        metrics["rollout/untagged_sample_count"] = len(untagged.groups)
    for name, of_source in seen.items():
        prefix = f"rollout/{name}/"
        count = len(of_source.groups)
        metrics |= {prefix + key: value for key, value in status.get(name, {}).items()}
        metrics[f"{prefix}trained_share"] = groups[name] / total if total else 0.0
        metrics[f"{prefix}sample_count"] = count
        if not count:
            continue
        lengths, unknown = _numbers(of_source.lengths)
        metrics |= _statistics(f"{prefix}response_len", np.append(lengths, np.zeros(unknown)))
        rewards, missing = _numbers(of_source.rewards)
        metrics |= _statistics(f"{prefix}raw_reward", rewards)
        if missing:
            metrics[f"{prefix}missing_reward_count"] = missing
    return metrics


def _look_at(
    samples: Iterable[Any], names: Iterable[str], reward_key: str | None
) -> dict[str, _Seen]:
    """All samples, by source; one pass, since thousands are looked at in every rollout."""
    seen = {name: _Seen() for name in names}
    for sample in flatten(samples):
        try:
            metadata, reward, group, mask, length = _fields(sample)
        except AttributeError:
            metadata, reward, group, mask, length = (getattr(sample, k, None) for k in _FIELDS)
        if not isinstance(metadata, dict):
            metadata = {}
        name = metadata.get(SOURCE_KEY) or metadata.get(SOURCE_NAME_KEY)
        if not isinstance(name, str):
            name = _UNTAGGED
        if name not in seen:
            seen[name] = _Seen()
        of_source = seen[name]
        of_source.groups.append(group)
        of_source.lengths.append(length if mask is None else _sum(mask))
        of_source.rewards.append(raw_reward(metadata, reward, reward_key))
    return seen


def _sum(mask: Any) -> Any:
    try:
        return sum(mask)
    except TypeError:
        return None


def _numbers(values: list[Any]) -> tuple[NDArray[np.float64], int]:
    """The values that are numbers, and how many are none."""
    if _PLAIN.issuperset(map(type, values)):
        try:
            return np.array(values, dtype=np.float64), 0
        except OverflowError:  # an integer beyond the range of a float
            pass
    numbers = [item for value in values if (item := number(value)) is not None]
    return np.array(numbers, dtype=np.float64), len(values) - len(numbers)


def _statistics(prefix: str, values: NDArray[np.float64]) -> dict[str, float]:
    if not len(values):
        return {}
    return {
        f"{prefix}/mean": float(values.mean()),
        f"{prefix}/median": float(np.median(values)),
        f"{prefix}/max": float(values.max()),
        f"{prefix}/min": float(values.min()),
    }
