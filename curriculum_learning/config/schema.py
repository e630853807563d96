"""The JSON schema of the configuration keys, with which editors complete and check a file."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from curriculum_learning.config import data_source, sources
from curriculum_learning.config.curricula import CURRICULA_GROUP, ROW_KEYS, RULES_GROUP
from curriculum_learning.config.keys import REQUIRED, keys_of
from curriculum_learning.config.kinds import KINDS, PROMPTS_GROUP
from curriculum_learning.config.near_misses import OUR_PREFIXES
from curriculum_learning.config.plan import (
    DataSourcePlan,
    SamplerPlan,
    ServicePlan,
    SourcePlan,
)
from curriculum_learning.config.samplers import keys_of_sampler
from curriculum_learning.curricula import CURRICULA, RULES
from curriculum_learning.curricula.rules.adaptive import AdaptiveWeights
from curriculum_learning.weights.schedules import SHAPES, Number
from curriculum_learning.weights.shares import KEY as WEIGHTS_KEY

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NULL: Schema = {"type": "null"}
_DEFINED = ("weight", "curriculum", "rule", "prompts")
_REFERENCES = {name: {"$ref": f"#/$defs/{name}"} for name in _DEFINED}
_READ_BY_CODE = (
    "name",
    "path",
    "kind",
    "sources",
    "weight",
    "reward_cap",
    "curriculum",
    "adaptive",
    "rule",
    "source_weights",
    "source_curricula",
    "source_reward_caps",
    "source_rule",
    "cache",
    "service",
)
"""Fields of the plan whose annotation does not say what is configured."""


def slime_schema() -> Schema:
    """The schema of the file that slime's ``--custom-config-path`` names; it may have more keys."""
    source, plan = _entries(SourcePlan), _entries(DataSourcePlan)
    source["weight"] |= _REFERENCES["weight"]
    source["reward_cap"] |= _or_null("weight")
    source["curriculum"] |= _or_null("curriculum")
    plan["rule"] |= _or_null("rule")
    plan["cache"] |= _of_type(data_source.CACHE)
    plan["service"] |= _mapping(ServicePlan)
    for field in ("surplus", "mixture_target"):  # these follow other keys
        del plan[field]["default"]
    properties = {
        sources.PATHS_KEY: source["path"]
        | {"anyOf": [_REFERENCES["prompts"], {"type": "array", "items": _REFERENCES["prompts"]}]},
        sources.NAMES_KEY: source["name"] | _one_or_more(sources.NAMES),
        **{
            key: source[field] if field in sources.FOR_ALL else _by_source(source[field])
            for field, key in sources.KEYS.items()
        },
        **{key: plan[field] for field, key in data_source.PLAIN.items()},
        data_source.ADAPTIVE_KEY: {
            "description": "Weights that follow the rewards: short for the rule `adaptive`.",
            "anyOf": [{"type": "boolean"}, _mapping(AdaptiveWeights)],
        },
        data_source.RULE_KEY: plan["rule"],
        data_source.CACHE_KEY: plan["cache"],
        data_source.SERVICE_KEY: plan["service"],
        data_source.GLOBAL_KEY: {
            "description": "false: the engine brings its own prompts; groups are empty samples.",
            "type": "boolean",
            "default": True,
        },
    }
    del properties[WEIGHTS_KEY]["anyOf"][0]  # there is no weight for all sources
    known = [key for key in data_source.KEYS if key.startswith(OUR_PREFIXES)]
    others = {"not": {"pattern": f"^({'|'.join(OUR_PREFIXES)})"}}
    return {
        "$schema": _DIALECT,
        "title": "Configuration of the data source",
        "type": "object",
        "properties": properties,
        "propertyNames": {"anyOf": [{"enum": known}, others]},
        "$defs": {"prompts": _prompts(), **_definitions()},
    }


def verl_schema(samplers: Mapping[str, type | None]) -> Schema:
    """The schema of verl's ``data`` node, alone or in a whole configuration.

    Args:
        samplers: The curriculum of each class of samplers, by its name.
    """
    nodes = []
    for curriculum in dict.fromkeys(samplers.values()):
        kinds = (SamplerPlan, AdaptiveWeights, *([curriculum] if curriculum else []))
        node = _mapping(*kinds, keys=keys_of_sampler(curriculum))
        names = [name for name, kind in samplers.items() if kind is curriculum]
        node["properties"] |= {"class_name": {"enum": names}, "class_path": {"type": "string"}}
        node["properties"]["source_weights"] |= _named(_REFERENCES["weight"])
        node["properties"]["source_curricula"] |= _named(_or_null("curriculum"))
        node["properties"]["source_reward_caps"] |= _named(_or_null("weight"))
        node["properties"]["source_rule"] |= _or_null("rule")
        node["required"].append("class_name")
        nodes.append(node)
    plan = _entries(SamplerPlan)
    properties = {
        "train_batch_size": plan["batch_size"],
        "gen_batch_size": plan["batch_size"],
        "seed": plan["seed"],
        "sampler": {"anyOf": nodes},
    }
    return {
        "$schema": _DIALECT,
        "title": "Configuration of the samplers",
        "type": "object",
        "properties": {"data": {"type": "object", "properties": properties}, **properties},
        "$defs": _definitions(),
    }


def _prompts() -> Schema:
    """An entry of ``prompt_data``."""
    kinds = [_tagged(KINDS[name], "type", name) for name in KINDS]
    return {"anyOf": [{"type": "string", "minLength": 1}, *kinds, _own(PROMPTS_GROUP)]}


def _definitions() -> dict[str, Schema]:
    schedules = [_tagged(SHAPES[name], "schedule", name) for name in SHAPES]
    curricula = [_tagged(CURRICULA[name], "type", name) for name in CURRICULA]
    for mapping in curricula:
        mapping["properties"] |= {key: _of_type(hint) for key, hint in ROW_KEYS.items()}
    text = {"type": "string", "description": "lambda step: ..., or a dotted path"}
    return {
        "weight": {"anyOf": [_of_type(Number), text, *schedules]},
        "curriculum": {"anyOf": [*curricula, _own(CURRICULA_GROUP)]},
        "rule": {"anyOf": [*(_tagged(RULES[n], "type", n) for n in RULES), _own(RULES_GROUP)]},
    }


def _own(group: str) -> Schema:
    """A class of the user's: by dotted path, or by the name with which a package ships it."""
    names = sorted(point.name for point in entry_points(group=group))
    path = {"type": "string", "pattern": r"\."}
    kind = {"anyOf": [path, {"enum": names}]} if names else path
    return {"type": "object", "properties": {"type": kind}, "required": ["type"]}


def _tagged(kind: Callable[..., Any], tag: str, name: str) -> Schema:
    """A mapping with the keys of ``kind``, and its name under ``tag``."""
    mapping = _mapping(kind)
    mapping["properties"] |= {tag: {"const": name}}
    mapping["required"].append(tag)
    return mapping


def _or_null(name: str) -> Schema:
    return {"anyOf": [_REFERENCES[name], _NULL]}


def _named(value: Schema) -> Schema:
    """A mapping by source, or null."""
    return {"anyOf": [{"type": "object", "additionalProperties": value}, _NULL]}


def _mapping(
    *kinds: Callable[..., Any], keys: Mapping[str, inspect.Parameter] | None = None
) -> Schema:
    """A mapping with the keys of ``kinds``, or only with ``keys`` of them."""
    entries = {name: schema for kind in kinds for name, schema in _entries(kind).items()}
    keys = keys_of(kinds[0]) if keys is None else keys
    return {
        "type": "object",
        "properties": {name: entries[name] for name in keys},
        "required": [n for n, key in keys.items() if key.default is REQUIRED],
        "additionalProperties": False,
    }


def _entries(kind: Callable[..., Any]) -> dict[str, Schema]:
    """The schema of each key of ``kind``, with its default and its text in the docstring."""
    arguments = (inspect.getdoc(kind) or "").partition("Args:\n")[2].partition("\n\n")[0]
    texts = dict(re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", arguments, flags=re.MULTILINE))
    entries = {}
    for name, key in keys_of(kind).items():
        entry = _of_type(key.annotation) if name not in _READ_BY_CODE else {}
        if name in texts:
            entry["description"] = " ".join(texts[name].split()).replace("``", "`")
        if isinstance(key.default, (bool, int, float, str)):
            entry["default"] = key.default
        entries[name] = entry
    return entries


def _of_type(hint: Any) -> Schema:
    import pydantic
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        def callable_schema(self, schema: Any) -> Schema:
            return {"type": "string"}

    config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    return pydantic.TypeAdapter(hint, config=config).json_schema(schema_generator=Generator)


def _one_or_more(hint: Any) -> Schema:
    many = _of_type(hint)
    return {"anyOf": [many["items"], many]}


def _by_source(one: Schema) -> Schema:
    """One value for all sources, a list, or a mapping by source; what is said of it comes first."""
    said: Schema = {key: one.pop(key) for key in ("description", "default") if key in one}
    many = [{"type": "array", "items": one}, {"type": "object", "additionalProperties": one}]
    return {**said, "anyOf": [one, *many]}
