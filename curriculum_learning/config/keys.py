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
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from curriculum_learning.config.dotted_path import load_callable
from curriculum_learning.config.problems import Problem, Problems, one_of, shown, suggestion
from curriculum_learning.errors import ConfigurationError

_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    type(None): "null",
    list: "a list",
    Sequence: "a list",
    dict: "a mapping",
    Mapping: "a mapping",
}
_UNIONS = (Union, types.UnionType)


class Key(NamedTuple):
    """A key: an argument of what it configures."""

    hint: Any
    default: Any
    """``inspect.Parameter.empty`` if the key is required."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a configuration chose to make, with all of its keyword arguments."""

    kind: Callable[..., Any]
    arguments: Mapping[str, Any]

    def make(self, *positional: Any) -> Any:
        """Make it.

        Raises:
            ConfigurationError: The arguments do not go together.
        """
        return self.kind(*positional, **self.arguments)


@functools.cache
def keys_of(kind: Callable[..., Any]) -> Mapping[str, Key]:
    """The keys of a function, or of a class: the keyword-only arguments of its constructor."""
    is_class = isinstance(kind, type)
    made = {
        field.name: field.default_factory()
        for field in (dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ())
        if field.default_factory is not dataclasses.MISSING
    }
    hints = get_type_hints(kind.__init__ if is_class else kind, include_extras=True)
    return {
        name: Key(hints.get(name, Any), made.get(name, parameter.default))
        for name, parameter in inspect.signature(kind).parameters.items()
        if name[0] != "_" and (not is_class or parameter.kind is parameter.KEYWORD_ONLY)
    }


def read_keys(kind: Callable[..., Any], values: Mapping[str, Any]) -> tuple[Recipe, Problems]:
    """Read the keys of ``kind``.

    Args:
        kind: A class or function.
        values: Plain data, by key.

    Returns:
        What to make, with the defaults of keys that are wrong; what is wrong with them.
    """
    keys = keys_of(kind)
    defaults = {
        name: key.default
        for name, key in keys.items()
        if key.default is not inspect.Parameter.empty
    }
    problems = [
        Problem((name,), None, f" is required: {meaning(key.hint)}")
        for name, key in keys.items()
        if name not in defaults and name not in values
    ]
    good = {}
    for name, value in values.items():
        if name in keys:
            result, found = read_value(keys[name].hint, value)
            problems += [problem.below(name) for problem in found]
            if not found:
                good[name] = result
        else:
            text = f" ({shown(value)}) is not a key of it; {suggestion(name, keys)}"
            problems.append(Problem((name,), value, text))
    return Recipe(kind, {**defaults, **good}), problems


def read_choice(
    tag: str, kinds: Mapping[str, Callable[..., Any]], noun: str, value: Any
) -> tuple[Recipe | None, Problems]:
    """Read a mapping that names one of ``kinds`` under ``tag``, beside the keys of that one."""
    if not isinstance(value, Mapping) or tag not in value:
        choice = one_of([f"{tag}: {name}" for name in kinds])
        text = f" ({shown(value)}) must be a mapping with {choice}, and the keys of that {noun}"
        return None, [Problem((), value, text)]
    name = value[tag]
    if not isinstance(name, str) or name not in kinds:
        text = f" ({shown(name)}) is not a {noun}; {suggestion(name, kinds)}"
        return None, [Problem((tag,), name, text)]
    return read_keys(kinds[name], {key: item for key, item in value.items() if key != tag})


def made(recipe: Recipe, *positional: Any) -> tuple[Any, ConfigurationError | None]:
    """Make what a recipe says, or say why its arguments do not go together."""
    try:
        return recipe.make(*positional), None
    except ConfigurationError as error:
        return None, error


def read_value(hint: Any, value: Any) -> tuple[Any, Problems]:
    """Read one value.

    Args:
        hint: What it must be. Text is loaded where a function is wanted, and made an absolute
            path where a ``Path`` is wanted: engines change the folder that their workers are in.
        value: Plain data.

    Returns:
        The value, None if it cannot be used; what is wrong with it.
    """
    import pydantic  # not before a configuration is read: `import curriculum_learning` is light

    wanted = _bare(hint)
    if isinstance(value, str) and Callable in wanted:
        try:
            return load_callable(value), []
        except ValueError as error:
            return None, [Problem((), value, f" ({value!r}) cannot be used: {error}")]
    is_path = isinstance(value, str) and value != "" and Path in wanted
    candidate = Path(value).absolute() if is_path else value
    config = pydantic.ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    try:
        return pydantic.TypeAdapter(hint, config=config).validate_python(candidate), []
    except pydantic.ValidationError as error:
        found = [_problem(hint, value, item["loc"]) for item in error.errors(include_url=False)]
        return None, list({problem.path: problem for problem in found}.values())


def _problem(hint: Any, value: Any, location: Sequence[str | int]) -> Problem:
    """What is wrong at a location, or at the last part of it that is inside of the value."""
    path: list[str | int] = []
    for step in location:
        inner = _inner(hint)
        if inner is None or not isinstance(value, (Mapping, list)):
            break
        if isinstance(value, Mapping) and not isinstance(step, str):
            return Problem((*path,), step, f" has the key {step!r}, which is no text; quote it")
        hint, value = inner, value[step]  # type: ignore[index]  # a location is in the value
        path.append(step)
    return Problem((*path,), value, f" ({shown(value)}) must be {meaning(hint)}")


def _inner(hint: Any) -> Any:
    """What an entry of a list or mapping must be; None where there are no entries."""
    if get_origin(hint) is Annotated:
        return _inner(get_args(hint)[0])
    if get_origin(hint) in _UNIONS:
        others = [part for part in get_args(hint) if part is not type(None)]
        return _inner(others[0]) if len(others) == 1 else None
    return get_args(hint)[-1] if get_origin(hint) in (list, Sequence, dict, Mapping) else None


def _bare(hint: Any) -> list[Any]:
    """The types that a value may be of, without their annotations."""
    if get_origin(hint) is Annotated:
        return _bare(get_args(hint)[0])
    if get_origin(hint) in _UNIONS:
        return [bare for part in get_args(hint) for bare in _bare(part)]
    return [get_origin(hint) or hint]


def meaning(hint: Any) -> str:
    """What a value must be, in words."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        words = [part for part in parts[1:] if isinstance(part, str)]
        return words[-1] if words else _bounded(meaning(parts[0]), parts[1:])
    if origin in _UNIONS:
        choice = one_of(meaning(part) for part in parts if part is not type(None))
        return f"{choice}, or null" if type(None) in parts else choice
    if origin is Literal:
        return one_of(repr(part) for part in parts)
    return _WORDS.get(origin or hint, getattr(hint, "__name__", str(hint)))


def _bounded(words: str, metadata: Iterable[Any]) -> str:
    bounds = {
        name: getattr(part, name)
        for part in metadata
        for name in ("ge", "gt", "le")
        if getattr(part, name, None) is not None
    }
    if not bounds:
        return words
    words = words.replace("finite ", "")
    match bounds:
        case {"ge": low, "le": high}:
            return f"{words} from {low} to {high}"
        case {"gt": low, "le": high}:
            return f"{words} above {low} and at most {high}"
        case {"gt": low}:
            return f"{words} above {low}"
        case {"ge": low}:
            return f"{words} >= {low}"
    return f"{words} <= {bounds['le']}"
