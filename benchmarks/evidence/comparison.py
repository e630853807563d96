"""Methods against uniform mixing: differences paired by seed, intervals, corrected p-values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95
_FEWEST = 3
"""Seeds for an interval or a p-value."""
_RESAMPLES = 9_999

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """A method less uniform mixing, over the seeds that both have.

    Args:
        seeds: How many.
        mean: Of the differences.
        interval: Of the mean; None with fewer than three seeds.
        p: That the sign of the differences is chance, after Holm's correction over all methods
            of the task; None with fewer than three seeds.
    """

    seeds: int
    mean: float
    interval: Interval | None
    p: float | None


def bootstrap(values: Sequence[float]) -> Interval | None:
    """Returns the bootstrap interval of a mean (percentiles); None with too few values."""
    if len(values) < _FEWEST:
        return None
    found = stats.bootstrap(
        (values,), np.mean, confidence_level=LEVEL, n_resamples=_RESAMPLES, method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


def differences(
    uniform: Mapping[int, float], methods: Mapping[str, Mapping[int, float]]
) -> dict[str, Difference]:
    """Compares each method with uniform mixing.

    Args:
        uniform: A figure by seed.
        methods: The same of each method.
    """
    paired = {
        name: np.array([value - uniform[seed] for seed, value in values.items() if seed in uniform])
        for name, values in methods.items()
    }
    paired = {name: values for name, values in paired.items() if len(values)}
    raw = {name: _p(values) for name, values in paired.items() if len(values) >= _FEWEST}
    corrected = dict(zip(raw, holm(list(raw.values())), strict=True))
    return {
        name: Difference(
            len(values), float(values.mean()), bootstrap(values.tolist()), corrected.get(name)
        )
        for name, values in paired.items()
    }


def holm(p: Sequence[float]) -> list[float]:
    """Returns p-values after Holm's step-down correction, in the same order."""
    values = np.array(p)
    order = np.argsort(values)
    steps = np.maximum.accumulate(values[order] * (len(values) - np.arange(len(values))))
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(steps, 1)
    found: list[float] = corrected.tolist()
    return found


def _p(values: NDArray[np.float64]) -> float:
    """Returns the two-sided p-value of a sign flip test of the mean."""
    test = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=_RESAMPLES,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(test.pvalue)
