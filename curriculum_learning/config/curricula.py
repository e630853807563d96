"""Reads the curriculum of a source and adaptive weights: which class, with which arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from curriculum_learning.config.keys import Recipe, keys_of, read_choice, read_keys, read_value
from curriculum_learning.config.plan import CurriculumRecipe, Text
from curriculum_learning.config.problems import Problem, Problems, below, shown
from curriculum_learning.curricula import CURRICULA
from curriculum_learning.curricula.adaptive import AdaptiveWeights

SCORE_KEY = "complexity_key"


def read_curriculum(value: Any) -> tuple[CurriculumRecipe | None, Problems]:
    """Reads a mapping with ``type``, the keys of that curriculum, and perhaps a complexity key."""
    keys = dict(value) if isinstance(value, Mapping) else value
    score_key, found = read_value(Text, CurriculumRecipe.complexity_key)
    if isinstance(keys, dict) and SCORE_KEY in keys:
        score_key, found = read_value(Text, keys.pop(SCORE_KEY))
    recipe, problems = read_choice("type", CURRICULA, "curriculum", keys, np.zeros(1))
    problems += below(SCORE_KEY, found)
    if recipe is None or problems:
        return None, problems
    return CurriculumRecipe(recipe.kind, recipe.arguments, score_key), []


def read_adaptive(value: Any) -> tuple[Recipe | None, Problems]:
    """Reads true, false, or a mapping with keys of ``AdaptiveWeights``."""
    if value is None or value is False:
        return None, []
    if value is not True and not isinstance(value, Mapping):
        keys = ", ".join(keys_of(AdaptiveWeights))
        text = f" {shown(value)} must be true, false, or a mapping with any of {keys}"
        return None, [Problem((), value, text)]
    recipe, problems = read_keys(AdaptiveWeights, {} if value is True else value, ())
    return None if problems else recipe, problems
