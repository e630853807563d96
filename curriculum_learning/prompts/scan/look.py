"""The check of every row at the start, so that a bad row does not stop a run days later."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from curriculum_learning.config.plan import SourcePlan
from curriculum_learning.config.visible import visible
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.prompts.cache import Cache, Kept, Key
from curriculum_learning.prompts.reader import PromptReader
from curriculum_learning.prompts.scan.glance import Glance
from curriculum_learning.prompts.tokenizer import prompt_lengths, tokenizer_key
from curriculum_learning.samples.codec import CannotStoreError, encode
from curriculum_learning.samples.group import Prompt
from curriculum_learning.samples.tags import ORIGINAL_KEY, TAGS

logger = logging.getLogger(__name__)

_BATCH = 1024
_PATIENCE = 2.0
"""Seconds of work before a progress bar is shown."""
_SETTINGS = (
    "input_key", "label_key", "metadata_key", "tool_key", "apply_chat_template",
    "apply_chat_template_kwargs", "max_prompt_len", "multimodal_keys",
)  # fmt: skip
"""The settings that the outcome depends on."""


def check_rows(reader: PromptReader, cache: Cache) -> NDArray[np.int64] | None:
    """Checks every row, unless the cache knows the outcome.

    Returns:
        The rows within ``rollout_max_prompt_len``, ascending; None if that is all of them.

    Raises:
        DataError: A row cannot be served.
        ConfigurationError: No row is within the limit.
    """
    config = reader.config
    if reader.rows.size is None or (reader.rows.is_generated and config.max_prompt_len is None):
        _try_rows(reader)
        return None
    asks_tokenizer = config.apply_chat_template or config.max_prompt_len is not None
    key: Key = {
        "what": "rows",
        "rows": reader.rows.fingerprint,
        "config": {name: getattr(config, name) for name in _SETTINGS},
        "tokenizer": tokenizer_key(reader.tokenizer) if asks_tokenizer else None,
        "processor": None if reader.processor is None else reader.processor.to_json_string(),
    }
    kept = cache.find(key) or cache.keep(key, _look_through(reader))
    _tell(kept.facts, len(reader.rows), config)
    return kept.array if kept.facts["left_out"] else None


def _try_rows(reader: PromptReader) -> None:
    """Reads the first rows of a generator: to make all would take long, or for ever.

    Those that have no end are measured when they are drawn.
    """
    config, size = reader.config, reader.rows.size
    tried = reader.rows.tried
    rows = range(tried if size is None else min(size, tried))
    prompts = reader.read(rows)
    for row, prompt in zip(rows, prompts, strict=True):
        _check_storable(reader, prompt, row)
    if config.max_prompt_len is not None:
        _warn_of_messages(within_limit(reader, prompts).count(None), config)


def within_limit(reader: PromptReader, prompts: Sequence[Prompt]) -> list[bool | None]:
    """Whether each prompt is within ``rollout_max_prompt_len``; None for chat messages.

    They have no length.
    """
    limit = reader.config.max_prompt_len
    counts = prompt_lengths(prompts, reader.tokenizer, reader.processor)
    return [None if count is None or limit is None else count <= limit for count in counts]


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
        prompts = reader.look(batch) if limit is None else reader.read(batch)
        if not reader.rows.is_json:  # a state file can hold all that JSON can
            for row, prompt in zip(batch, prompts, strict=True):
                _check_storable(reader, prompt, row)
        tagged += sum(ORIGINAL_KEY in prompt.metadata for prompt in prompts)
        if limit is None:
            continue
        fits = within_limit(reader, prompts)
        unlimited += fits.count(None)
        fitting += [row for row, is_fit in zip(batch, fits, strict=True) if is_fit is not False]
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
    _warn_of_messages(found["unlimited"], config)
    if config.max_prompt_len is not None:
        logger.info(
            "source '%s': %d of %d prompts left out, longer than rollout_max_prompt_len=%d tokens",
            config.name, found["left_out"], total, config.max_prompt_len,
        )  # fmt: skip


def _warn_of_messages(count: int, config: SourcePlan) -> None:
    if count:
        logger.warning(
            "source '%s': rollout_max_prompt_len does not apply to %d prompts that are chat "
            "messages; set apply_chat_template to have them measured",
            config.name, count,
        )  # fmt: skip


def _progress(items: Sequence[int], label: str) -> Iterable[int]:
    # disable=None shows the bar on a terminal only
    bar: Iterable[int] = tqdm(
        items, desc=visible(label), unit_scale=_BATCH, unit=" rows", delay=_PATIENCE, disable=None
    )
    return bar
