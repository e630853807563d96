"""Weight schedules by the names that configurations give.

A schedule takes ``rollout_step`` (an integer >= 0) and returns the weight of one source, a finite
number >= 0. Weights need not sum to 1: shares are the weights divided by their sum.
"""

from curriculum_learning.config.weights import parse_weight
from curriculum_learning.weights.schedules import (
    Schedule,
    cosine,
    easy_to_hard,
    exponential,
    exponential_decay,
    exponential_warmup,
    hard_to_easy,
    level_decreasing,
    level_increasing,
    levels,
    linear,
    piecewise,
)

__all__ = [
    "Schedule",
    "cosine",
    "easy_to_hard",
    "exponential",
    "exponential_decay",
    "exponential_warmup",
    "hard_to_easy",
    "level_decreasing",
    "level_increasing",
    "levels",
    "linear",
    "parse_weight",
    "piecewise",
]
