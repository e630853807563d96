"""Reads a sampler's plan from verl's ``data`` node, or from any mapping like it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from curriculum_learning.config.curricula import read_curriculum, read_rule
from curriculum_learning.config.keys import Key, Recipe, keys_of, made, read_keys
from curriculum_learning.config.plain import plain
from curriculum_learning.config.plan import CurriculumRecipe, SamplerPlan
from curriculum_learning.config.problems import (
    Problem,
    Problems,
    located,
    raise_all,
    shown,
    suggestion,
)
from curriculum_learning.config.weights import checked, read_weight
from curriculum_learning.curricula import SourceRows
from curriculum_learning.curricula.rows.reward import RewardCurriculum
from curriculum_learning.curricula.rows.time import TimeCurriculum
from curriculum_learning.curricula.rules.adaptive import AdaptiveWeights
from curriculum_learning.curricula.statistics import RowStatistics
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.weights.schedules import Schedule, is_zero

logger = logging.getLogger(__name__)

WEIGHTS_KEY, CURRICULA_KEY, RULE_KEY = "source_weights", "source_curricula", "source_rule"

VERLS_KEYS = ("class_path", "class_name")
"""Keys of the sampler node that are verl's."""

_NOT_IN_NODE = (
    *("batch_size", "seed", "adaptive", "curriculum", "curricula", "rule", "source_weights"),
)
"""Fields of the plan that are read from elsewhere."""


def keys_of_sampler(curriculum: type | None) -> dict[str, Key]:
    """The keys of the sampler node, with a curriculum or without."""
    keys = {**keys_of(SamplerPlan), **keys_of(AdaptiveWeights)}
    keys |= {CURRICULA_KEY: keys["curricula"], RULE_KEY: keys["rule"]}
    for name in ("batch_size", "adaptive", "curriculum", "curricula", "rule"):
        del keys[name]
    if curriculum is None:
        del keys["complexity_source"]
    return keys if curriculum is None else {**keys, **keys_of(curriculum)}


def read_sampler_config(data_config: Any, curriculum: type | None) -> SamplerPlan:
    """Read and check ``data_config`` and its ``sampler`` node.

    Args:
        data_config: verl's ``data`` node, or a mapping like it.
        curriculum: The class of the curriculum, whose keys are in the node too.

    Raises:
        ConfigurationError: Keys are missing, unknown or out of range; it lists all of them, with
            key and value.
    """
    plan, errors = check_sampler_config(data_config, curriculum)
    raise_all(errors)
    assert plan is not None
    return plan


def check_sampler_config(
    data_config: Any, curriculum: type | None
) -> tuple[SamplerPlan | None, list[ConfigurationError]]:
    """Read the plan, None if there are errors; and find all that is wrong with it."""
    data = plain(data_config)
    node = (data.get("sampler") or {}) if isinstance(data, Mapping) else None
    if not isinstance(node, Mapping):
        key, value = ("data_config", data) if node is None else ("sampler", node)
        return None, [located(Problem((), value, f" ({shown(value)}) must be a mapping"), key)]
    batch_key = "train_batch_size" if data.get("gen_batch_size") is None else "gen_batch_size"
    seed_key = "data.seed" if node.get("seed") is None else "sampler.seed"
    numbers = {
        "batch_size": data.get(batch_key),
        "seed": data.get("seed") if node.get("seed") is None else node["seed"],
    }
    given = {name: number for name, number in numbers.items() if number is not None}
    own, problems = read_keys(SamplerPlan, {**_part(node, SamplerPlan), **given})
    adaptive, found = read_keys(AdaptiveWeights, _part(node, AdaptiveWeights))
    recipes: dict[str, Any] = {"adaptive": adaptive}
    conflicts: list[ConfigurationError | None] = []
    parts: dict[str, tuple[str, tuple[Any, Problems]]] = {
        "source_weights": (WEIGHTS_KEY, _read_weights(node.get(WEIGHTS_KEY))),
        "curricula": (CURRICULA_KEY, _read_curricula(node.get(CURRICULA_KEY))),
        "rule": (RULE_KEY, read_rule(node.get(RULE_KEY))),
    }
    for field, (key, (part, wrong)) in parts.items():
        recipes[field] = part
        found += [problem.below(key) for problem in wrong]
    if curriculum is not None:
        recipes["curriculum"], of_curriculum = read_keys(curriculum, _part(node, curriculum))
        if not of_curriculum:
            probe = SourceRows("", 1, 0, np.zeros(1), RowStatistics(1))
            conflicts.append(made(recipes["curriculum"], probe)[1])
        found += of_curriculum
    plan = None
    if not problems:
        plan, conflict = made(Recipe(SamplerPlan, {**own.arguments, **recipes}))
        conflicts.append(conflict)
    errors = _unknown_keys(node, curriculum)
    for problem in (*problems, *found):
        name, *path = problem.path
        key = {"batch_size": batch_key, "seed": seed_key}.get(str(name), f"sampler.{name}")
        errors.append(located(problem._replace(path=tuple(path)), key))
    errors += [conflict for conflict in conflicts if conflict is not None]
    return (None if errors else plan), errors


def _read_weights(value: Any) -> tuple[dict[str, Schedule], Problems]:
    if value is not None and not isinstance(value, Mapping):
        text = f" ({shown(value)}) must be a mapping from source to weight"
        return {}, [Problem((), value, text)]
    weights: dict[str, Schedule] = {}
    problems: Problems = []
    for name, item in (value or {}).items():
        schedule, found = read_weight(item, "weight")
        problems += [problem.below(name) for problem in found]
        if schedule is not None:
            weights[name] = checked(schedule, item, name, key=WEIGHTS_KEY, noun="weight")
    if weights and not problems and all(map(is_zero, weights.values())):
        problems.append(Problem((), None, " must have one above 0"))
    return weights, problems


def _read_curricula(value: Any) -> tuple[dict[str, CurriculumRecipe], Problems]:
    if value is not None and not isinstance(value, Mapping):
        text = f" ({shown(value)}) must be a mapping from source to curriculum"
        return {}, [Problem((), value, text)]
    curricula: dict[str, CurriculumRecipe] = {}
    problems: Problems = []
    for name, item in (value or {}).items():
        recipe, found = (None, []) if item is None else read_curriculum(item)
        problems += [problem.below(name) for problem in found]
        if recipe is not None:
            curricula[name] = recipe
    return curricula, problems


def _part(node: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The keys of the node that are those of ``kind``."""
    return {key: node[key] for key in keys_of(kind) if key in node and key not in _NOT_IN_NODE}


def _unknown_keys(node: Mapping[str, Any], curriculum: type | None) -> list[ConfigurationError]:
    """Errors for unknown keys; a key that only other samplers know is warned of."""
    errors = []
    own = keys_of_sampler(curriculum)
    known = {key for kind in (TimeCurriculum, RewardCurriculum) for key in keys_of_sampler(kind)}
    for key, value in node.items():
        if key in own or key in VERLS_KEYS:
            continue
        if key in known:
            logger.warning("sampler.%s (%s) has no effect with this class_name", key, shown(value))
        else:
            text = (
                f" ({shown(value)}) is not a key of the samplers; {suggestion(key, sorted(known))}"
            )
            errors.append(located(Problem((), value, text), f"sampler.{key}"))
    return errors
