"""An exponential moving average of rewards."""

from __future__ import annotations


class Ema:
    """``(1 - alpha) * average + alpha * value``, started at the first value.

    Args:
        alpha: Weight of a new value, above 0 and at most 1.
    """

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.value: float | None = None
        """None before the first value."""

    def add(self, value: float) -> None:
        """Take in a value, a finite number."""
        if self.value is None:
            self.value = value
        else:
            self.value = (1 - self.alpha) * self.value + self.alpha * value
