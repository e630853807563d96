"""The task of the example: words from reasoning-gym, spelled backward."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import reasoning_gym

from examples.spelling.task import Row, Task
from examples.spelling.tokens import Text

TASK = "spell_backward"
TRAINING_ROWS = 5_000
HELD_OUT_ROWS = 1_000


class Source(NamedTuple):
    """Bounds on the word lengths of a source, and the seed that its words are drawn with."""

    shortest: int
    longest: int
    seed: int


# reasoning-gym makes item i from seed + i, so seeds that are close to each other share items.
SOURCES = {
    "easy": Source(3, 4, seed=10_000_000),
    "medium": Source(5, 7, seed=20_000_000),
    "hard": Source(8, 10, seed=30_000_000),
}


class Spelling(Task):
    """Words of up to ten letters, to be spelled backward.

    Args:
        sources: Their words.
    """

    text = Text(
        characters=string.ascii_lowercase,
        longest_question=10,
        longest_answer=12,  # ten letters and END, and one to go wrong with
        beginning="Spell this word backward (example: sun -> nus): ",
    )

    def __init__(self, sources: Mapping[str, Source] = SOURCES) -> None:
        self.sources = sources

    def rows(self, source: str) -> tuple[list[Row], list[Row]]:
        """See ``Task``."""
        items = _items(self.sources[source])
        held_out = list(islice(items, HELD_OUT_ROWS))
        words = {_word(row) for row in held_out}
        # A word is held out, not just an index: the word list is short enough for repeats.
        training = (row for row in items if _word(row) not in words)
        return list(islice(training, TRAINING_ROWS)), held_out

    def score(self, response: str, label: str) -> float:
        """See ``Task``; reasoning-gym's own scorer says what is right."""
        try:
            points = _scorer()(response, {"answer": label})
        except Exception:  # scorers of generated tasks are not written for arbitrary text
            return 0.0
        # Not >= 1: this scorer adds up 1/9 per letter to a little more than 1 where something
        # follows the nine right letters.
        return float(points == 1.0)


@cache
def _scorer() -> Callable[[str, Row], float]:
    # Making one reads the word list anew.
    scorer: Callable[[str, Row], float] = reasoning_gym.get_score_answer_fn(TASK)
    return scorer


def _items(source: Source) -> Iterator[Row]:
    dataset: Any = reasoning_gym.create_dataset(
        TASK,
        min_word_len=source.shortest,
        max_word_len=source.longest,
        seed=source.seed,
        size=100 * (TRAINING_ROWS + HELD_OUT_ROWS),
    )
    for index in range(len(dataset)):
        item = dataset[index]
        yield {
            "input": item["question"],
            "label": item["answer"],
            "metadata": {"task": TASK, "word": item["metadata"]["word"]},
        }


def _word(row: Row) -> str:
    # The scorer and the policy both ignore case.
    return str(row["metadata"]["word"]).lower()
