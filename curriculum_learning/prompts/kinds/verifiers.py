"""Rows of the task sets of verifiers: one task a row, with what a rollout rebuilds it from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from curriculum_learning.config.dotted_path import importing_by_library
from curriculum_learning.config.kinds import Taskset
from curriculum_learning.config.problems import suggestion
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.prompts.kinds.generated import GeneratedRows
from curriculum_learning.prompts.rows import Record, content_hash
from curriculum_learning.samples.codec import decode, encode


class TasksetRows(GeneratedRows):
    """The tasks of a task set, with the prompt in ``input`` and the answer in ``label``.

    The fields that a task has of its own are columns too. The metadata have, under ``verifiers``,
    the configuration of the task set and the whole task, as plain data: verifiers makes the task
    of them again. All tasks are read at the start and held in memory, encoded; of a task set
    without end those up to the last one that was asked for.

    Args:
        kind: The task set.
        source: The name of the source.

    Raises:
        ConfigurationError: There is no such task set, it refuses the settings, or its tasks cannot
            be loaded; or verifiers is not installed.
    """

    is_json = True

    def __init__(self, kind: Taskset, source: str) -> None:
        super().__init__(kind.text, source, kind.rows)
        self._remake = (kind, source)
        self._lock = threading.Lock()
        self._tasks: list[bytes] = []
        try:
            from verifiers import v1 as verifiers
        except ImportError:
            problem = (
                "needs verifiers and Python 3.11; pip install 'curriculum_learning[verifiers]'"
            )
            raise self.refused(problem) from None
        self._shared = set(verifiers.TaskData.model_fields)
        try:
            with importing_by_library():
                taskset = self._loaded(verifiers, kind)
                self._left = islice(_encoded(taskset), kind.rows)
                self.is_generated = not taskset.bounded and kind.rows is None
                if not self.is_generated:
                    self._tasks.extend(self._left)
                    self.size = len(self._tasks)
        except ConfigurationError:
            raise
        except Exception as error:  # a task set is anybody's code
            raise self.refused(f"cannot be used: {error or repr(error)}") from error
        self.fingerprint = {
            "rows": self.size,
            "span": [None, None],
            "generator": kind.text,
            "settings": orjson.dumps(self._config, option=orjson.OPT_SORT_KEYS).decode(),
            "hash": self.sample_hash() if self.is_generated else content_hash(self._tasks),
        }

    def _loaded(self, verifiers: Any, kind: Taskset) -> Any:
        from pydantic import ValidationError

        config_type = verifiers.taskset_config_type(kind.taskset)
        known = [name for name in config_type.model_fields if name != "id"]
        for key in kind.settings:
            if key not in known:
                raise self.refused(f"has no setting {key}; {suggestion(key, known)}")
        try:
            config = config_type(id=kind.taskset, **kind.settings)
        except ValidationError as error:
            found = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise self.refused(f"refuses its settings: {'; '.join(found)}") from None
        self._config = config.model_dump(mode="json", exclude_unset=True)
        return verifiers.load_taskset(config)

    def _encoded_task(self, index: int) -> bytes:
        """Reads on in a task set without end up to a task."""
        with self._lock:
            self._tasks.extend(islice(self._left, max(index + 1 - len(self._tasks), 0)))
        return self._tasks[index]

    def make(self, index: int) -> Record:
        """See ``GeneratedRows``."""
        task = decode(self._encoded_task(index))
        own = {name: value for name, value in task.items() if name not in self._shared}
        return {
            "label": own.get("answer"),
            **own,
            "input": _prompt(task),
            "metadata": {"verifiers": {"taskset": dict(self._config), "task": task}},
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return TasksetRows, self._remake


def _encoded(taskset: Any) -> Iterator[bytes]:
    """Yields the tasks as plain data; raises ValueError if they are not whole that way."""
    for task in taskset:
        fields = type(task.data).model_fields.items()
        if left_out := [name for name, field in fields if field.exclude]:
            raise ValueError(f"its tasks leave {left_out} out when they are written; keep them")
        yield encode(task.data.model_dump(mode="json"))


def _prompt(task: Record) -> str | list[Record]:
    """Returns the prompt of a task: messages if it has any, or a system prompt; else a text.

    The text is empty where the environment's user opens the conversation.
    """
    prompt, system = task["prompt"] or "", task["system_prompt"]
    if isinstance(prompt, str):
        if system is None:
            return prompt
        prompt = [{"role": "user", "content": prompt}] if prompt else []
    messages = [{k: v for k, v in message.items() if v is not None} for message in prompt]
    return messages if system is None else [{"role": "system", "content": system}, *messages]
