"""Reads a sampler's plan from verl's ``data`` node, or from any mapping like it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from inspect import Parameter
from typing import Any

from curriculum_learning.config.curricula import probe, read_curriculum, read_rule
from curriculum_learning.config.keys import keys_of, read_keys
from curriculum_learning.config.plain import plain
from curriculum_learning.config.plan import CurriculumRecipe, SamplerPlan
from curriculum_learning.config.problems import (
    Findings,
    Problem,
    Problems,
    below,
    shown,
    suggestion,
)
from curriculum_learning.config.sampler_file import FILE_KEY, read_sources_file
from curriculum_learning.config.trial import try_schedules
from curriculum_learning.config.weights import checked, read_weight
from curriculum_learning.curricula.rows.reward import RewardCurriculum
from curriculum_learning.curricula.rows.time import TimeCurriculum
from curriculum_learning.curricula.rules.adaptive import AdaptiveWeights
from curriculum_learning.weights.schedules import Schedule, is_zero

logger = logging.getLogger(__name__)

_VERLS_KEYS = ("class_path", "class_name")
WEIGHTS_KEY, CURRICULA_KEY, RULE_KEY = "source_weights", "source_curricula", "source_rule"
CAPS_KEY = "source_reward_caps"
_ALSO_IN_FILE = (WEIGHTS_KEY, CURRICULA_KEY, RULE_KEY, CAPS_KEY, "adaptive_weights")
"""Keys that a file of sources stands for."""
_NOT_IN_NODE = ("batch_size", "adaptive", "curriculum")
"""Fields of the plan that are no keys of the sampler node."""


def keys_of_sampler(curriculum: type | None) -> dict[str, Parameter]:
    """Returns the keys of the sampler node, with a curriculum or without."""
    keys = {**keys_of(SamplerPlan), **keys_of(AdaptiveWeights)}
    unused = _NOT_IN_NODE if curriculum is not None else (*_NOT_IN_NODE, "complexity_source")
    own = {name: key for name, key in keys.items() if name not in unused}
    return own if curriculum is None else {**own, **keys_of(curriculum)}


def read_sampler_config(data_config: Any, curriculum: type | None) -> SamplerPlan:
    """Reads and checks ``data_config`` and its ``sampler`` node.

    Args:
        data_config: verl's ``data`` node, or a mapping like it.
        curriculum: The class of the curriculum, whose keys are in the node too.

    Raises:
        ConfigurationError: Keys are missing, unknown or out of range; it lists all of them, with
            key and value.
    """
    plan, findings = check_sampler_config(data_config, curriculum)
    findings.raise_all()
    assert plan is not None
    return plan


def check_sampler_config(
    data_config: Any, curriculum: type | None
) -> tuple[SamplerPlan | None, Findings]:
    """Returns the plan, None if there are errors; and all that is wrong."""
    data, findings = plain(data_config), Findings()
    node = (data.get("sampler") or {}) if isinstance(data, Mapping) else None
    if not isinstance(node, Mapping):
        key, value = ("data_config", data) if node is None else ("sampler", node)
        findings.say(key, f" {shown(value)} must be a mapping", value)
        return None, findings
    _find_unknown(node, curriculum, findings)
    batch_key = "train_batch_size" if data.get("gen_batch_size") is None else "gen_batch_size"
    has_seed = node.get("seed") is not None
    numbers = {"batch_size": data.get(batch_key), "seed": (node if has_seed else data).get("seed")}
    given = {name: number for name, number in numbers.items() if number is not None}
    own, problems = read_keys(SamplerPlan, {**_part(node, SamplerPlan), **given})
    adaptive, found = read_keys(AdaptiveWeights, _part(node, AdaptiveWeights), ())
    problems += found
    recipes: dict[str, Any] = {"adaptive": adaptive}
    for key, read in _READ_BY_CODE.items():
        recipes[key], found = read(node.get(key))
        problems += below(key, found)
    if curriculum is not None:
        recipes["curriculum"], found = read_keys(curriculum, _part(node, curriculum), probe())
        problems += found
    spelled = {"batch_size": batch_key, "seed": "sampler.seed" if has_seed else "data.seed"}
    for problem in problems:
        name, *path = problem.path
        key = spelled.get(str(name), f"sampler.{name}")
        findings.add(key, [problem._replace(path=tuple(path))])
    fields = {**own.arguments, **recipes}
    if fields[FILE_KEY] is not None:
        _take_from_file(fields, node, findings)
    _check_together(fields, findings)
    if findings.errors:
        return None, findings
    plan = SamplerPlan(**fields)
    if plan.config is None:  # those of a file have been tried
        weights, rule = plan.source_weights, plan.rule if plan.source_weights else None
        caps, key = plan.source_reward_caps, f"sampler.{WEIGHTS_KEY}"
        try_schedules(weights, caps, rule, plan.num_rollout, findings, key)
    return (None if findings.errors else plan), findings


def _take_from_file(fields: dict[str, Any], node: Mapping[str, Any], findings: Findings) -> None:
    """Takes what a file of sources says; a seed or target in the node goes first."""
    for key in _ALSO_IN_FILE:
        if node.get(key):
            text = f" and sampler.{FILE_KEY} are both set; keep one of the two"
            findings.say(f"sampler.{key}", text, node[key])
    found, errors = read_sources_file(fields[FILE_KEY], fields["num_rollout"])
    findings.errors += errors
    above = {name for name in found if node.get(name) is not None and name not in _ALSO_IN_FILE}
    fields.update({name: value for name, value in found.items() if name not in above})


def _check_together(fields: Mapping[str, Any], findings: Findings) -> None:
    """Finds keys that exclude each other."""
    if fields["sampling_strategy"] == "proportional" and fields[WEIGHTS_KEY]:
        text = " has no effect with sampling_strategy: proportional; give one of the two"
        findings.say(f"sampler.{WEIGHTS_KEY}", text, list(fields[WEIGHTS_KEY]))
    if fields["adaptive_weights"] and fields[RULE_KEY] is not None:
        text = " and adaptive_weights are both set; keep one of the two"
        findings.say(f"sampler.{RULE_KEY}", text)
    own = fields["complexity_source"]
    if fields.get("curriculum") is not None and own in fields[CURRICULA_KEY]:
        text = f" names '{own}', the complexity_source: the sampler itself has its curriculum"
        findings.say(f"sampler.{CURRICULA_KEY}", text, own)


def _read_schedules(value: Any, key: str, noun: str) -> tuple[dict[str, Schedule], Problems]:
    schedules: dict[str, Schedule] = {}
    problems = _no_mapping(value, noun)
    for name, item in () if problems else (value or {}).items():
        if item is None and key == CAPS_KEY:
            continue
        schedule, found = read_weight(item, noun)
        problems += below(name, found)
        if schedule is not None:
            schedules[name] = checked(schedule, item, name, key=f"sampler.{key}", noun=noun)
    return schedules, problems


def _read_weights(value: Any) -> tuple[dict[str, Schedule], Problems]:
    weights, problems = _read_schedules(value, WEIGHTS_KEY, "weight")
    if weights and not problems and all(map(is_zero, weights.values())):
        problems.append(Problem((), None, " must have one above 0"))
    return weights, problems


def _read_caps(value: Any) -> tuple[dict[str, Schedule], Problems]:
    return _read_schedules(value, CAPS_KEY, "cap")


def _read_curricula(value: Any) -> tuple[dict[str, CurriculumRecipe], Problems]:
    curricula: dict[str, CurriculumRecipe] = {}
    problems = _no_mapping(value, "curriculum")
    for name, item in () if problems else (value or {}).items():
        recipe, found = (None, []) if item is None else read_curriculum(item)
        problems += below(name, found)
        if recipe is not None:
            curricula[name] = recipe
    return curricula, problems


def _no_mapping(value: Any, noun: str) -> Problems:
    if value is None or isinstance(value, Mapping):
        return []
    return [Problem((), value, f" {shown(value)} must be a mapping from source to {noun}")]


_READ_BY_CODE = {
    WEIGHTS_KEY: _read_weights,
    CURRICULA_KEY: _read_curricula,
    CAPS_KEY: _read_caps,
    RULE_KEY: read_rule,
}
"""Keys that their annotations in the plan do not read."""


def _part(node: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Returns the keys of the node that are those of ``kind``."""
    elsewhere = (*_NOT_IN_NODE, "seed", *_READ_BY_CODE)
    return {key: node[key] for key in keys_of(kind) if key in node and key not in elsewhere}


def _find_unknown(node: Mapping[str, Any], curriculum: type | None, findings: Findings) -> None:
    """Refuses unknown keys; warns of a key that only other samplers know."""
    own = keys_of_sampler(curriculum)
    known = {key for kind in (TimeCurriculum, RewardCurriculum) for key in keys_of_sampler(kind)}
    for key, value in node.items():
        if key in known and key not in own:
            logger.warning("sampler.%s %s has no effect with this class_name", key, shown(value))
        elif key not in own and key not in _VERLS_KEYS:
            text = f" {shown(value)} is not a key of the samplers; {suggestion(key, sorted(known))}"
            findings.say(f"sampler.{key}", text, value)
