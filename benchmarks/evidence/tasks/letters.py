"""Random letters, to be written in reverse order: rows as hard as they are long."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from examples.spelling.task import Row
from examples.spelling.tokens import Text

LETTERS = "abcdefghijkl"
TEXT = Text(LETTERS, longest_question=7, longest_answer=8)
LENGTHS: Mapping[str, tuple[int, int]] = {"short": (3, 3), "middle": (4, 5), "long": (6, 7)}
"""The fewest and the most letters of a row."""


def length_in(name: str, random: np.random.Generator) -> int:
    """Returns a random one of ``LENGTHS``."""
    return int(random.integers(*LENGTHS[name], endpoint=True))


def to_reverse(length: int, random: np.random.Generator) -> Row:
    """Returns a row that can be learned."""
    letters = draw(length, random)
    return {"input": letters, "label": letters[::-1], "metadata": {}}


def to_guess(length: int, random: np.random.Generator) -> Row:
    """Returns a row whose label has nothing to do with its question."""
    return {"input": draw(length, random), "label": draw(length, random), "metadata": {}}


def draw(length: int, random: np.random.Generator) -> str:
    """Returns random letters."""
    return "".join(random.choice(list(LETTERS), length))
