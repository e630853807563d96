"""Reads the curriculum of a source and the source rule: which class, with which arguments.

``type`` names a built-in, an entry point of an installed package, or a class by dotted path.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

import numpy as np

from curriculum_learning.config.dotted_path import load_callable
from curriculum_learning.config.keys import Recipe, keys_of, made, read_keys, read_value
from curriculum_learning.config.plan import CurriculumRecipe, Fade, Text
from curriculum_learning.config.problems import Problem, Problems, shown, suggestion
from curriculum_learning.curricula import CURRICULA, RULES, RowCurriculum, SourceRows, SourceRule
from curriculum_learning.curricula.rules.adaptive import AdaptiveWeights
from curriculum_learning.curricula.statistics import RowStatistics

CURRICULA_GROUP = "curriculum_learning.curricula"
RULES_GROUP = "curriculum_learning.rules"
"""Entry points with which packages ship curricula and rules of their own."""

ROW_KEYS: dict[str, Any] = {"complexity_key": Text, "prior_key": Text, "fade": Fade}
"""Keys that every curriculum has: where scores and offline pass rates are, how results fade."""


def read_curriculum(value: Any) -> tuple[CurriculumRecipe | None, Problems]:
    """Reads a mapping with ``type``, the keys of that curriculum, and perhaps ``ROW_KEYS``."""
    is_mapping = isinstance(value, Mapping)
    keys = {k: v for k, v in value.items() if k not in ROW_KEYS} if is_mapping else value
    recipe, problems = _read(CURRICULA, CURRICULA_GROUP, RowCurriculum, "curriculum", keys)
    of_rows: dict[str, Any] = {}
    for key in ROW_KEYS if is_mapping else ():
        if key in value:
            of_rows[key], found = read_value(ROW_KEYS[key], value[key])
            problems += [problem.below(key) for problem in found]
    if recipe is None or problems:
        return None, problems
    probe = SourceRows("", 1, 0, np.zeros(1), RowStatistics(1))
    _, error = made(recipe, probe)
    if error is not None:
        return None, [Problem((), error.value, f": {error}")]
    return CurriculumRecipe(recipe.kind, recipe.arguments, **of_rows), []


def read_rule(value: Any) -> tuple[Recipe | None, Problems]:
    """Reads null, or a mapping with ``type`` and the keys of that rule."""
    if value is None:
        return None, []
    recipe, problems = _read(RULES, RULES_GROUP, SourceRule, "source rule", value)
    if recipe is None or problems:
        return None, problems
    _, error = made(recipe, {"": 1})
    return recipe, [] if error is None else [Problem((), error.value, f": {error}")]


def read_adaptive(value: Any) -> tuple[Recipe | None, Problems]:
    """Reads true, false, or a mapping with keys of ``AdaptiveWeights``."""
    if value is None or value is False:
        return None, []
    if value is not True and not isinstance(value, Mapping):
        keys = ", ".join(keys_of(AdaptiveWeights))
        text = f" ({shown(value)}) must be true, false, or a mapping with any of {keys}"
        return None, [Problem((), value, text)]
    recipe, problems = read_keys(AdaptiveWeights, {} if value is True else value)
    return None if problems else recipe, problems


def _read(
    built_in: Mapping[str, type], group: str, base: type, noun: str, value: Any
) -> tuple[Recipe | None, Problems]:
    if not isinstance(value, Mapping) or "type" not in value:
        text = f" ({shown(value)}) must be a mapping with type, one of {', '.join(built_in)} or a "
        return None, [Problem((), value, f"{text}dotted path, and the keys of that {noun}")]
    name = value["type"]
    kind: Any = built_in.get(name) if isinstance(name, str) else None
    if kind is None:
        installed = {point.name: point for point in entry_points(group=group)}
        try:
            if name in installed:
                kind = installed[name].load()
            elif isinstance(name, str) and "." in name:
                kind = load_callable(name)
        except Exception as error:  # of a user's module
            text = f" ({shown(name)}) cannot be used: {error}"
            return None, [Problem(("type",), name, text)]
        if kind is None:
            known = suggestion(name, [*built_in, *installed])
            return None, [Problem(("type",), name, f" ({shown(name)}) is not a {noun}; {known}")]
        if not (isinstance(kind, type) and issubclass(kind, base)):
            text = f" ({shown(name)}) is not a class derived from {base.__name__}"
            return None, [Problem(("type",), name, text)]
    return read_keys(kind, {key: item for key, item in value.items() if key != "type"})
