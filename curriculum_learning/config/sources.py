"""Reads the sources from slime's keys: which there are, and what is configured for each."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeGuard

from annotated_types import MinLen, Predicate

from curriculum_learning.config.curricula import read_curriculum
from curriculum_learning.config.keys import keys_of, read_value
from curriculum_learning.config.kinds import Files, Kind, read_kind
from curriculum_learning.config.paths import lost
from curriculum_learning.config.plan import SourcePlan
from curriculum_learning.config.problems import (
    Findings,
    Path,
    Problems,
    below,
    listed,
    shown,
    suggestion,
)
from curriculum_learning.config.weights import checked, read_weight
from curriculum_learning.errors import ConfigurationError, ScheduleError
from curriculum_learning.weights.schedules import Constant
from curriculum_learning.weights.shares import KEY as WEIGHTS_KEY

PATHS_KEY, NAMES_KEY = "prompt_data", "prompt_data_source_names"
CAPS_KEY, CURRICULA_KEY = "data_source_reward_caps", "data_source_curricula"

_SPELLING = {
    "weight": WEIGHTS_KEY,
    "reward_cap": CAPS_KEY,
    "curriculum": CURRICULA_KEY,
    "max_prompt_len": "rollout_max_prompt_len",
}
KEYS = {
    field: _SPELLING.get(field, field)
    for field in keys_of(SourcePlan)
    if field not in ("name", "path", "kind")
}
"""The keys of the fields of a source."""

FOR_ALL = ("apply_chat_template_kwargs", "max_prompt_len")
"""Fields whose keys have one value for all sources; others: also a list, or a mapping by source."""

PATHS = "a path, or a list of paths with one entry per source"
NAMES = Annotated[
    list[Annotated[str, MinLen(1), Predicate(str.isprintable), "a name of printable characters"]],
    "a list of names, one for each entry of prompt_data",
]

OF_MIXTURE = ("weight", "reward_cap", "curriculum")
"""Fields that do not change how prompt files are read."""

_NOUNS = {"weight": "weight", "reward_cap": "cap"}
"""The word for the result of a schedule, by field."""

_SINGLE = {"reward_cap": "schedule", "curriculum": "type"}
"""A mapping with this entry is one value for all sources."""


_Entry = tuple[Any, list[str], Path]
"""A value, the sources that have it, and where it is in that of the key, if not at the top."""


class SourceReader:
    """Reads what belongs to each source.

    Args:
        values: Plain data, by key.
        findings: Collects the errors.
    """

    def __init__(self, values: Mapping[str, Any], findings: Findings) -> None:
        self.names: list[str] = []
        """The names of the sources; guesses, for messages, if there is an error in them."""
        self.sure = False
        """The names are no guesses."""
        self._values, self._findings = values, findings

    def read(self) -> tuple[SourcePlan, ...]:
        """Returns the sources, with defaults for what is wrong; none if it is not sure which."""
        kinds = self._read_kinds()
        self._read_names(kinds)
        if self.sure and NAMES_KEY not in self._values:
            self._find_lost_files(kinds)
        hints = {name: key.annotation for name, key in keys_of(SourcePlan).items()}
        fields: dict[str, dict[str, Any]] = defaultdict(lambda: {"weight": Constant(1.0)})
        for field, key in KEYS.items():
            kind = ScheduleError if field in _NOUNS else ConfigurationError
            for value, names, at in self._entries(field, key):
                result, problems = _read_field(field, hints[field], value)
                source = names[0] if at else None
                self._findings.add(key, problems, source=source, at=at, kind=kind)
                for name in names if not problems else ():
                    if field in _NOUNS and result is not None:
                        noun = _NOUNS[field]
                        fields[name][field] = checked(result, value, name, key=key, noun=noun)
                    else:
                        fields[name][field] = result
        if not self.sure:
            return ()
        return tuple(
            SourcePlan(
                name=name,
                path=path,
                kind=None if isinstance(kind, Files) else kind,
                **fields[name],
            )
            for name, (path, kind) in zip(self.names, kinds, strict=True)
        )

    def _read_kinds(self) -> list[tuple[str, Kind]]:
        """Returns the text and the kind of each source; none if an entry cannot be used."""
        value = self._values.get(PATHS_KEY)
        entries = [value] if isinstance(value, (str, Mapping)) else value
        if not isinstance(entries, list) or not entries:
            self._findings.say(PATHS_KEY, f" {shown(value)} must be {PATHS}", value)
            return []
        read = [read_kind(entry) for entry in entries]
        for place, (_, problems) in enumerate(read):
            at = problems if entries is not value else below(place, problems)
            self._findings.add(PATHS_KEY, at)
        kinds = [
            (entry if isinstance(entry, str) else kind.text, kind)
            for entry, (kind, _) in zip(entries, read, strict=True)
            if kind is not None
        ]
        return kinds if len(kinds) == len(entries) else []

    def _read_names(self, kinds: list[tuple[str, Kind]]) -> None:
        """Finds the names of the sources, which all other keys go by."""
        names, value = [kind.source_name for _, kind in kinds], self._values.get(NAMES_KEY)
        count = len(self._findings.errors)
        if value is not None:
            given, problems = read_value(NAMES, [value] if isinstance(value, str) else value)
            self._findings.add(NAMES_KEY, problems)
            names = names if problems else given
        if kinds and len(names) != len(kinds):
            text = f"has {len(names)} names for {len(kinds)} entries of prompt_data: one for each"
            self._findings.say(NAMES_KEY, f" {shown(value)} {text}", value)
        for name in [name for name, times in Counter(names).items() if times > 1]:
            message = f"two sources are named '{name}'; give each its own name in {NAMES_KEY}"
            error = ConfigurationError(message, source=name, key=NAMES_KEY, value=names)
            self._findings.errors.append(error)
        self.names = names
        self.sure = bool(kinds) and len(self._findings.errors) == count

    def _find_lost_files(self, kinds: list[tuple[str, Kind]]) -> None:
        """Reports paths of no file alone: with their typing errors the keys name no source."""
        given = {field: self._values.get(key) for field, key in KEYS.items()}
        named = {name for field, by in given.items() if _is_by_name(by, field) for name in by}
        for place, (path, kind) in enumerate(() if named <= {*self.names} else kinds):
            if isinstance(kind, Files) and (problem := lost(path)) is not None:
                self._findings.say(PATHS_KEY, f" {shown(path)} {problem}", path, at=(place,))
                self.sure = False

    def _entries(self, field: str, key: str) -> Iterator[_Entry]:
        """Yields the values of a key."""
        value, names = self._values.get(key), self.names
        if field == "weight" and self.sure and not self._has_weights(value):
            return
        if field in FOR_ALL and key in self._values:
            yield value, names, ()
        elif isinstance(value, list):
            if self.sure and len(value) != len(names):
                text = f"must have one entry per source: {', '.join(names)}"
                self._findings.say(key, f" {shown(value)} {text}", value)
                return
            for place, item in enumerate(value):
                name = names[place] if place < len(names) else f"source {place + 1}"
                yield item, [name], (place,)
        elif _is_by_name(value, field):
            if self.sure:
                self._check_names(key, value, names if field == "weight" else ())
            for name, item in value.items():
                if name in names or not self.sure:
                    yield item, [name], (name,)
        elif key in self._values:
            yield value, names, ()

    def _check_names(self, key: str, value: Mapping[str, Any], needed: Sequence[str]) -> None:
        """Finds names of no source and missing ones, which may be one and the same mistake."""
        unknown = [name for name in value if name not in self.names]
        missing = [name for name in needed if name not in value]
        lacks = f"no weight for {listed(missing)}" if missing else ""
        if not unknown:
            if missing:
                self._findings.say(key, f" has {lacks}; give each source one")
            return
        noun = "which is no source" if len(unknown) == 1 else "which are no sources"
        text = f" names {listed(unknown)}, {noun}{f', and has {lacks}' if missing else ''}"
        near = suggestion(unknown[0], missing or self.names, "the sources are")
        if not near.startswith("did"):
            near = f"the sources are {', '.join(self.names)}"
        self._findings.say(key, f"{text}; {near}", unknown[0], at=(unknown[0],))

    def _has_weights(self, weights: Any) -> bool:
        """Whether weights are for each source; only a single source has a default."""
        many = len(self.names)
        if isinstance(weights, Mapping) or (weights is None and many == 1):
            return True
        if isinstance(weights, list) and len(weights) == many:
            return True
        form = f"give a list of {many} in the order of prompt_data, or a mapping by source"
        if weights is None:
            problem = " is not set"
        elif isinstance(weights, list):
            problem = f" {shown(weights)} has {len(weights)} weights for {many} sources"
        else:
            problem = f" {shown(weights)} is neither a list nor a mapping"
        text = f"{problem}: {form}; the sources are {', '.join(self.names)}"
        self._findings.say(WEIGHTS_KEY, text, weights)
        return False


def _is_by_name(value: Any, field: str) -> TypeGuard[Mapping[str, Any]]:
    """Whether a value has an entry for each source, by its name."""
    if not isinstance(value, Mapping) or field in FOR_ALL:
        return False
    if field == "multimodal_keys":
        return bool(value) and not any(isinstance(column, str) for column in value.values())
    return _SINGLE.get(field) not in value


def _read_field(field: str, hint: Any, value: Any) -> tuple[Any, Problems]:
    """Reads one value of a field of a source."""
    if value is None and field in ("reward_cap", "curriculum"):
        return None, []
    if field == "curriculum":
        return read_curriculum(value)
    if field in _NOUNS:
        schedule, problems = read_weight(value, _NOUNS[field])
        return schedule, [problem._replace(value=value) for problem in problems]
    return read_value(hint, value)
