"""Prompt files and a filter for a run, of slime's or of miles'."""

from __future__ import annotations

import json
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
    """A filter that keeps two of five groups of 'medium', one of five of 'filtered', all others."""
    kept = {"medium": 2, "filtered": 1}.get(samples[0].metadata["data_source"], 5)
    return bool(samples[0].group_index * 7 % 5 < kept)
