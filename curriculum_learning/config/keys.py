"""Reads configured keys into the keyword arguments of what they configure.

A part of the plan, a curriculum and the shape of a schedule are declared in one way: the arguments
of the class or function are its keys, and their annotations say what a value must be:
``Annotated[int, Ge(1)]``. A text in ``Annotated`` says it in words, for messages.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from curriculum_learning.config.dotted_path import load_callable
from curriculum_learning.config.problems import (
    Problem,
    Problems,
    below,
    one_of,
    shown,
    suggestion,
)

REQUIRED = inspect.Parameter.empty
"""The default of a key without a default."""

_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    list: "a list",
    Sequence: "a list",
    dict: "a mapping",
    Mapping: "a mapping",
}
_BOUNDS = {"ge": ">= {ge}", "gt": "above {gt}", "le": "at most {le}", "lt": "below {lt}"}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A class or function that a configuration chose, with all of its keyword arguments."""

    kind: Callable[..., Any]
    arguments: Mapping[str, Any]

    def make(self, *positional: Any) -> Any:
        """Makes it; raises what the constructor raises if the arguments do not go together."""
        return self.kind(*positional, **self.arguments)


@functools.cache
def keys_of(kind: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Returns the arguments of a function, or the keyword-only ones of a class, by name."""
    is_class = isinstance(kind, type)
    hints = get_type_hints(kind.__init__ if is_class else kind, include_extras=True)
    keys = {
        name: key.replace(annotation=hints.get(name, Any))
        for name, key in inspect.signature(kind).parameters.items()
        if name[0] != "_" and (key.kind is key.KEYWORD_ONLY or not is_class)
    }
    for field in dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ():
        if field.default_factory is not dataclasses.MISSING:
            keys[field.name] = keys[field.name].replace(default=field.default_factory())
    return keys


def read_keys(
    kind: Callable[..., Any], values: Mapping[str, Any], *positional: Any
) -> tuple[Recipe, Problems]:
    """Reads the keys of ``kind``.

    Args:
        kind: A class or function.
        values: Plain data, by key.
        positional: Further arguments, to try whether those configured go together.

    Returns:
        What to make, with the defaults of keys that are wrong; what is wrong.
    """
    recipe, problems = read_arguments(kind, values)
    return recipe, problems or _conflict(recipe, positional)


def read_arguments(kind: Callable[..., Any], values: Mapping[str, Any]) -> tuple[Recipe, Problems]:
    """Reads the keys of ``kind`` without trying whether they go together."""
    keys = keys_of(kind)
    arguments = {name: key.default for name, key in keys.items() if key.default is not REQUIRED}
    problems = [
        Problem((name,), None, f" is required: {meaning(key.annotation)}")
        for name, key in keys.items()
        if name not in arguments and name not in values
    ]
    for name, value in values.items():
        if name not in keys:
            text = f" {shown(value)} is not a known key; {suggestion(name, keys)}"
            problems.append(Problem((name,), value, text))
            continue
        result, found = read_value(keys[name].annotation, value)
        problems += below(name, found)
        if not found:
            arguments[name] = result
    return Recipe(kind, arguments), problems


def _conflict(recipe: Recipe, positional: Sequence[Any]) -> Problems:
    """Returns why the arguments do not go together."""
    try:
        recipe.make(*positional)
    except ValueError as error:
        key, value = getattr(error, "key", None), getattr(error, "value", None)
        if key and str(error).startswith(key):
            return [Problem((key,), value, str(error).removeprefix(key))]
        return [Problem((), value, f": {error}")]
    return []


def read_choice(
    tag: str, kinds: Mapping[str, Callable[..., Any]], noun: str, value: Any, *positional: Any
) -> tuple[Recipe | None, Problems]:
    """Reads a mapping that names one of ``kinds`` under ``tag``, beside the keys of that one."""
    if not isinstance(value, Mapping) or tag not in value:
        choice = one_of([f"{tag}: {name}" for name in kinds])
        text = f" {shown(value)} must be a mapping with {choice}, and the keys of that {noun}"
        return None, [Problem((), value, text)]
    name = value[tag]
    if not isinstance(name, str) or name not in kinds:
        text = f" {shown(name)} is not a {noun}; {suggestion(name, kinds)}"
        return None, [Problem((tag,), name, text)]
    keys = {key: item for key, item in value.items() if key != tag}
    recipe, problems = read_keys(kinds[name], keys, *positional)
    return None if problems else recipe, problems


def read_value(hint: Any, value: Any) -> tuple[Any, Problems]:
    """Reads one value.

    Args:
        hint: What it must be. A text is loaded where a function is wanted, and made an absolute
            path where a path is: engines change the folder that their workers are in.
        value: Plain data.

    Returns:
        The value, None if it cannot be used; what is wrong with it.
    """
    import pydantic  # not before a configuration is read: `import curriculum_learning` is light

    wanted, candidate = [get_origin(kind) or kind for kind in _kinds(hint)], value
    if isinstance(value, str) and Callable in wanted:
        try:
            return load_callable(value), []
        except ValueError as error:
            return None, [Problem((), value, f" ({value!r}) cannot be used: {error}")]
    if isinstance(value, str) and value and Path in wanted:
        candidate = Path(value).absolute()
    config = pydantic.ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    try:
        return pydantic.TypeAdapter(hint, config=config).validate_python(candidate), []
    except pydantic.ValidationError as error:
        found = [_problem(hint, value, item["loc"]) for item in error.errors(include_url=False)]
        return None, list({problem.path: problem for problem in found}.values())


def _problem(hint: Any, value: Any, location: Sequence[str | int]) -> Problem:
    """Returns what is wrong at a location, or at the last part of it that is in the value."""
    path: list[str | int] = []
    for step in location:
        kinds = _kinds(hint)
        if len(kinds) > 1 or not isinstance(value, (Mapping, list)) or not get_args(kinds[0]):
            break
        if isinstance(value, Mapping) and not (isinstance(step, str) and step in value):
            return Problem((*path,), step, f" has the key {step}, which is no text; quote it")
        hint, value = get_args(kinds[0])[-1], value[step]  # type: ignore[index]  # it is in there
        path.append(step)
    return Problem((*path,), value, f" {shown(value)} must be {meaning(hint)}")


def _kinds(hint: Any) -> list[Any]:
    """Returns the types that a value may be of, without annotations and None."""
    if get_origin(hint) is Annotated:
        return _kinds(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return [kind for part in get_args(hint) for kind in _kinds(part)]
    return [] if hint is type(None) else [hint]


def meaning(hint: Any) -> str:
    """Returns what a value must be, in words."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        texts = [part for part in parts[1:] if isinstance(part, str)]
        pairs = [(name, getattr(part, name, None)) for part in parts[1:] for name in _BOUNDS]
        bounds = {name: bound for name, bound in pairs if bound is not None}
        words = meaning(parts[0])
        if bounds:
            both = bounds.keys() == {"ge", "le"}
            form = "from {ge} to {le}" if both else " and ".join(_BOUNDS[name] for name in bounds)
            words = f"{words.replace('finite ', '')} {form.format(**bounds)}"
        return texts[-1] if texts else words
    if origin in (Union, types.UnionType):
        words = one_of(meaning(part) for part in parts if part is not type(None))
        return f"{words}, or null" if type(None) in parts else words
    if origin is Literal:
        return one_of(repr(part) for part in parts)
    return _WORDS.get(origin or hint, getattr(hint, "__name__", str(hint)))
