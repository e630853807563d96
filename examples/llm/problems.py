"""Arithmetic from reasoning-gym in four rungs, and the reward of an answer."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import reasoning_gym
from datasets import Dataset

EXAMPLES = "2 + 5 = 7\n8 - 3 = 5\n"
"""What stands before each problem: the form of an answer."""

TOKENS = 6
"""Of an answer: a space, up to four characters of a number, and the end of the line."""

HELD_OUT = 64
"""Problems of each rung that are never trained on."""

_ANSWER = re.compile(r" (-?\d+)(?:\n|$)")


class Rung(NamedTuple):
    """Sums and differences of some numbers with some digits."""

    name: str
    numbers: int
    digits: int


RUNGS = (Rung("one", 2, 1), Rung("three", 3, 1), Rung("two", 2, 2), Rung("six", 3, 2))
"""From easy to hard for the model as it comes: samples solve about .6, .1, .02 and 0 of them."""

Problem = tuple[str, str]
"""An expression, and its value."""


def draw(rung: Rung, count: int, seed: int) -> list[Problem]:
    """Returns at most ``count`` different problems of a rung; the easiest has only some hundred."""
    made = reasoning_gym.create_dataset(
        "chain_sum",
        min_terms=rung.numbers,
        max_terms=rung.numbers,
        min_digits=rung.digits,
        max_digits=rung.digits,
        seed=seed,
        size=4 * count,
    )
    problems = {item["metadata"]["expression"]: str(item["answer"]) for item in made}
    return list(problems.items())[:count]


def prompt(expression: str) -> str:
    """What the model is to continue."""
    return f"{EXAMPLES}{expression} ="


def score(completion: str, answer: str) -> float:
    """Returns 1 for the value and nothing else on the line, otherwise 0."""
    match = _ANSWER.match(completion)
    return float(match is not None and match[1] == answer)


def held_out() -> dict[str, list[Problem]]:
    """Returns the problems of each rung that are never trained on."""
    return {rung.name: draw(rung, HELD_OUT, seed=1) for rung in RUNGS}


def training_rows(count: int = 500) -> Dataset:
    """Returns the rows to train on: prompt, rung and answer."""
    rows: list[dict[str, Any]] = []
    for rung in RUNGS:
        kept = {expression for expression, _ in held_out()[rung.name]}
        for expression, answer in draw(rung, count, seed=2):
            if expression not in kept:
                row = {"prompt": prompt(expression), "rung": rung.name, "answer": answer}
                rows.append(row)
    return Dataset.from_list(rows)


def reward(completions: list[str], answer: list[str], **_: Any) -> list[float]:
    """The reward function of the trainer."""
    return [score(*pair) for pair in zip(completions, answer, strict=True)]
