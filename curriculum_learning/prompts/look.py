"""Every row of a source is looked at once, so that a bad one does not stop a run days later."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray
from tqdm import tqdm

from curriculum_learning.config.plan import SourcePlan
from curriculum_learning.errors import ConfigurationError, DataError
from curriculum_learning.prompts.cache import Cache, Key
from curriculum_learning.prompts.jsonl import JsonlRows
from curriculum_learning.prompts.rows import Rows
from curriculum_learning.samples.codec import CannotStoreError, encode
from curriculum_learning.samples.sample import (
    ORIGINAL_KEY,
    SOURCE_KEY,
    SOURCE_NAME_KEY,
    TAGS,
    Prompt,
)

logger = logging.getLogger(__name__)

Read = Callable[[Sequence[int]], list[Prompt]]
"""Gives the prompts of some rows; raises DataError where one cannot be used."""

_BATCH = 1024
_PATIENCE = 2.0
"""Seconds of work before a progress bar is shown."""
SMALL = 4096
"""So few rows are looked at each time."""


class _Found(msgspec.Struct):
    """What there is to be said of the rows of a source."""

    tagged: int = 0
    """Rows whose metadata has keys of ours."""
    unlimited: int = 0
    """Rows that are chat messages, which have no length."""
    left_out: bool = False
    """Some rows are too long."""


def check_rows(
    rows: Rows, config: SourcePlan, tokenizer: Any, read: Read, cache: Cache
) -> NDArray[np.int64] | None:
    """Look at every row, unless the cache knows that this has been done.

    Returns:
        The rows within ``rollout_max_prompt_len``, ascending; None if that is all of them.

    Raises:
        DataError: A row cannot be used.
        ConfigurationError: None is within the limit.
    """

    def look() -> tuple[_Found, NDArray[np.int64]]:
        return _look(rows, config, tokenizer, read)

    def write(folder: Path) -> None:
        found, kept = look()
        np.save(folder / "kept.npy", kept)
        (folder / "found.json").write_bytes(msgspec.json.encode(found))

    key = _key(rows, config, tokenizer) if len(rows) > SMALL else None
    found, kept = (None if key is None else cache.get(key, write, _read)) or look()
    _tell(found, len(kept), len(rows), config)
    return kept if found.left_out else None


def _read(folder: Path) -> tuple[_Found, NDArray[np.int64]]:
    found = msgspec.json.decode((folder / "found.json").read_bytes(), type=_Found)
    # What is empty cannot be mapped.
    kept = np.load(folder / "kept.npy", mmap_mode="r") if found.left_out else np.array([])
    return found, kept


def _key(rows: Rows, config: SourcePlan, tokenizer: Any) -> Key | None:
    """All that the outcome depends on; None if that cannot be told."""
    asked = {
        name: getattr(config, name)
        for name in (
            "input_key", "label_key", "metadata_key", "tool_key", "apply_chat_template",
            "apply_chat_template_kwargs", "max_prompt_len",
        )
    }  # fmt: skip
    vocabulary = None
    if config.apply_chat_template or config.max_prompt_len is not None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        text = backend.to_str() + str(tokenizer.chat_template) + str(tokenizer.special_tokens_map)
        vocabulary = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    key: Key = {"what": "rows", "rows": rows.fingerprint, "config": asked, "tokenizer": vocabulary}
    try:
        orjson.dumps(key)
    except TypeError:  # a template takes arguments that are no plain data
        return None
    return key


def _look(
    rows: Rows, config: SourcePlan, tokenizer: Any, read: Read
) -> tuple[_Found, NDArray[np.int64]]:
    limit = config.max_prompt_len
    glance = _glance(rows, config)
    found = _Found()
    kept: list[int] = []
    for start in _progress(range(0, len(rows), _BATCH), f"{config.name}: reading"):
        batch = range(start, min(start + _BATCH, len(rows)))
        if glance(batch):
            continue
        prompts = read(batch)
        _check_storable(rows, config, prompts, batch)
        found.tagged += sum(ORIGINAL_KEY in prompt.metadata for prompt in prompts)
        if limit is None:
            continue
        texts = [prompt.prompt for prompt in prompts if isinstance(prompt.prompt, str)]
        lengths = iter(_lengths(tokenizer, texts))
        for row, prompt in zip(batch, prompts, strict=True):
            if not isinstance(prompt.prompt, str):
                found.unlimited += 1
                kept.append(row)
            elif next(lengths) <= limit:
                kept.append(row)
    if limit is not None and not kept:
        raise ConfigurationError(
            f"source '{config.name}': none of its {len(rows)} prompts has at most "
            f"rollout_max_prompt_len={limit} tokens; raise the limit or drop the source",
            source=config.name,
            key="rollout_max_prompt_len",
            value=limit,
        )
    found.left_out = limit is not None and len(kept) < len(rows)
    return found, np.array(kept if found.left_out else [], dtype=np.int64)


def _glance(rows: Rows, config: SourcePlan) -> Callable[[range], bool]:
    """A quick look at lines that says True only of such as certainly are as they should be.

    They are parsed without making anything of them but the prompt's text. Whatever is unusual
    (chats, tools, metadata keys of ours, numbers that only Python reads) is for the slow look.
    """
    columns = [config.input_key, config.metadata_key]
    columns += [key for key in (config.label_key, config.tool_key) if key is not None]
    plain = not config.apply_chat_template and config.max_prompt_len is None
    if not isinstance(rows, JsonlRows) or not plain or len(set(columns)) < len(columns):
        return lambda batch: False
    metadata = msgspec.defstruct("Metadata", [])
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [("input", str)]
    names = {"input": config.input_key, "metadata": config.metadata_key}
    if config.label_key is not None:
        fields.append(("label", msgspec.Raw))
        names["label"] = config.label_key
    fields.append(("metadata", metadata | None, None))
    if config.tool_key is not None:
        fields.append(("tools", None, None))
        names["tools"] = config.tool_key
    line = msgspec.json.Decoder(msgspec.defstruct("Line", fields, rename=names))
    own = [f'"{tag}'.encode() for tag in (SOURCE_KEY, SOURCE_NAME_KEY)]  # the others begin so

    def glance(batch: range) -> bool:
        content = rows.block(batch.start, len(batch))
        if any(tag in content for tag in own):
            return False
        try:
            if not content.isascii():
                content.decode()
            return len(line.decode_lines(content)) == len(batch)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False

    return glance


def _check_storable(
    rows: Rows, config: SourcePlan, prompts: Sequence[Prompt], batch: Sequence[int]
) -> None:
    """Whether a state file can hold what rows of other formats than JSON may have."""
    if isinstance(rows, JsonlRows):
        return
    for prompt, row in zip(prompts, batch, strict=True):
        problem = _storage_problem(prompt)
        if problem is not None:
            raise DataError(
                f"source '{config.name}', {rows.where(row)}: {problem}",
                source=config.name,
                key="prompt_data",
                value=config.path,
            )


def _storage_problem(prompt: Prompt) -> str | None:
    try:
        encode(prompt._asdict())
    except CannotStoreError as error:
        return str(error)
    return None


def _lengths(tokenizer: Any, texts: list[str]) -> list[int]:
    if not texts:
        return []
    return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def _tell(found: _Found, kept: int, total: int, config: SourcePlan) -> None:
    """Say what users should know of their rows, each time."""
    if found.tagged:
        logger.warning(
            "source '%s': %d rows have metadata of the data source's own names (%s); their "
            "values are kept under '%s'",
            config.name, found.tagged, ", ".join(TAGS), ORIGINAL_KEY,
        )  # fmt: skip
    if found.unlimited:
        logger.warning(
            "source '%s': rollout_max_prompt_len does not apply to %d prompts that are chat "
            "messages; set apply_chat_template to have them measured",
            config.name, found.unlimited,
        )  # fmt: skip
    if config.max_prompt_len is not None:
        logger.info(
            "source '%s': %d of %d prompts left out, longer than rollout_max_prompt_len=%d tokens",
            config.name, total - kept if found.left_out else 0, total, config.max_prompt_len,
        )  # fmt: skip


def _progress(items: Sequence[int], what: str) -> Iterable[int]:
    # disable=None shows the bar on a terminal only
    bar: Iterable[int] = tqdm(
        items, desc=what, unit_scale=_BATCH, unit=" rows", delay=_PATIENCE, disable=None
    )
    return bar
