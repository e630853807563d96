"""Prompt files and a filter for a run, of slime's or of miles'."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

SOURCES = {"short": 60, "medium": 45, "filtered": 25}
"""Rows of each source: so few that their epochs end during a test."""


def write_prompts(folder: Path, name: str, rows: int) -> str:
    """A prompt file; each of its rows tells its source and number."""
    path = folder / f"{name}.jsonl"
    records = [{"input": f"{name} {row}", "metadata": {"own": [row]}} for row in range(rows)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def drop_many(args: Any, samples: list[Any], **kwargs: Any) -> bool:
    """A filter that keeps two of five groups of 'medium', one of five of 'filtered', all others.

    By lot: the draws of constant weights repeat, and a filter that does so too meets each source
    at the same places of its cycle.
    """
    kept = {"medium": 0.4, "filtered": 0.2}.get(samples[0].metadata["data_source"], 1.0)
    return random.Random(samples[0].group_index).random() < kept
