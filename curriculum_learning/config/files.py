"""Reads configuration files: YAML, launch scripts, files of overrides, and single overrides.

The line of each key is kept, so that an error can name it.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from curriculum_learning.config import launch_script
from curriculum_learning.config.problems import shown, spelled
from curriculum_learning.config.yaml_text import MAX_DEPTH, read_yaml
from curriculum_learning.errors import ConfigurationError, CurriculumLearningError

_OVERRIDE = re.compile(r"^([+~]{0,2})([A-Za-z_][\w.@/]*)=(.*)$", re.DOTALL)
_TIGHT = re.compile(r"""(?<=[\w"']):(?=[^\s/])""")
"""A colon in Hydra's ``{a:1}``, which YAML wants a space after."""

_VARIABLE = re.compile(
    r"\$(?:(?P<plain>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\})"
)
"""A variable of a shell; Hydra's ``${a.b}`` and ``${oc.env:A}`` are none."""
_QUOTED = re.compile(r"'[^']*'")
_MOST_QUOTED = 1000
"""Lines of a script that one quotation may take."""
_KEPT = "\ue000"
"""Stands for a dollar sign in single quotes, which a shell leaves alone."""


@dataclasses.dataclass
class RunConfig:
    """The values of a run's configuration, and the place of each."""

    values: dict[str, Any]
    """As written, nested where the files are."""
    places: dict[str, str]
    """By dotted path (``data.sampler.alpha``, ``data_source_weights[1]``): file and line."""

    def place(self, error: CurriculumLearningError, names: Sequence[str]) -> str | None:
        """Returns where the value that an error is about was written; None if nobody wrote it.

        Args:
            error: Its ``key`` is the end of a dotted path; ``path`` or ``source`` say more.
            names: All sources, in the order of lists.
        """
        if error.key is None:
            return None
        # The most exact ends of a dotted path first.
        inside = [spelled(error.path[:end]) for end in range(len(error.path), 0, -1)]
        if error.source is not None:
            inside += [f".{error.source}"]
            inside += [f"[{names.index(error.source)}]"] if error.source in names else []
        ends = [*(error.key + part for part in inside), error.key]
        if error.source in names:  # a key with its default: at least the file has a line
            ends += [f"prompt_data[{names.index(error.source)}]", "prompt_data"]
        for end in ends:
            for path, place in self.places.items():
                if path == end or path.endswith(f".{end}"):
                    return place
        return None


def read_run_config(arguments: Sequence[str]) -> RunConfig:
    """Reads what a command line names, in order; later values replace earlier ones.

    Args:
        arguments: Paths of YAML files; paths of scripts that launch slime with this library, or
            of text files with verl's overrides (a launch script will do: what is no
            ``key=value`` is passed over); and overrides themselves.

    Raises:
        ConfigurationError: A file cannot be read, or is neither.
    """
    config = RunConfig({}, {})
    for argument in arguments:
        if _OVERRIDE.match(argument) and not os.path.exists(argument):
            _override(config, argument, "command line")
            continue
        try:
            text = Path(argument).read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            remedy = "give a YAML file, a file of overrides, or key=value"
            raise _unreadable(argument, f"cannot be read: {error}; {remedy}") from error
        if argument.endswith((".yaml", ".yml")):
            _read_yaml(config, argument, text)
        else:
            _read_script(config, argument, text)
    return config


def _unreadable(place: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"{place} {problem}", key="CONFIG", value=place)


def _read_yaml(config: RunConfig, name: str, text: str) -> None:
    try:
        node, values = read_yaml(text)
    except ValueError as error:
        raise _unreadable(name, str(error)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = name if mark is None else f"{name}:{mark.line + 1}"
        parts = [getattr(error, part, None) for part in ("context", "problem")]
        what = "; ".join(filter(None, parts)) or error
        raise _unreadable(place, f"is no YAML of one document: {what}") from error
    if node is None or not isinstance(values, Mapping):
        keys = "docs/slime.md and docs/verl.md list the keys"
        raise _unreadable(name, f"is no mapping from keys to values; {keys}")
    for path, line in _lines(node, "", name):
        config.places[path] = f"{name}:{line}"
    _merge(config.values, values)


def _lines(node: yaml.Node, path: str, name: str) -> Iterator[tuple[str, int]]:
    """Yields dotted paths with their lines, counted from 1."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _unreadable(f"{name}:{line}", "has a key that is no text")
            if key.value in seen:
                problem = f"gives '{key.value}' again (first in line {seen[key.value]})"
                raise _unreadable(f"{name}:{line}", f"{problem}: keep one of the two")
            seen[key.value] = line
            inner = f"{path}.{key.value}" if path else str(key.value)
            yield inner, line
            yield from _lines(value, inner, name)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield f"{path}[{index}]", item.start_mark.line + 1
            yield from _lines(item, f"{path}[{index}]", name)


def _read_script(config: RunConfig, name: str, text: str) -> None:
    """Reads a script that launches slime, or one of verl's overrides."""
    words = list(_words(name, text))
    if launch_script.is_launch(words):
        _read_launch(config, words)
    elif found := [(place, word) for place, word in words if _OVERRIDE.match(word)]:
        for place, word in found:
            _override(config, word, place)
    else:
        example = "data.sampler.class_name=MultiSourceSampler"
        problem = f"has neither an override such as {example} nor {launch_script.FILE_OPTION}"
        raise _unreadable(name, f"{problem}; if it is YAML, call it .yaml")


def _read_launch(config: RunConfig, words: Sequence[launch_script.Word]) -> None:
    """Reads slime's options; as in slime, the YAML file that one of them names replaces them."""
    files = []
    for place, key, value in launch_script.options_of(words):
        if key == launch_script.FILE_OPTION:
            files.append((place, value))
            continue
        config.values[key] = value
        config.places[key] = place
    for place, path in files:
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            problem = f"{launch_script.FILE_OPTION} cannot be read: {error}"
            if unset := unset_variables(path):
                problem += f"; neither the script nor the environment sets {', '.join(unset)}"
            raise _unreadable(place, problem) from error
        _read_yaml(config, path, text)


def _words(name: str, text: str) -> Iterator[launch_script.Word]:
    """Yields the words of a script as a shell splits them, with their lines."""
    known = dict(os.environ)
    for number, words in _lines_of_words(name, text):
        for word in words:
            word = _VARIABLE.sub(lambda named: _value_of(named, known), word).replace(_KEPT, "$")
            variable, _, value = word.partition("=")
            if variable.isidentifier():
                known[variable] = value
            yield f"{name}:{number}", word


def _lines_of_words(name: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yields lines, from 1, with their words; with a line go those over which a quotation runs."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        for end in range(at + 1, len(lines) + 1):
            part = "\n".join(lines[at:end]).rstrip().removesuffix("\\")
            part = _QUOTED.sub(lambda quoted: quoted[0].replace("$", _KEPT), part)
            try:
                words = shlex.split(part, comments=True)
                break
            except ValueError as error:
                if end == len(lines) or end - at == _MOST_QUOTED:
                    problem = f"cannot be split into words as a shell does: {error}"
                    raise _unreadable(f"{name}:{at + 1}", problem) from error
        yield at + 1, words
        at = end


def _value_of(named: re.Match[str], known: Mapping[str, str]) -> str:
    """Returns the value of a variable, its default, or the variable as it is written."""
    value = known.get(named["plain"] or named["braced"])
    if named["default"] is not None:
        return value or named["default"]
    return named[0] if value is None else value


def unset_variables(text: str) -> list[str]:
    """Returns the shell variables that are left in a value: nothing sets them."""
    return sorted({named["plain"] or named["braced"] for named in _VARIABLE.finditer(text)})


def _override(config: RunConfig, word: str, place: str) -> None:
    match = _OVERRIDE.match(word)
    assert match is not None
    prefix, path, text = match.groups()
    *outer, last = path.split(".")
    if len(outer) > MAX_DEPTH:
        raise _unreadable(place, f"{shown(path)} is nested too deeply")
    node = config.values
    for key in outer:
        inner = node.get(key)
        if not isinstance(inner, dict):
            inner = node[key] = {}
        node = inner
    config.places[path] = place
    if "~" in prefix:
        node.pop(last, None)
        return
    try:
        _, value = read_yaml(_TIGHT.sub(": ", text) if text[:1] in ("{", "[") else text)
        node[last] = value
    except ValueError as error:
        raise _unreadable(place, f"{path} {shown(text)} {error}") from None
    except yaml.YAMLError:
        node[last] = text  # lambdas have colons
    if isinstance(node[last], Mapping) and text[:1] != "{":
        node[last] = text


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value
