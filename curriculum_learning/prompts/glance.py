"""A quick check of lines, which parses them without making anything but the prompt's text."""

from __future__ import annotations

from typing import Any

import msgspec

from curriculum_learning.config.data_source import SourceConfig
from curriculum_learning.prompts.jsonl import JsonlRows
from curriculum_learning.prompts.rows import Rows
from curriculum_learning.samples.tags import SOURCE_KEY, SOURCE_NAME_KEY

_TAGS = [f'"{key}'.encode() for key in (SOURCE_KEY, SOURCE_NAME_KEY)]  # the other tags begin so


class Glance:
    """Knows most good rows at a glance.

    Leaves all that is unusual to ``PromptReader``: chat messages, tools, metadata under our own
    keys, numbers that only Python reads. Checks nothing if prompts are rendered or measured, or if
    two settings name the same column.
    """

    def __init__(self, rows: Rows, config: SourceConfig) -> None:
        self._rows = rows
        self._lines: msgspec.json.Decoder[Any] | None = None
        columns = {
            "input": config.input_key,
            "label": config.label_key,
            "metadata": config.metadata_key,
            "tools": config.tool_key,
        }
        names = {field: column for field, column in columns.items() if column is not None}
        is_plain = not config.apply_chat_template and config.max_prompt_len is None
        if is_plain and len(set(names.values())) == len(names):
            types: dict[str, tuple[Any, ...]] = {
                "input": (str,),
                "label": (msgspec.Raw,),
                "metadata": (msgspec.defstruct("Metadata", []) | None, None),
                "tools": (None, None),
            }
            fields: list[Any] = [(field, *types[field]) for field in names]
            self._lines = msgspec.json.Decoder(msgspec.defstruct("Line", fields, rename=names))

    def passes(self, batch: range) -> bool:
        """True only if the rows of ``batch`` are certainly good; False says nothing of them."""
        if self._lines is None or not isinstance(self._rows, JsonlRows):
            return False
        content = self._rows.block(batch.start, len(batch))
        if any(tag in content for tag in _TAGS):
            return False
        try:
            if not content.isascii():
                content.decode()
            return len(self._lines.decode_lines(content)) == len(batch)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False
