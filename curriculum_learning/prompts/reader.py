"""Turns the rows of a file into prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson

from curriculum_learning.config.plan import SourcePlan
from curriculum_learning.errors import DataError
from curriculum_learning.prompts.media import Media, MediaError
from curriculum_learning.prompts.rows import Record, Rows
from curriculum_learning.samples.group import Prompt
from curriculum_learning.samples.tags import move_tags_aside


class PromptReader:
    """Reads prompt, label, metadata and tools from the columns that a source names.

    Args:
        rows: The rows of the source.
        config: Names the columns.
        tokenizer: Has the chat template; None if none is applied.
        processor: Of models that see pictures; or None.
    """

    def __init__(
        self, rows: Rows, config: SourcePlan, tokenizer: Any, processor: Any = None
    ) -> None:
        self.rows = rows
        self.config = config
        self.tokenizer = tokenizer
        self.processor = processor
        keys = config.multimodal_keys
        self._media = Media(keys, processor) if keys else None
        self.fingerprint = _fingerprint(config, tokenizer)
        """What decides which prompt a row becomes, as plain data."""

    def read(self, indices: Sequence[int]) -> list[Prompt]:
        """Reads the prompts of the rows at ``indices``; nothing in them is shared.

        Raises:
            DataError: A row cannot be served; the message has file and line.
        """
        records = self.rows.records(indices)
        return [self._prompt(record, row) for record, row in zip(records, indices, strict=True)]

    def look(self, indices: Sequence[int]) -> list[Prompt]:
        """Reads prompts without their pictures, which are only looked at; raises as ``read``."""
        records = self.rows.records(indices)
        return [
            self._prompt(record, row, loads=False)
            for record, row in zip(records, indices, strict=True)
        ]

    def error(self, row: int, problem: str, key: str, value: Any) -> DataError:
        """Makes an error that names the source, the file and the line of a row."""
        place = f"source '{self.config.name}', {self.rows.where(row)}"
        return DataError(f"{place}: {problem}", source=self.config.name, key=key, value=value)

    def _prompt(self, record: Record, row: int, loads: bool = True) -> Prompt:
        config = self.config
        prompt = record.get(config.input_key)
        if not isinstance(prompt, str) and not _is_chat(prompt):
            raise self._bad_input(record, row)
        label = None
        if config.label_key is not None:
            if config.label_key not in record:
                raise self._missing("label_key", record, row, ", or to null")
            label = record[config.label_key]
        metadata = record.get(config.metadata_key)
        if not metadata:  # null, [] and "" too, as slime reads them
            metadata = {}
        elif not isinstance(metadata, dict):
            problem = f"is {metadata!r:.60}, not a mapping; set metadata_key to another column, or "
            raise self._column_error(row, "metadata_key", problem + "mend the row")
        metadata = move_tags_aside(metadata)
        tools = record.get(config.tool_key) if config.tool_key is not None else None
        if tools is not None:
            metadata["tools"] = tools = self._tools(tools, row)
        inputs = None
        if self._media is not None:
            prompt, inputs = self._with_media(self._media, record, prompt, row, loads)
        if config.apply_chat_template:
            prompt = self._render(prompt, tools, row)
        return Prompt(prompt, label, metadata, self.rows.is_json, inputs)

    def _with_media(
        self, media: Media, record: Record, prompt: Any, row: int, loads: bool
    ) -> tuple[Any, dict[str, Any] | None]:
        """Returns the messages with their media, and what is loaded of them."""
        try:
            messages = media.messages(record, prompt)
            if loads:
                return messages, media.inputs(messages)
            media.look(messages)
        except MediaError as problem:
            raise self.error(row, str(problem), "multimodal_keys", prompt) from None
        return messages, None

    def _bad_input(self, record: Record, row: int) -> DataError:
        prompt = record.get(self.config.input_key)
        if prompt is None and self.config.input_key not in record:
            return self._missing("input_key", record, row)
        problem = (
            f"is {prompt!r:.60}, neither text nor a list of messages; set input_key to the "
            f"column of the prompts, or mend the row"
        )
        return self._column_error(row, "input_key", problem)

    def _missing(self, key: str, record: Record, row: int, remedy: str = "") -> DataError:
        columns = f"its columns, {sorted(record)}"
        problem = f"is missing; set {key} (also by source) to one of {columns}{remedy}"
        return self._column_error(row, key, problem)

    def _column_error(self, row: int, key: str, problem: str) -> DataError:
        column = getattr(self.config, key)
        return self.error(row, f"{key} '{column}' {problem}", key, column)

    def _tools(self, tools: Any, row: int) -> list[Any]:
        if isinstance(tools, str):
            try:
                tools = orjson.loads(tools)
            except orjson.JSONDecodeError as error:
                raise self._column_error(row, "tool_key", f"is not valid JSON: {error}") from None
        if not isinstance(tools, list):
            problem = f"is a {type(tools).__name__}, not a list; mend the row"
            raise self._column_error(row, "tool_key", problem)
        return tools

    def _render(self, prompt: Any, tools: Any, row: int) -> str:
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        try:
            text = self.tokenizer.apply_chat_template(
                messages,
                tools=tools,
                tokenize=False,
                add_generation_prompt=True,
                **self.config.apply_chat_template_kwargs,
            )
            if not isinstance(text, str):
                raise TypeError(f"it gives a {type(text).__name__}, not a text")
        except (Exception, SystemExit) as error:
            problem = f"the chat template of hf_checkpoint refuses the prompt: {error}"
            raise self.error(row, problem, "apply_chat_template", prompt) from error
        return text


def _is_chat(prompt: object) -> bool:
    return (
        isinstance(prompt, list)
        and bool(prompt)
        and all(isinstance(message, dict) and "role" in message for message in prompt)
    )


def _fingerprint(config: SourcePlan, tokenizer: Any) -> dict[str, Any]:
    keys = ("input_key", "label_key", "metadata_key", "tool_key", "apply_chat_template")
    fingerprint: dict[str, Any] = {key: getattr(config, key) for key in keys}
    if config.multimodal_keys:
        fingerprint["multimodal_keys"] = dict(config.multimodal_keys)
    if config.apply_chat_template:
        # Sorted text, because arguments from Python may be of types that a state cannot hold.
        options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
        kwargs = orjson.dumps(dict(config.apply_chat_template_kwargs), _type_name, options)
        template = str(getattr(tokenizer, "chat_template", None)).encode()
        fingerprint["apply_chat_template_kwargs"] = kwargs.decode()
        fingerprint["chat_template"] = hashlib.blake2b(template, digest_size=16).hexdigest()
    return fingerprint


def _type_name(value: object) -> str:
    return type(value).__qualname__
