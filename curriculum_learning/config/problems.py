"""What is wrong with a configuration: found piece by piece, raised as one error."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from curriculum_learning.errors import ConfigurationError

Path = tuple[str | int, ...]
"""Where something is in a value: keys and indices."""


class Problem(NamedTuple):
    """One thing that is wrong with a value."""

    path: Path
    value: Any
    text: str
    """Continues a sentence that begins with the key."""


Problems = list[Problem]


def below(step: str | int, problems: Iterable[Problem]) -> Problems:
    """Returns problems as seen from one step further up."""
    return [problem._replace(path=(step, *problem.path)) for problem in problems]


def spelled(path: Iterable[str | int]) -> str:
    """Returns ``.key`` and ``[index]`` for each step."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


class Findings:
    """Collects the errors and warnings of a configuration."""

    def __init__(self) -> None:
        self.errors: list[ConfigurationError] = []
        self.warnings: list[str] = []

    def add(
        self,
        key: str,
        problems: Iterable[Problem],
        *,
        source: str | None = None,
        at: Path = (),
        kind: type[ConfigurationError] = ConfigurationError,
    ) -> None:
        """Adds what is wrong with the value of a key.

        Args:
            key: The configuration key.
            problems: What is wrong.
            source: The source concerned, if it is a single one.
            at: Where the value of that source is in the value of the key.
            kind: The class of the errors.
        """
        of = "" if source is None else f" of source '{source}'"
        for path, value, text in problems:
            message = f"{key}{spelled(path)}{of}{text}"
            error = kind(message, source=source, key=key, value=value, path=(*at, *path))
            self.errors.append(error)

    def say(self, key: str, text: str, value: Any = None, at: Path = ()) -> None:
        """Adds an error whose message is the key and ``text``."""
        self.add(key, [Problem((), value, text)], at=at)

    def raise_all(self) -> None:
        """Raises one error that lists all of them, with the attributes of the first, if any."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            first, listed = self.errors[0], "".join(f"\n- {error}" for error in self.errors)
            raise type(first)(
                f"the configuration has {len(self.errors)} errors:{listed}",
                source=first.source,
                key=first.key,
                value=first.value,
                path=first.path,
            )


def one_of(words: Iterable[str]) -> str:
    """Returns ``a, b or c``."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def listed(names: Iterable[object]) -> str:
    """Returns ``'a', 'b' and 'c'``."""
    *others, last = map(repr, names)
    return f"{', '.join(others)} and {last}" if others else last


def suggestion(name: object, known: Iterable[str], what: str = "known are") -> str:
    """Returns which of the known names may have been meant, or all of them."""
    words = list(known)
    near = difflib.get_close_matches(str(name), words, n=1)
    return f"did you mean {near[0]}?" if near else f"{what} {', '.join(words)}"


def shown(value: object) -> str:
    """Returns a value as a message shows it: never a whole mapping, and not more than a line."""
    if isinstance(value, Mapping):
        return "(a mapping)"
    short = reprlib.Repr()
    short.maxstring = short.maxother = 200
    short.maxlist, short.maxdict = 10, 0
    try:
        return f"({short.repr(value)})"
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return f"(a {type(value).__name__} of thousands of digits)"
