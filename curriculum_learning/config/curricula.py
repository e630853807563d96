"""Reads the curriculum of a source and adaptive weights: which class, with which arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from curriculum_learning.config.keys import (
    Recipe,
    keys_of,
    made,
    read_choice,
    read_keys,
    read_value,
)
from curriculum_learning.config.plan import CurriculumRecipe, Text
from curriculum_learning.config.problems import Problem, Problems, shown
from curriculum_learning.curricula import CURRICULA
from curriculum_learning.curricula.rules.adaptive import AdaptiveWeights

SCORE_KEY = "complexity_key"


def read_curriculum(value: Any) -> tuple[CurriculumRecipe | None, Problems]:
    """Read a mapping with ``type``, the keys of that curriculum, and perhaps a complexity key."""
    is_mapping = isinstance(value, Mapping)
    keys = {key: item for key, item in value.items() if key != SCORE_KEY} if is_mapping else value
    recipe, problems = read_choice("type", CURRICULA, "curriculum", keys)
    score_key: str = CurriculumRecipe.complexity_key
    if is_mapping and SCORE_KEY in value:
        score_key, found = read_value(Text, value[SCORE_KEY])
        problems += [problem.below(SCORE_KEY) for problem in found]
    if recipe is None or problems:
        return None, problems
    _, error = made(recipe, np.zeros(1))
    if error is not None:
        return None, [Problem((), error.value, f": {error}")]
    return CurriculumRecipe(recipe.kind, recipe.arguments, score_key), []


def read_adaptive(value: Any) -> tuple[Recipe | None, Problems]:
    """Read true, false, or a mapping with keys of ``AdaptiveWeights``."""
    if value is None or value is False:
        return None, []
    if value is not True and not isinstance(value, Mapping):
        keys = ", ".join(keys_of(AdaptiveWeights))
        text = f" ({shown(value)}) must be true, false, or a mapping with any of {keys}"
        return None, [Problem((), value, text)]
    recipe, problems = read_keys(AdaptiveWeights, {} if value is True else value)
    return None if problems else recipe, problems
