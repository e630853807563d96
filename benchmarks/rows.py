"""Prompt files to measure with: always the same rows, written once per folder."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROWS = 100_000
"""Rows of each flat file."""
NESTED_ROWS = 10_000
PROMPT = 248
"""Characters."""

SOURCES = {"math": 0.3, "code": 0.5, "chat": 0.2}
"""The sources and their weights."""

_SYLLABLES = ("al", "be", "cor", "di", "en", "fu", "gra", "hi", "jo", "ka", "lu", "mo", "ni", "or")
_WORDS = 997

Row = dict[str, Any]


def flat_files(folder: Path) -> list[str]:
    """One file per source, each row with six plain values as its metadata."""
    return [_file(folder / "flat" / f"{name}.jsonl", _flat, ROWS) for name in SOURCES]


def nested_files(folder: Path) -> list[str]:
    """One file per source, each row with lists and mappings in its metadata."""
    return [_file(folder / "nested" / f"{name}.jsonl", _nested, NESTED_ROWS) for name in SOURCES]


def source_of(row_id: str) -> str:
    """The source that a row's id names."""
    return row_id.partition("-")[0]


def _file(path: Path, make: Callable[[str, int, Iterator[str]], Row], count: int) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = _texts(random.Random(path.stem))
        with open(path, "w", encoding="utf-8") as file:
            for number in range(count):
                file.write(json.dumps(make(path.stem, number, texts)) + "\n")
    return str(path)


def _texts(randomness: random.Random) -> Iterator[str]:
    """Endless prompts of words that do not exist."""
    words = ["".join(randomness.choices(_SYLLABLES, k=3)) for _ in range(_WORDS)]
    while True:
        yield " ".join(randomness.choices(words, k=PROMPT // 4)).ljust(PROMPT)[:PROMPT]


def _flat(source: str, number: int, texts: Iterator[str]) -> Row:
    return {
        "input": next(texts),
        "label": str(number * 7),
        "metadata": {
            "id": f"{source}-{number}",
            "topic": "arithmetic",
            "level": number % 5,
            "score": number % 1000 / 1000,
            "verified": number % 3 == 0,
            "answer": str(number * 7),
        },
    }


def _nested(source: str, number: int, texts: Iterator[str]) -> Row:
    tests = [{"input": [number, at], "output": str(number * at)} for at in range(3)]
    return {
        "input": next(texts),
        "label": str(number * 7),
        "metadata": {
            "id": f"{source}-{number}",
            "topic": "arithmetic",
            "level": {"name": "medium", "number": number % 5},
            "tags": ["sums", "products", "words"],
            "tests": tests,
            "reward": {"kind": "tests", "weights": [0.2, 0.3, 0.5], "strict": True},
        },
    }
