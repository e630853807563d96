"""Reads the curriculum of a source and the source rule: which class, with which arguments.

``type`` names a built-in, an entry point of an installed package, or a class by dotted path.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

import numpy as np

from curriculum_learning.config.dotted_path import load_callable
from curriculum_learning.config.keys import Recipe, keys_of, read_choice, read_keys, read_value
from curriculum_learning.config.plan import CurriculumRecipe, Fade, Text
from curriculum_learning.config.problems import Problem, Problems, below, shown
from curriculum_learning.curricula import CURRICULA, RULES, RowCurriculum, SourceRows, SourceRule
from curriculum_learning.curricula.rules.adaptive import AdaptiveWeights
from curriculum_learning.curricula.statistics import RowStatistics

CURRICULA_GROUP = "curriculum_learning.curricula"
RULES_GROUP = "curriculum_learning.rules"
"""Entry points with which packages ship curricula and rules of their own."""

ROW_KEYS: dict[str, Any] = {"complexity_key": Text, "prior_key": Text | None, "fade": Fade}
"""Keys that every curriculum has: where scores and offline pass rates are, how results fade."""


def read_curriculum(value: Any) -> tuple[CurriculumRecipe | None, Problems]:
    """Reads a mapping with ``type``, the keys of that curriculum, and perhaps ``ROW_KEYS``."""
    own = {k: v for k, v in value.items() if k not in ROW_KEYS} if _is_mapping(value) else value
    kinds = CURRICULA, CURRICULA_GROUP, RowCurriculum
    recipe, problems = _read(*kinds, "curriculum", own, probe())
    of_rows: dict[str, Any] = {}
    for key in ROW_KEYS.keys() & (value.keys() if _is_mapping(value) else ()):
        of_rows[key], found = read_value(ROW_KEYS[key], value[key])
        problems += below(key, found)
    if recipe is None or problems:
        return None, problems
    return CurriculumRecipe(recipe.kind, recipe.arguments, **of_rows), []


def read_rule(value: Any) -> tuple[Recipe | None, Problems]:
    """Reads null, or a mapping with ``type`` and the keys of that rule."""
    if value is None:
        return None, []
    return _read(RULES, RULES_GROUP, SourceRule, "source rule", value, {"": 1})


def read_adaptive(value: Any) -> tuple[Recipe | None, Problems]:
    """Reads true, false, or a mapping with keys of ``AdaptiveWeights``."""
    if value is None or value is False:
        return None, []
    if value is not True and not _is_mapping(value):
        keys = ", ".join(keys_of(AdaptiveWeights))
        text = f" {shown(value)} must be true, false, or a mapping with any of {keys}"
        return None, [Problem((), value, text)]
    recipe, problems = read_keys(AdaptiveWeights, {} if value is True else value, {})
    return None if problems else recipe, problems


def probe() -> SourceRows:
    """Returns the rows with which a curriculum is tried before the data is read."""
    return SourceRows("", 1, 0, np.zeros(1), RowStatistics(1))


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _read(
    built_in: Mapping[str, type], group: str, base: type, noun: str, value: Any, *positional: Any
) -> tuple[Recipe | None, Problems]:
    name = value.get("type") if _is_mapping(value) else None
    if name is None:
        text = f" {shown(value)} must be a mapping with type, one of {', '.join(built_in)} or a "
        return None, [Problem((), value, f"{text}dotted path, and the keys of that {noun}")]
    kinds: dict[str, Any] = dict(built_in)
    if isinstance(name, str) and name not in built_in:
        installed = {point.name: point for point in entry_points(group=group)}
        kinds.update(installed)
        try:
            if name in installed:
                kinds[name] = load_callable(installed[name].value.replace(":", "."))
            elif "." in name:
                kinds[name] = load_callable(name)
        except ValueError as error:
            text = f" {shown(name)} cannot be used: {error}"
            return None, [Problem(("type",), name, text)]
        kind = kinds.get(name)
        if kind is not None and not (isinstance(kind, type) and issubclass(kind, base)):
            text = f" {shown(name)} is not a class derived from {base.__name__}"
            return None, [Problem(("type",), name, text)]
    return read_choice("type", kinds, noun, value, *positional)
