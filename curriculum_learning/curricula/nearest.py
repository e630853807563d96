"""Weights that prefer the rows nearest to a target."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def prefer_nearest(
    values: NDArray[np.float64], target: float, share: float, floor: float
) -> NDArray[np.float64]:
    """Returns weight 1 for the rows whose value is nearest to a target, ``floor`` for all others.

    Args:
        values: A value of each row; shape (rows,).
        target: The value to look for.
        share: The part of the rows to prefer, above 0 and at most 1; rounded up, and with the rows
            that are as near as the last one.
        floor: The weight of the others.
    """
    distances = np.abs(values - target)
    last = math.ceil(share * len(values)) - 1
    return np.where(distances <= np.partition(distances, last)[last], 1.0, floor)
