"""Generators that tests name by their dotted path."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any


def squares(index: int) -> dict[str, Any]:
    """A row without end."""
    return {"input": f"square {index}", "label": str(index**2), "metadata": {"n": index}}


def no_rows(index: int) -> dict[str, Any]:
    """Fails from row 100 on."""
    return {"input": f"one over {index}", "label": str(1 / (100 - index))}


def spoken(index: int) -> dict[str, Any]:
    """A row whose prompt is messages."""
    return {"input": [{"role": "user", "content": f"say {index} " * 9}]}


class Sums:
    """Sums of ``terms`` numbers, and of more at higher levels."""

    levels = (1.0, 2.0, 4.0)

    def __init__(self, *, terms: int = 2) -> None:
        self.terms = terms

    def row(self, index: int) -> dict[str, Any]:
        """A row of level index % 3."""
        number, level = divmod(index, len(self.levels))
        return {
            "input": f"sum of {self.terms + level} numbers, no {number}",
            "metadata": {"level": level, "number": number},
        }


class Wordy:
    """Prompts of 1 to 10 words; ``words`` makes all of them as long."""

    levels = (1.0, 2.0)

    def __init__(self, *, words: int | None = None) -> None:
        self.words = words

    def row(self, index: int) -> dict[str, Any]:
        """A row with 1 + 7 * index % 10 words."""
        words = 1 + index * 7 % 10 if self.words is None else self.words
        return {"input": " ".join(["long"] * words), "metadata": {"words": words}}


class Few:
    """A class with a length."""

    def __len__(self) -> int:
        return 7

    def row(self, index: int) -> dict[str, Any]:
        """One of seven rows."""
        return {"input": f"one of seven, {index}", "metadata": {"complexity_score": index}}


def numbers(start: int) -> Iterator[dict[str, Any]]:
    """A stream that can be opened at any row."""
    return ({"input": f"number {n}", "metadata": {"n": n}} for n in count(start))


def three(start: int) -> Iterator[dict[str, Any]]:
    """A stream of three rows."""
    return ({"input": f"{n} of three"} for n in range(start, 3))


QUEUE: list[dict[str, Any]] = []
"""What ``from_queue`` reads."""


def from_queue(start: int) -> Iterator[dict[str, Any]]:
    """A queue: what is read is gone, and it knows no row numbers."""
    while QUEUE:
        yield QUEUE.pop(0)
