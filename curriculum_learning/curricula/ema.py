"""An exponential moving average of rewards."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt, Le

Alpha = Annotated[float, Gt(0), Le(1)]
"""Weight of a new value."""


class Ema:
    """``(1 - alpha) * average + alpha * value``, started at the first value.

    Args:
        alpha: Weight of a new value.
    """

    def __init__(self, alpha: Alpha) -> None:
        self.alpha = alpha
        self.value: float | None = None
        """None before the first value."""

    def add(self, value: float) -> None:
        """Takes in a finite number."""
        if self.value is None:
            self.value = value
        else:
            self.value = (1 - self.alpha) * self.value + self.alpha * value
