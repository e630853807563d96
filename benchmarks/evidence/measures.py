"""What a line of results says: one number for each measure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.integrate import trapezoid

from benchmarks.evidence.runs import Line

FAILED_BELOW = 0.1
"""A run has failed if its accuracy on the hardest learnable set ends below this."""
GOOD = 0.9


def curve(line: Line) -> list[float]:
    """Returns the accuracies on the hardest learnable set, one for each of ``line["samples"]``."""
    found: list[float] = line["held_out"][line["hardest"]]
    return found


def area(line: Line) -> float:
    """Returns the mean accuracy on the hardest learnable set over the trained samples."""
    return _area(line["samples"], curve(line))


def area_by_tokens(line: Line, tokens: float) -> float:
    """Returns the same over the first so many answer tokens."""
    inside = [at for at in line["tokens"] if at < tokens]
    places = [*inside, tokens]
    return _area(places, np.interp(places, line["tokens"], curve(line)).tolist())


def final(line: Line) -> float:
    """Returns the accuracy on the hardest learnable set at the end."""
    return curve(line)[-1]


def until_good(line: Line, unit: str) -> float:
    """Returns the ``samples`` or ``tokens`` to an accuracy of ``GOOD``; infinite if never."""
    for at, accuracy in zip(line[unit], curve(line), strict=True):
        if accuracy >= GOOD:
            return float(at)
    return float("inf")


def has_failed(line: Line) -> bool:
    """Returns whether the run has not learned the hardest learnable set at all."""
    return final(line) < FAILED_BELOW


def _area(places: Sequence[float], values: Sequence[float]) -> float:
    return float(trapezoid(values, places) / (places[-1] - places[0]))
