"""Reads the options of a launch script of slime: ``--rollout-batch-size 32 --rollout-shuffle``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from curriculum_learning.config.data_source import GLOBAL_KEY, KEYS
from curriculum_learning.config.yaml_text import read_yaml

Word = tuple[str, str]
"""File and line, and the word."""

FILE_OPTION = "--custom-config-path"
_MARKS = (FILE_OPTION, "--data-source-path")
"""Options that tell a launch of slime with this library from other scripts."""
_OFF = "disable_" + GLOBAL_KEY
_ENDS = frozenset((")", "|", "||", "&", "&&", ";", "--", ">", "2>&1"))
"""Words of a shell that end the values of an option."""


def is_launch(words: Iterable[Word]) -> bool:
    """Whether a script passes one of our options to slime."""
    return any(_name_of(word) in _MARKS for _, word in words)


def options_of(words: Iterable[Word]) -> Iterator[tuple[str, str, Any]]:
    """Yields place, key and value of the options that the data source reads.

    ``FILE_OPTION`` comes as it is written, with the path of the file.
    """
    place, name, values = "", "", list[str]()
    for at, word in (*words, ("", "--")):
        if word.startswith("--") or word in _ENDS:
            if name:
                yield from _option(place, name, values)
            place, name = at, _name_of(word) if word != "--" and word not in _ENDS else ""
            values = [word.partition("=")[2]] if "=" in word else []
        else:
            values.append(word)


def _name_of(word: str) -> str:
    return word.partition("=")[0]


def _option(place: str, name: str, values: list[str]) -> Iterator[tuple[str, str, Any]]:
    if name == FILE_OPTION and values:
        yield place, name, values[0]
        return
    key = name.removeprefix("--").replace("-", "_")
    if key == _OFF:
        yield place, GLOBAL_KEY, False
    elif key in KEYS:
        read = [_value(text) for text in values]
        yield place, key, True if not read else read[0] if len(read) == 1 else read


def _value(text: str) -> Any:
    try:
        value = read_yaml(text)[1]
    except (ValueError, yaml.YAMLError):
        return text
    # A colon makes no mapping of a lambda; slime gives JSON in braces.
    return text if isinstance(value, Mapping) and text[:1] != "{" else value
