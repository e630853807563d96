"""The kinds of sources that are no files, as ``prompt_data`` names them.

Each is a mapping with ``type`` and the keys of that kind. A text is short for it:
``hf:NAME:SPLIT``, ``reasoning_gym:TASK``, ``verifiers:TASKSET``, and the dotted path of a function
or class of the user's. Any other text names files.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, MinLen

from curriculum_learning.config.dotted_path import NoModuleError, load_callable
from curriculum_learning.config.keys import Recipe, read_arguments, read_choice, read_value
from curriculum_learning.config.paths import ENDINGS, file_of, name_of
from curriculum_learning.config.problems import Problem, Problems, below, one_of, shown, spelled

_Text = Annotated[str, MinLen(1), "a text"]
_Count = Annotated[int, Ge(1)]

PROMPTS_GROUP = "curriculum_learning.prompts"
"""Entry points with which packages ship kinds of their own."""

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Files:
    """Files of rows.

    Args:
        path: A file, a folder or a glob, with a slice if wanted.
    """

    path: _Text

    @property
    def source_name(self) -> str:
        """The name of the source, if it is given none."""
        return name_of(self.path)

    @property
    def text(self) -> str:
        """What messages call it."""
        return self.path


@dataclasses.dataclass(frozen=True, kw_only=True)
class HubData:
    """A data set that ``datasets.load_dataset`` finds.

    Args:
        name: Its name on the hub, or a folder.
        split: The split.
        config: The configuration, if it has several.
        revision: The version; null is the newest.
    """

    name: _Text
    split: _Text = "train"
    config: _Text | None = None
    revision: _Text | None = None

    @property
    def source_name(self) -> str:
        """The name of the source, if it is given none."""
        return name_of(self.name)

    @property
    def text(self) -> str:
        """What messages call it."""
        return f"hf:{self.name}:{self.split}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GymTask:
    """A task of reasoning_gym.

    Args:
        task: Its name.
        seed: Chooses the rows, together with their index.
        rows: Number of rows; null is without end.
        levels: Difficulty levels, the first ones of the task's own curriculum.
        settings: Of the task.
    """

    task: _Text
    seed: Annotated[int, Ge(0)] = 0
    rows: _Count | None = None
    levels: _Count = 1
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def source_name(self) -> str:
        """The name of the source, if it is given none."""
        return self.task

    @property
    def text(self) -> str:
        """What messages call it."""
        return f"reasoning_gym:{self.task}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Taskset:
    """The tasks of an environment of verifiers.

    Args:
        taskset: Its id, the name of its module.
        rows: Number of rows, the first ones; null is all there are.
        settings: Of the task set.
    """

    taskset: _Text
    rows: _Count | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def source_name(self) -> str:
        """The name of the source, if it is given none."""
        return name_of(self.taskset)

    @property
    def text(self) -> str:
        """What messages call it."""
        return f"verifiers:{self.taskset}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stream:
    """Rows that can be read only once.

    Args:
        function: ``f(start)`` gives an iterable of rows, from row number ``start`` on if it can.
        record: A folder that belongs to the run; the latest rows are recorded there.
        window: Rows that stay in the record.
    """

    function: Annotated[Callable[..., Any], "the dotted path of a function"]
    record: Annotated[Path, "a folder"]
    window: _Count = 65_536

    @property
    def source_name(self) -> str:
        """The name of the source, if it is given none."""
        return str(getattr(self.function, "__name__", "stream"))

    @property
    def text(self) -> str:
        """What messages call it."""
        module = getattr(self.function, "__module__", "")
        return f"stream {module}.{getattr(self.function, '__qualname__', '')}"


@dataclasses.dataclass(frozen=True)
class OwnRows:
    """A function ``f(index) -> row``, or a class with a method ``row(index)``, of the user's."""

    path: str
    """Its dotted path."""
    recipe: Recipe
    """The class with its arguments; the function without any."""
    rows: int | None
    """Number of rows; None is as many as the class says, or without end."""

    @property
    def source_name(self) -> str:
        """The name of the source, if it is given none."""
        return self.path.rpartition(".")[-1]

    @property
    def text(self) -> str:
        """What messages call it."""
        return self.path


Kind = Files | HubData | GymTask | Taskset | Stream | OwnRows

KINDS: dict[str, Callable[..., Any]] = {
    "files": Files,
    "hf": HubData,
    "reasoning_gym": GymTask,
    "stream": Stream,
    "verifiers": Taskset,
}
_FIRST = {"hf": "name", "reasoning_gym": "task", "verifiers": "taskset"}
"""The key that stands behind the colon in the text of a kind."""


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def read_kind(value: Any) -> tuple[Kind | None, Problems]:
    """Reads an entry of ``prompt_data``."""
    if not (isinstance(value, str) and value) and not (_is_mapping(value) and "type" in value):
        kinds = one_of([*KINDS, "a dotted path"])
        words = f"a path, or a mapping with type ({kinds}) and the keys of that kind"
        return None, [Problem((), value, f" {shown(value)} must be {words}")]
    written: Mapping[str, Any] = _long_form(value) if isinstance(value, str) else value
    kind, problems = _read_mapping(written)
    if isinstance(value, str):  # there is no key in it to point at
        problems = [
            problem._replace(path=(), value=value)
            if problem.path == ("type",)
            else Problem((), value, f" {shown(value)}: {spelled(problem.path)[1:]}{problem.text}")
            for problem in problems
        ]
    return kind, problems


def is_remote(value: Any) -> bool:
    """Whether an entry of ``prompt_data`` may have to be fetched from another machine."""
    written = _long_form(value) if isinstance(value, str) else value
    if not isinstance(written, Mapping):
        return False
    return written.get("type") == "hf" or "://" in str(written.get("path"))


def _long_form(text: str) -> dict[str, Any]:
    """Returns the mapping that a text is short for."""
    plain = file_of(text)
    kind, _, rest = plain.partition(":")
    if kind in _FIRST and not rest.startswith("//"):
        name, _, split = rest.partition(":") if kind == "hf" else (rest, "", "")
        return {"type": kind, _FIRST[kind]: name, **({"split": split} if split else {})}
    if _DOTTED.fullmatch(plain) and not (plain.endswith(ENDINGS) or os.path.exists(plain)):
        return {"type": plain}
    return {"type": "files", "path": text}


def _read_mapping(value: Mapping[str, Any]) -> tuple[Kind | None, Problems]:
    name = value.get("type")
    if isinstance(name, str) and name not in KINDS:
        installed = {point.name: point.value for point in entry_points(group=PROMPTS_GROUP)}
        path = installed.get(name, name).replace(":", ".")
        if "." in path:
            return _read_own(path, {key: item for key, item in value.items() if key != "type"})
    recipe, problems = read_choice("type", KINDS, "kind of source", value)
    return (None, problems) if recipe is None else (recipe.make(), problems)


def _read_own(path: str, settings: dict[str, Any]) -> tuple[Kind | None, Problems]:
    try:
        target = load_callable(path)
    except NoModuleError as error:
        text = f" {shown(path)} is no file of rows ({one_of(ENDINGS)}), and no dotted path: {error}"
        return None, [Problem(("type",), path, text)]
    except ValueError as error:
        return None, [Problem(("type",), path, f" {shown(path)} cannot be used: {error}")]
    rows, problems = read_value(_Count | None, settings.pop("rows", None))
    problems = below("rows", problems)
    if not isinstance(target, type):
        problems += [
            Problem(
                (key,), item, f" {shown(item)} is not a known key; a function has none but rows"
            )
            for key, item in settings.items()
        ]
        return (None if problems else OwnRows(path, Recipe(target, {}), rows)), problems
    if not callable(getattr(target, "row", None)):
        problems.append(Problem(("type",), path, f" {shown(path)} has no method row(index)"))
        return None, problems
    recipe, found = read_arguments(target, settings)
    problems += found
    return (None if problems else OwnRows(path, recipe, rows)), problems
