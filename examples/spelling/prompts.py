"""The prompt files of the example: one jsonl file per source, and held-out words beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import reasoning_gym

TASK = "spell_backward"
TRAINING_ROWS = 5_000
HELD_OUT_ROWS = 1_000

Row = dict[str, Any]


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


def write_prompts(training_files: Sequence[str]) -> None:
    """Write what is missing of the named files and of the held-out files beside them.

    Args:
        training_files: Paths as in ``prompt_data``; the file name without its ending is one of
            ``SOURCES``. A row is ``{"input": question, "label": answer, "metadata": {...}}``.
    """
    for path in map(Path, training_files):
        held_out_path = held_out_file(path)
        if path.exists() and held_out_path.exists():
            continue
        items = _items(SOURCES[path.stem])
        held_out = list(islice(items, HELD_OUT_ROWS))
        words = {_word(row) for row in held_out}
        # A word is held out, not just an index: the word list is short enough for repeats.
        training = (row for row in items if _word(row) not in words)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(held_out_path, held_out)
        _write(path, islice(training, TRAINING_ROWS))


def held_out_file(training_file: str | Path) -> Path:
    """Where the held-out rows of a source lie: ``easy.jsonl`` -> ``easy.held_out.jsonl``."""
    return Path(training_file).with_suffix(".held_out.jsonl")


def read_rows(path: str | Path) -> list[Row]:
    """All rows of a jsonl file."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def score(response: str, label: str, metadata: Row) -> float:
    """The verifiable reward of a response: 1.0 if the task's own scorer calls it right, else 0.0.

    Args:
        response: The text of the answer.
        label: The right answer.
        metadata: Of the row; ``task`` names the scorer.
    """
    try:
        points = _scorer(metadata["task"])(response, {"answer": label})
    except Exception:  # scorers of generated tasks are not written for arbitrary text
        return 0.0
    # Not >= 1: this scorer adds up 1/9 per letter to a little more than 1 where something follows
    # the nine right letters.
    return float(points == 1.0)


@cache
def _scorer(task: str) -> Callable[[str, Row], float]:
    # Making one reads the word list anew.
    scorer: Callable[[str, Row], float] = reasoning_gym.get_score_answer_fn(task)
    return scorer


def _items(source: Source) -> Iterator[Row]:
    dataset = reasoning_gym.create_dataset(
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


def _write(path: Path, rows: Iterable[Row]) -> None:
    # Two runs may be started together: each writes its own file, and the last rename wins.
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with open(temporary, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    os.replace(temporary, path)
