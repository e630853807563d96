"""Reads the data source's plan from slime's keys: of a namespace, a mapping, or a YAML file.

Everything is checked here, once; below this module nothing reads ``args``.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from curriculum_learning.config.curricula import read_adaptive, read_rule
from curriculum_learning.config.keys import Recipe, read_keys, read_value
from curriculum_learning.config.near_misses import find_near_misses
from curriculum_learning.config.plain import values_of
from curriculum_learning.config.plan import (
    ALL_SAMPLES_FUNCTION,
    LOG_FUNCTION,
    DataSourcePlan,
    ServicePlan,
    path_of,
)
from curriculum_learning.config.problems import Findings, Problem, shown, suggestion
from curriculum_learning.config.sources import KEYS as SOURCE_KEYS
from curriculum_learning.config.sources import NAMES_KEY, PATHS_KEY, SourceReader
from curriculum_learning.config.trial import try_schedules
from curriculum_learning.errors import ConfigurationError

logger = logging.getLogger(__name__)

ADAPTIVE_KEY, RULE_KEY = "data_source_adaptive", "data_source_rule"
CACHE_KEY, SERVICE_KEY = "data_source_cache", "ray_service"
GLOBAL_KEY = "rollout_global_dataset"

_SPELLING = {
    "seed": "rollout_seed",
    "shuffle": "rollout_shuffle",
    "buffer_filter": "buffer_filter_path",
    "metrics_callback": "data_source_metrics_callback",
    "log_function": "custom_rollout_log_function_path",
    "all_samples_function": "rollout_all_samples_process_path",
    "dynamic_filter": "dynamic_sampling_filter_path",
}
PLAIN = {
    field.name: _SPELLING.get(field.name, field.name)
    for field in dataclasses.fields(DataSourcePlan)
    if field.name not in ("sources", "cache", "rule", "service", "weights_vary")
}
"""The keys of the fields that are read by their annotations alone."""

FUNCTIONS = tuple(
    PLAIN[name]
    for name in (
        "buffer_filter",
        "metrics_callback",
        "log_function",
        "all_samples_function",
        "dynamic_filter",
    )
)
"""The keys that name a function."""

KEYS = (
    *(PATHS_KEY, NAMES_KEY, *SOURCE_KEYS.values(), *PLAIN.values(), "data_source_path"),
    *(ADAPTIVE_KEY, RULE_KEY, CACHE_KEY, SERVICE_KEY, GLOBAL_KEY),
)
"""All of slime's keys that are read, or look like ours without being ours."""

HOOKS = (PLAIN["log_function"], PLAIN["all_samples_function"])
"""The keys by which an engine finds its hooks."""

CACHE = Annotated[Path | Literal[False], "a folder, or false"]


def read_config(args: Any) -> DataSourcePlan:
    """Reads and checks the configuration; keys and defaults are slime's, plus our own.

    Args:
        args: An ``argparse`` namespace, a mapping, or an object with some of the attributes.

    Raises:
        ConfigurationError: Values cannot be used. The error lists all of them, each with key,
            source, value and remedy, and has the attributes of the first. It is a ScheduleError
            if the first is a weight that cannot be read, or that fails at some step of the run.
    """
    plan, findings = check_config(args)
    for text in findings.warnings:
        _warn_once(text)
    findings.raise_all()
    return plan


def check_config(args: Any) -> tuple[DataSourcePlan, Findings]:
    """Returns the plan, with defaults in the place of what is wrong; and all that is wrong."""
    if args is None or isinstance(args, (str, bytes, os.PathLike)):
        raise ConfigurationError(
            f"args {shown(args)} must be a namespace or a mapping from keys to values; of a YAML "
            f"file, give what yaml.safe_load returns",
            key="args",
            value=args,
        )
    values, findings = values_of(args, KEYS), Findings()
    values |= find_near_misses(args, values, KEYS, findings)
    # Engines say None for what is not set; only here it is a value: no tools.
    values = {key: item for key, item in values.items() if item is not None or key == "tool_key"}
    reader = SourceReader(values, findings)
    sources = reader.read() if _one(values, GLOBAL_KEY, bool, True, findings) else ()
    fields = _fields(values, findings)
    rule = _rule(values, findings)
    service_keys = _one(values, SERVICE_KEY, Mapping[str, Any], {}, findings)
    service, problems = read_keys(ServicePlan, service_keys)
    findings.add(SERVICE_KEY, problems)
    weights = {source.name: source.weight for source in sources}
    caps = {source.name: source.reward_cap for source in sources if source.reward_cap is not None}
    plan = DataSourcePlan(
        **fields,
        sources=sources,
        cache=_cache(values, findings),
        rule=rule,
        service=ServicePlan() if problems else service.make(),
        weights_vary=try_schedules(weights, caps, rule, fields["num_rollout"], findings),
    )
    if reader.sure:
        _check_former_names(plan.renamed_from, reader.names, findings)
    if "hf_checkpoint" not in values:
        _check_tokenizer(plan, findings)
    return plan, findings


@functools.cache
def _warn_once(text: str) -> None:
    """Warns; the log function reads the configuration of every rollout."""
    logger.warning("%s", text)


def _one(values: Mapping[str, Any], key: str, hint: Any, default: Any, findings: Findings) -> Any:
    """Returns the value of a key; the default if it is not given, or wrong."""
    if key not in values:
        return default
    value, problems = read_value(hint, values[key])
    findings.add(key, problems)
    return default if problems else value


def _fields(values: Mapping[str, Any], findings: Findings) -> dict[str, Any]:
    """Returns the fields that are read by their annotations alone, and what they imply."""
    given = {name: values[key] for name, key in PLAIN.items() if key in values}
    recipe, problems = read_keys(DataSourcePlan, given)
    for problem in problems:
        name, *path = problem.path
        findings.add(PLAIN[str(name)], [problem._replace(path=tuple(path))])
    fields = {name: recipe.arguments[name] for name in PLAIN}
    hooks = [path_of(fields[name]) for name in ("log_function", "all_samples_function")]
    fields["load"] = fields["load"] or fields["save"]
    if "surplus" not in given and fields["partial_rollout"]:
        fields["surplus"] = "keep"
    if "mixture_target" not in given and hooks == [LOG_FUNCTION, ALL_SAMPLES_FUNCTION]:
        fields["mixture_target"] = "trained"
    if fields["all_samples_function"] is None:
        fields["dynamic_filter"] = None  # nobody asks it
    return fields


def _rule(values: Mapping[str, Any], findings: Findings) -> Recipe | None:
    """Returns the source rule; ``data_source_adaptive`` is short for one of them."""
    adaptive, problems = read_adaptive(values.get(ADAPTIVE_KEY))
    findings.add(ADAPTIVE_KEY, problems)
    rule, problems = read_rule(values.get(RULE_KEY))
    findings.add(RULE_KEY, problems)
    if adaptive is not None and rule is not None:
        findings.say(RULE_KEY, f" and {ADAPTIVE_KEY} are both set; keep one of the two")
    return adaptive or rule


def _cache(values: Mapping[str, Any], findings: Findings) -> Path | None:
    """Returns the folder of the cache; None keeps nothing, as where the user has no home."""
    folder = _one(values, CACHE_KEY, CACHE, None, findings)
    if folder is None:
        named = os.environ.get("CURRICULUM_LEARNING_CACHE")
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        try:
            folder = Path(named) if named else Path(home).expanduser() / "curriculum_learning"
        except RuntimeError:  # no HOME, and a user that the system does not know
            return None
    return folder.absolute() if folder else None


def _check_former_names(renamed: Mapping[str, str], names: list[str], findings: Findings) -> None:
    key = "renamed_from"
    for name, former in renamed.items():
        if name not in names:
            near = suggestion(name, names, "the sources are")
            findings.say(key, f" names {name!r}, which is no source; {near}", name)
        elif former == name:
            text = f" {shown(former)} must be another name than the present one"
            findings.add(key, [Problem((name,), former, text)])
    for former, times in Counter(renamed.values()).items():
        if times > 1:
            text = f" gives several sources the same former name, {former!r}"
            findings.say(key, text, former)


def _check_tokenizer(plan: DataSourcePlan, findings: Findings) -> None:
    rendered = any(source.apply_chat_template for source in plan.sources)
    if rendered or any(source.max_prompt_len is not None for source in plan.sources):
        needs = "apply_chat_template" if rendered else SOURCE_KEYS["max_prompt_len"]
        problem = f"{needs} needs a tokenizer, and hf_checkpoint names none"
        remedy = "set it to the model's folder or name"
        findings.errors.append(ConfigurationError(f"{problem}; {remedy}", key="hf_checkpoint"))
