"""The check of every row at the start, so that a bad row does not stop a run days later."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from curriculum_learning.config.plan import SourcePlan
from curriculum_learning.config.visible import visible
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.prompts.cache import Cache, Kept, Key
from curriculum_learning.prompts.jsonl import JsonlRows
from curriculum_learning.prompts.reader import PromptReader
from curriculum_learning.prompts.rows import Rows
from curriculum_learning.prompts.tokenizer import token_counts, tokenizer_key
from curriculum_learning.samples.codec import CannotStoreError, encode
from curriculum_learning.samples.group import Prompt
from curriculum_learning.samples.tags import ORIGINAL_KEY, SOURCE_KEY, SOURCE_NAME_KEY, TAGS

logger = logging.getLogger(__name__)

_BATCH = 1024
_PATIENCE = 2.0
"""Seconds of work before a progress bar is shown."""
_SETTINGS = (
    "input_key", "label_key", "metadata_key", "tool_key", "apply_chat_template",
    "apply_chat_template_kwargs", "max_prompt_len",
)  # fmt: skip
"""The settings that the outcome depends on."""
_ESCAPED = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')
_STARTS = [f'"{key}'.encode() for key in (SOURCE_KEY, SOURCE_NAME_KEY)]
"""All our metadata keys begin so."""


def check_rows(reader: PromptReader, cache: Cache) -> NDArray[np.int64] | None:
    """Checks every row, unless the cache knows the outcome.

    Returns:
        The rows within ``rollout_max_prompt_len``, ascending; None if that is all of them.

    Raises:
        DataError: A row cannot be served.
        ConfigurationError: No row is within the limit.
    """
    config = reader.config
    asks_tokenizer = config.apply_chat_template or config.max_prompt_len is not None
    key: Key = {
        "what": "rows",
        "rows": reader.rows.fingerprint,
        "config": {name: getattr(config, name) for name in _SETTINGS},
        "tokenizer": tokenizer_key(reader.tokenizer) if asks_tokenizer else None,
    }
    kept = cache.find(key) or cache.keep(key, _look_through(reader))
    _tell(kept.facts, len(reader.rows), config)
    return kept.array if kept.facts["left_out"] else None


def _look_through(reader: PromptReader) -> Kept:
    """Reads all rows.

    Returns:
        The rows within the limit if there are others, and counts of rows: ``tagged`` with metadata
        under our keys, ``unlimited`` chat messages, which have no length, and ``left_out``.
    """
    config, total = reader.config, len(reader.rows)
    limit = config.max_prompt_len
    glance = Glance(reader.rows, config)
    tagged = unlimited = 0
    fitting: list[int] = []
    for start in _progress(range(0, total, _BATCH), f"{config.name}: reading"):
        batch = range(start, min(start + _BATCH, total))
        if glance.passes(batch):
            continue
        prompts = reader.read(batch)
        if not isinstance(reader.rows, JsonlRows):  # a state file can hold all that JSON can
            for row, prompt in zip(batch, prompts, strict=True):
                _check_storable(reader, prompt, row)
        tagged += sum(ORIGINAL_KEY in prompt.metadata for prompt in prompts)
        if limit is None:
            continue
        texts = [prompt.prompt for prompt in prompts if isinstance(prompt.prompt, str)]
        unlimited += len(prompts) - len(texts)
        counts = iter(token_counts(reader.tokenizer, texts))
        fitting += [
            row
            for row, prompt in zip(batch, prompts, strict=True)
            if not isinstance(prompt.prompt, str) or next(counts) <= limit
        ]
    left_out = 0 if limit is None else total - len(fitting)
    if left_out == total:
        raise ConfigurationError(
            f"source '{config.name}': none of its {total} prompts has at most "
            f"rollout_max_prompt_len={limit} tokens; raise the limit or drop the source",
            source=config.name,
            key="rollout_max_prompt_len",
            value=limit,
        )
    facts = {"tagged": tagged, "unlimited": unlimited, "left_out": left_out}
    return Kept(np.array(fitting if left_out else [], dtype=np.int64), facts)


class Glance:
    """A quick check of lines, which parses them without making anything but the prompt's text.

    Leaves all that is unusual to ``PromptReader``: chat messages, tools, metadata under our own
    keys, numbers that only Python reads. Checks nothing if prompts are rendered or measured, if
    two settings name the same column, or if a column's name has characters that JSON escapes.
    """

    def __init__(self, rows: Rows, config: SourcePlan) -> None:
        self._rows = rows
        self._lines: msgspec.json.Decoder[Any] | None = None
        fields: dict[str, tuple[str | None, tuple[Any, ...]]] = {
            "input": (config.input_key, (str,)),
            "label": (config.label_key, (msgspec.Raw,)),
            "metadata": (config.metadata_key, (msgspec.defstruct("Metadata", []) | None, None)),
            "tools": (config.tool_key, (None, None)),
        }
        columns = {name: column for name, (column, _) in fields.items() if column is not None}
        is_plain = not config.apply_chat_template and config.max_prompt_len is None
        if (
            is_plain
            and len(set(columns.values())) == len(columns)
            and not any(map(_ESCAPED.search, columns.values()))
        ):
            types: list[Any] = [(name, *fields[name][1]) for name in columns]
            self._lines = msgspec.json.Decoder(msgspec.defstruct("Line", types, rename=columns))

    def passes(self, batch: range) -> bool:
        """True only if the rows of ``batch`` are certainly good; False says nothing of them."""
        if self._lines is None or not isinstance(self._rows, JsonlRows):
            return False
        content = self._rows.block(batch.start, len(batch))
        if any(start in content for start in _STARTS):
            return False
        try:
            if not content.isascii():
                content.decode()
            return len(self._lines.decode_lines(content)) == len(batch)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False


def _check_storable(reader: PromptReader, prompt: Prompt, row: int) -> None:
    try:
        encode(prompt._asdict())
    except CannotStoreError as error:
        raise reader.error(row, str(error), "prompt_data", reader.config.path) from None


def _tell(found: Mapping[str, int], total: int, config: SourcePlan) -> None:
    """Logs what users should know of their rows, at every start."""
    if found["tagged"]:
        logger.warning(
            "source '%s': %d rows have metadata of the data source's own names (%s); their "
            "values are kept under '%s'",
            config.name, found["tagged"], ", ".join(TAGS), ORIGINAL_KEY,
        )  # fmt: skip
    if found["unlimited"]:
        logger.warning(
            "source '%s': rollout_max_prompt_len does not apply to %d prompts that are chat "
            "messages; set apply_chat_template to have them measured",
            config.name, found["unlimited"],
        )  # fmt: skip
    if config.max_prompt_len is not None:
        logger.info(
            "source '%s': %d of %d prompts left out, longer than rollout_max_prompt_len=%d tokens",
            config.name, found["left_out"], total, config.max_prompt_len,
        )  # fmt: skip


def _progress(items: Sequence[int], label: str) -> Iterable[int]:
    # disable=None shows the bar on a terminal only
    bar: Iterable[int] = tqdm(
        items, desc=visible(label), unit_scale=_BATCH, unit=" rows", delay=_PATIENCE, disable=None
    )
    return bar
