"""The prompts of one source: rows turned into prompt, label and metadata.

Every row is checked once, at the start, so that a bad one does not stop a run days later.
"""

from __future__ import annotations

import hashlib
import numbers
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from curriculum_learning.config.data_source import Config, SourceConfig
from curriculum_learning.config.paths import file_of
from curriculum_learning.errors import ConfigurationError, DataError
from curriculum_learning.prompts.cache import Cache, Key
from curriculum_learning.prompts.files import open_rows
from curriculum_learning.prompts.look import SMALL, check_rows
from curriculum_learning.prompts.rows import Record, Rows
from curriculum_learning.samples.sample import (
    ORIGINAL_KEY,
    SOURCE_KEY,
    SOURCE_NAME_KEY,
    TAGS,
    Prompt,
)

_OWN = frozenset(TAGS)
_BATCH = 1024


class Prompts:
    """The rows of a source that may be served, as prompts.

    Args:
        config: What the configuration says of the source.
        tokenizer: A Hugging Face tokenizer; needed for a chat template or a length limit.
        cache: Keeps what is worked out of the file; None keeps nothing.

    Raises:
        DataError: The file cannot be read, or some row lacks what the configuration names; the
            message has file and line.
        ConfigurationError: No row is within ``rollout_max_prompt_len``.
    """

    def __init__(
        self, config: SourceConfig, tokenizer: Any = None, cache: Cache | None = None
    ) -> None:
        self.config = config
        self._tokenizer = tokenizer
        self._is_json = file_of(config.path).endswith(".jsonl")
        self._cache = cache or Cache(None)
        self._rows: Rows = open_rows(config.path, config.name, cache)
        try:
            self._kept = check_rows(self._rows, config, tokenizer, self._read_rows, self._cache)
        except BaseException:
            self._rows.close()
            raise
        self.fingerprint: dict[str, Any] = {
            **self._rows.fingerprint,
            "served_rows": len(self),
            "max_prompt_len": config.max_prompt_len,
            "served_hash": None if self._kept is None else _hash(self._kept.tobytes()),
            **_reading(config, tokenizer),
        }

    def __len__(self) -> int:
        return len(self._rows) if self._kept is None else len(self._kept)

    def read(self, indices: Sequence[int]) -> list[Prompt]:
        """The prompts at ``indices`` (each 0 to ``len(self) - 1``); their values are fresh."""
        if self._kept is not None:
            indices = self._kept[list(indices)].tolist()
        return self._read_rows(indices)

    def scores(self, key: str) -> NDArray[np.float64]:
        """The complexity of each prompt: the number ``key`` of its metadata, or in that column.

        Raises:
            DataError: A row has none, or one that is not finite; with count, file and line.
        """
        asked = {"metadata_key": self.config.metadata_key, "complexity_key": key}
        entry: Key = {"what": "scores", "rows": self._rows.fingerprint, "config": asked}

        def write(folder: Path) -> None:
            np.save(folder / "scores.npy", self._scores(key))

        scores = None
        if len(self._rows) > SMALL:
            scores = self._cache.get(entry, write, lambda folder: np.load(folder / "scores.npy"))
        if scores is None:
            scores = self._scores(key)
        kept = scores if self._kept is None else scores[self._kept]
        bad = np.flatnonzero(~np.isfinite(kept))
        if not len(bad):
            return kept
        row = int(bad[0] if self._kept is None else self._kept[bad[0]])
        raise DataError(
            f"source '{self.config.name}': {len(bad)} of its {len(kept)} rows have no usable "
            f"'{key}', a finite number, in {self.config.metadata_key} or in a column of its own; "
            f"the first is {self._rows.where(row)}. A curriculum needs one for each row",
            source=self.config.name,
            key="data_source_curricula",
            value=key,
        )

    def _scores(self, key: str) -> NDArray[np.float64]:
        """Of all rows, also those that are too long; NaN where there is none."""
        scores = np.full(len(self._rows), np.nan)
        for start in range(0, len(scores), _BATCH):
            rows = range(start, min(start + _BATCH, len(scores)))
            for row, record in zip(rows, self._rows.records(rows), strict=True):
                metadata = record.get(self.config.metadata_key)
                inner = metadata.get(key) if isinstance(metadata, dict) else None
                score = record.get(key) if inner is None else inner
                if isinstance(score, (numbers.Real, Decimal)) and not isinstance(score, bool):
                    scores[row] = float(score)
        return scores

    def grown_from(self, fingerprint: Mapping[str, Any]) -> str | None:
        """Why these prompts do not begin with those of ``fingerprint``; None if they do."""
        if fingerprint["max_prompt_len"] != self.config.max_prompt_len:
            return "prompts are left out by another length"
        if any(
            fingerprint.get(key) != now
            for key, now in _reading(self.config, self._tokenizer).items()
        ):
            return "its rows are read by other columns or another template"
        problem = self._rows.grown_from(fingerprint)
        if problem is not None:
            return problem
        old = np.arange(fingerprint["rows"]) if self._kept is None else self._kept
        old = old[old < fingerprint["rows"]]
        all_kept = len(old) == fingerprint["rows"]
        if fingerprint["served_hash"] != (None if all_kept else _hash(old.tobytes())):
            return "other prompts than then are too long"
        return None

    def close(self) -> None:
        """Release the file."""
        self._rows.close()

    def _read_rows(self, indices: Sequence[int]) -> list[Prompt]:
        records = self._rows.records(indices)
        return [self._prompt(record, row) for record, row in zip(records, indices, strict=True)]

    def _prompt(self, record: Record, row: int) -> Prompt:
        config = self.config
        prompt = record.get(config.input_key)
        if prompt is None:
            raise self._error(
                row,
                "input_key",
                config.input_key,
                f"is missing; set input_key to one of its columns, {sorted(record)}",
            )
        if not isinstance(prompt, str) and not _is_chat(prompt):
            raise self._error(
                row,
                "input_key",
                config.input_key,
                f"is {prompt!r:.60}, neither text nor a list of messages; set input_key to the "
                f"column of the prompts, or mend the row",
            )
        label = None
        if config.label_key is not None:
            if config.label_key not in record:
                raise self._error(
                    row,
                    "label_key",
                    config.label_key,
                    f"is missing; set label_key to one of its columns, {sorted(record)}, or "
                    f"to null",
                )
            label = record[config.label_key]
        metadata = record.get(config.metadata_key)
        if not metadata:  # null, [] and "" as well, as slime reads them
            metadata = {}
        elif not isinstance(metadata, dict):
            raise self._error(
                row,
                "metadata_key",
                config.metadata_key,
                f"is {metadata!r:.60}, not a mapping; set metadata_key to another column, or mend "
                f"the row",
            )
        metadata = _with_original(metadata)
        tools = record.get(config.tool_key) if config.tool_key is not None else None
        if tools is not None:
            metadata["tools"] = tools = self._tools(tools, row)
        if config.apply_chat_template:
            prompt = self._render(prompt, tools, row)
        return Prompt(prompt, label, metadata, self._is_json)

    def _error(self, row: int, key: str, column: str, problem: str) -> DataError:
        return DataError(
            f"source '{self.config.name}', {self._rows.where(row)}: {key} '{column}' {problem}",
            source=self.config.name,
            key=key,
            value=column,
        )

    def _tools(self, tools: Any, row: int) -> list[Any]:
        if isinstance(tools, str):
            try:
                tools = orjson.loads(tools)
            except orjson.JSONDecodeError as problem:
                raise self._error(
                    row, "tool_key", "tools", f"is not valid JSON: {problem}"
                ) from None
        if not isinstance(tools, list):
            raise self._error(
                row, "tool_key", "tools", f"is a {type(tools).__name__}, not a list; mend the row"
            )
        return tools

    def _render(self, prompt: Any, tools: Any, row: int) -> str:
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        try:
            text: str = self._tokenizer.apply_chat_template(
                messages,
                tools=tools,
                tokenize=False,
                add_generation_prompt=True,
                **self.config.apply_chat_template_kwargs,
            )
        except Exception as error:
            raise DataError(
                f"source '{self.config.name}', {self._rows.where(row)}: the chat template of "
                f"hf_checkpoint refuses the prompt: {error}",
                source=self.config.name,
                key="apply_chat_template",
                value=prompt,
            ) from error
        return text


def _reading(config: SourceConfig, tokenizer: Any) -> dict[str, Any]:
    """Returns what decides which prompt a row becomes, as plain data."""
    keys = ("input_key", "label_key", "metadata_key", "tool_key", "apply_chat_template")
    reading: dict[str, Any] = {key: getattr(config, key) for key in keys}
    if config.apply_chat_template:
        # Sorted text, because arguments from Python may be of types that a state cannot hold.
        options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
        kwargs = orjson.dumps(dict(config.apply_chat_template_kwargs), _type_name, options)
        reading["apply_chat_template_kwargs"] = kwargs.decode()
        reading["chat_template"] = _hash(str(getattr(tokenizer, "chat_template", None)).encode())
    return reading


def _type_name(value: object) -> str:
    return type(value).__qualname__


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _is_chat(prompt: object) -> bool:
    return (
        isinstance(prompt, list)
        and bool(prompt)
        and all(isinstance(message, dict) and "role" in message for message in prompt)
    )


def _with_original(metadata: dict[str, Any]) -> dict[str, Any]:
    """``metadata`` with values under our own names moved to ORIGINAL_KEY.

    A row that names its source keeps that name there; where a row has several different values
    under our names, all are kept, by name.
    """
    if _OWN.isdisjoint(metadata):
        return metadata
    own = {key: metadata[key] for key in TAGS if key in metadata}
    values = list(own.values())
    single = set(own) <= {SOURCE_KEY, SOURCE_NAME_KEY} and all(v == values[0] for v in values)
    rest = {key: value for key, value in metadata.items() if key not in own}
    return {**rest, ORIGINAL_KEY: values[0] if single else own}


def open_prompts(config: Config) -> dict[str, Prompts]:
    """The prompts of all sources, by name; raises as ``Prompts`` and ``load_tokenizer``."""
    templated = [source.name for source in config.sources if source.apply_chat_template]
    limited = [source.name for source in config.sources if source.max_prompt_len is not None]
    key = "apply_chat_template" if templated else "rollout_max_prompt_len" if limited else None
    tokenizer = load_tokenizer(config.hf_checkpoint, key) if key else None
    if tokenizer is not None and config.dump_details is not None:
        tokenizer.save_pretrained(Path(config.dump_details) / "tokenizer")
    opened: dict[str, Prompts] = {}
    cache = Cache(config.cache)
    try:
        for source in config.sources:
            opened[source.name] = Prompts(source, tokenizer, cache)
    except BaseException:
        for prompts in opened.values():
            prompts.close()
        raise
    return opened


def load_tokenizer(hf_checkpoint: str | None, key: str) -> Any:
    """The Hugging Face tokenizer of ``hf_checkpoint``; ``key`` is the setting that needs it.

    Raises:
        ConfigurationError: There is no such checkpoint, or transformers is not installed.
    """
    if not hf_checkpoint:
        raise ConfigurationError(
            f"{key} needs a tokenizer, and hf_checkpoint ({hf_checkpoint!r}) names none; set it "
            f"to the model's folder or name",
            key="hf_checkpoint",
            value=hf_checkpoint,
        )
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise ConfigurationError(
            f"{key} needs transformers; pip install 'curriculum_learning[tokenizer]'",
            key=key,
            value=hf_checkpoint,
        ) from None
    try:
        return AutoTokenizer.from_pretrained(hf_checkpoint, trust_remote_code=True)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"hf_checkpoint {hf_checkpoint!r} has no tokenizer, which {key} needs: {error}",
            key="hf_checkpoint",
            value=hf_checkpoint,
        ) from error
