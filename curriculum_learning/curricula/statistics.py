"""Statistics of the rows of one source: how often each was tried, and how well it went."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from curriculum_learning.curricula.results import Result

_HOPELESS, _MASTERED = 0.05, 0.95
"""Pass rates below and above which a row teaches nothing now."""

_FIELDS = ("counts", "means", "last_steps")


class RowStatistics:
    """Counts the finished groups of each row and averages their pass rates.

    The pass rate of a group is the mean of its rewards, held to 0 to 1. The policy moves, so old
    results fade: the n-th result of a row counts ``max(1 / n, fade)``. A prior counts as one
    result.

    It holds 12 bytes a row.

    Args:
        size: Rows of the source.
        fade: The least weight of a new result in the mean, 0 (a plain mean) to 1 (the last one).
        priors: Pass rates measured before the run, shape (size,), 0 to 1, NaN where there is none.
    """

    def __init__(
        self, size: int, *, fade: float = 0.2, priors: NDArray[np.float64] | None = None
    ) -> None:
        self.counts: NDArray[np.uint32] = np.zeros(size, dtype=np.uint32)
        """Finished groups of each row."""
        self.means: NDArray[np.float32] = np.full(size, np.nan, dtype=np.float32)
        """The faded mean pass rate of each row; NaN without results and prior."""
        self.last_steps: NDArray[np.int32] = np.full(size, -1, dtype=np.int32)
        """The rollout step at which each row was last served and finished; -1 if never."""
        self.groups = 0
        """Finished groups of all rows."""
        self.groups_without_signal = 0
        """Those of them whose rewards are all equal."""
        self.fade = fade
        self._has_prior = np.zeros(size, dtype=bool) if priors is None else np.isfinite(priors)
        if priors is not None:
            self.means[:] = np.clip(priors, 0, 1)

    def __len__(self) -> int:
        return len(self.counts)

    def observe(self, results: Iterable[Result]) -> None:
        """Takes in finished groups; those whose row is not known are counted only."""
        for result in results:
            self.groups += 1
            self.groups_without_signal += min(result.rewards) == max(result.rewards)
            row = result.row
            if row is None:
                continue
            self.counts[row] += 1
            known = int(self.counts[row]) + int(self._has_prior[row])
            weight = max(1 / known, self.fade)
            mean = float(self.means[row]) if known > 1 else 0.0
            self.means[row] = (1 - weight) * mean + weight * pass_rate(result.rewards)
            self.last_steps[row] = max(int(self.last_steps[row]), result.step)

    def estimates(self, unseen: float) -> NDArray[np.float64]:
        """Returns the mean pass rate of each row, ``unseen`` for rows without one."""
        return np.where(np.isnan(self.means), unseen, self.means).astype(np.float64)

    def metrics(self) -> dict[str, float]:
        """Returns rows by what they teach now, the mean estimate, and the waste of groups.

        Rows without a result are ``unseen``; the others are ``hopeless`` (pass rate below .05),
        ``mastered`` (above .95) or ``learnable``. There are no figures of rows if the rows of all
        results so far are unknown.
        """
        metrics: dict[str, float] = {}
        seen = self.means[self.counts > 0].astype(np.float64)
        if len(seen) or not self.groups:
            hopeless = int(np.count_nonzero(seen < _HOPELESS))
            mastered = int(np.count_nonzero(seen > _MASTERED))
            metrics["rows/unseen"] = len(self) - len(seen)
            metrics["rows/hopeless"] = hopeless
            metrics["rows/learnable"] = len(seen) - hopeless - mastered
            metrics["rows/mastered"] = mastered
        if len(seen):
            metrics["pass_rate_estimate"] = float(seen.mean())
        if self.groups:
            metrics["no_signal_share"] = self.groups_without_signal / self.groups
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Plain data: the arrays as bytes."""
        arrays = {name: getattr(self, name).tobytes() for name in _FIELDS}
        return {**arrays, "groups": [self.groups, self.groups_without_signal]}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Loads what ``state_dict`` returned, also for a source that has grown since."""
        if state is None:
            return
        for name in _FIELDS:
            load_rows(getattr(self, name), state[name])
        groups = msgspec.convert(state["groups"], tuple[int, int])
        self.groups, self.groups_without_signal = groups


def pass_rate(rewards: list[float]) -> float:
    """Returns the mean reward, held to 0 to 1."""
    return min(max(math.fsum(rewards) / len(rewards), 0.0), 1.0)


def load_rows(rows: NDArray[Any], saved: bytes) -> None:
    """Copies the saved bytes of an array to its first rows; a source may have grown since.

    Raises:
        ValueError: The state has more rows than there are.
    """
    values = np.frombuffer(saved, dtype=rows.dtype)
    if len(values) > len(rows):
        raise ValueError(f"there are {len(rows)} rows, the state has {len(values)}")
    rows[: len(values)] = values
