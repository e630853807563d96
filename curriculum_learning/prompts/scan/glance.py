"""A quick check of rows that makes nothing of them: most rows are good, and all look alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from curriculum_learning.config.plan import SourcePlan
from curriculum_learning.prompts.files.arrow import ArrowRows
from curriculum_learning.prompts.kinds.jsonl import JsonlRows
from curriculum_learning.prompts.rows import Rows
from curriculum_learning.samples.tags import SOURCE_KEY, SOURCE_NAME_KEY, TAGS

_ESCAPED = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')
_STARTS = [f'"{key}'.encode() for key in (SOURCE_KEY, SOURCE_NAME_KEY)]
"""All our metadata keys begin so."""


class Glance:
    """Says of rows that they are certainly good.

    Leaves all that is unusual to ``PromptReader``: chat messages, tools, metadata under our own
    keys, numbers that only Python reads. Says nothing if prompts are rendered or measured, or if
    two settings name the same column.
    """

    def __init__(self, rows: Rows, config: SourcePlan) -> None:
        self._rows = rows
        columns = {
            "input": config.input_key,
            "label": config.label_key,
            "metadata": config.metadata_key,
            "tools": config.tool_key,
        }
        self._columns = {name: column for name, column in columns.items() if column is not None}
        asks_more = config.apply_chat_template or config.max_prompt_len or config.multimodal_keys
        are_distinct = len(set(self._columns.values())) == len(self._columns)
        self._is_used = are_distinct and not asks_more
        self._lines = _line_decoder(self._columns) if self._is_used else None

    def passes(self, batch: range) -> bool:
        """True only if the rows of ``batch`` are certainly good; False says nothing of them."""
        return self._is_used and all(
            self._lines_pass(rows, span)
            if isinstance(rows, JsonlRows)
            else isinstance(rows, ArrowRows) and self._batches_pass(rows, span)
            for rows, span in self._rows.parts(batch)
        )

    def _lines_pass(self, rows: JsonlRows, span: range) -> bool:
        """Parses lines without making anything but the prompt's text."""
        if self._lines is None:
            return False
        content = rows.block(span)
        if any(start in content for start in _STARTS):
            return False
        try:
            if not content.isascii():
                content.decode()
            return len(self._lines.decode_lines(content)) == len(span)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False

    def _batches_pass(self, rows: ArrowRows, span: range) -> bool:
        """Looks at types, and for prompts that are missing."""
        return all(self._batch_passes(batch) for batch in rows.slices(span))

    def _batch_passes(self, batch: Any) -> bool:
        from pyarrow import ArrowInvalid, types

        try:
            batch.validate(full=True)  # texts may hold any bytes
        except ArrowInvalid:
            return False
        there = {name: batch.schema.get_field_index(at) for name, at in self._columns.items()}
        if there["input"] < 0 or there.get("label", 0) < 0:
            return False
        prompts = batch.column(there["input"])
        is_text = types.is_string(prompts.type) or types.is_large_string(prompts.type)
        if not is_text or prompts.null_count:
            return False
        if "label" in there and not _is_storable(batch.column(there["label"]).type):
            return False
        if there.get("tools", -1) >= 0:
            tools = batch.column(there["tools"])
            if tools.null_count < len(tools):
                return False
        return there["metadata"] < 0 or _is_plain_metadata(batch.column(there["metadata"]).type)


def _line_decoder(columns: Mapping[str, str]) -> msgspec.json.Decoder[Any] | None:
    """Returns a decoder of lines; None if a column's name has characters that JSON escapes."""
    if any(map(_ESCAPED.search, columns.values())):
        return None
    hints: dict[str, tuple[Any, ...]] = {
        "input": (str,),
        "label": (msgspec.Raw,),
        "metadata": (msgspec.defstruct("Metadata", []) | None, None),
        "tools": (None, None),
    }
    types: list[Any] = [(name, *hints[name]) for name in columns]
    return msgspec.json.Decoder(msgspec.defstruct("Line", types, rename=dict(columns)))


def _is_plain_metadata(kind: Any) -> bool:
    from pyarrow import types

    if not types.is_struct(kind):
        return bool(types.is_null(kind))
    names = {kind.field(place).name for place in range(kind.num_fields)}
    return names.isdisjoint(TAGS) and _is_storable(kind)


def _is_storable(kind: Any) -> bool:
    """Whether a state can hold all values of an Arrow type."""
    from pyarrow import types

    if types.is_struct(kind):
        return all(_is_storable(kind.field(place).type) for place in range(kind.num_fields))
    if types.is_list(kind) or types.is_large_list(kind):
        return _is_storable(kind.value_type)
    simple = (
        types.is_string, types.is_large_string, types.is_integer, types.is_floating,
        types.is_boolean, types.is_null, types.is_binary, types.is_large_binary,
    )  # fmt: skip
    return any(test(kind) for test in simple)
