"""What is wrong with a configuration: found piece by piece, raised at once."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from curriculum_learning.errors import ConfigurationError


class Problem(NamedTuple):
    """One thing that is wrong with a value."""

    path: tuple[str | int, ...]
    """Where it is in the value: keys and indices."""
    value: Any
    text: str
    """Continues a sentence that begins with the key."""

    def below(self, *path: str | int) -> Problem:
        """The same problem, seen from further up."""
        return self._replace(path=(*path, *self.path))


Problems = list[Problem]


def located(
    problem: Problem,
    key: str,
    source: str | None = None,
    *,
    at: Sequence[str | int] = (),
    kind: type[ConfigurationError] = ConfigurationError,
) -> ConfigurationError:
    """A problem as an error.

    Args:
        problem: What is wrong.
        key: The configuration key.
        source: The source concerned, if it is a single one.
        at: Where in the value of ``key`` the value of that source is.
        kind: The class of the error.
    """
    inside = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in problem.path)
    of_source = "" if source is None else f" of source '{source}'"
    return kind(
        f"{key}{inside}{of_source}{problem.text}",
        source=source,
        key=key,
        value=problem.value,
        path=(*at, *problem.path),
    )


def raise_all(errors: Sequence[ConfigurationError]) -> None:
    """Raise one error that lists all of them, with the attributes of the first; none if none."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        first, listed = errors[0], "".join(f"\n- {error}" for error in errors)
        raise type(first)(
            f"the configuration has {len(errors)} errors:{listed}",
            source=first.source,
            key=first.key,
            value=first.value,
            path=first.path,
        )


def one_of(words: Iterable[str]) -> str:
    """``a, b or c``."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def suggestion(name: object, known: Iterable[str], what: str = "known are") -> str:
    """The one of ``known`` that may have been meant, or all of them."""
    words = list(known)
    near = difflib.get_close_matches(str(name), words, n=1)
    return f"did you mean {near[0]}?" if near else f"{what} {', '.join(words)}"


def shown(value: object) -> str:
    """A value as a message shows it: never a whole mapping, and not more than a line."""
    if isinstance(value, Mapping):
        return "a mapping"
    short = reprlib.Repr()
    short.maxstring = short.maxother = 200
    short.maxlist, short.maxdict = 10, 0
    return short.repr(value)
