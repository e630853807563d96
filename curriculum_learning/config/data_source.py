"""Reads the data source's plan from slime's keys: of a namespace, a mapping, or a YAML file.

Everything is checked here, once; below this module nothing reads ``args``.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Len, MinLen, Predicate

from curriculum_learning.config.curricula import read_adaptive, read_curriculum
from curriculum_learning.config.keys import Recipe, keys_of, made, read_keys, read_value
from curriculum_learning.config.paths import file_of
from curriculum_learning.config.plain import values_of
from curriculum_learning.config.plan import (
    ALL_SAMPLES_FUNCTION,
    LOG_FUNCTION,
    DataSourcePlan,
    ServicePlan,
    SourcePlan,
    path_of,
)
from curriculum_learning.config.problems import (
    Problem,
    Problems,
    located,
    raise_all,
    shown,
    suggestion,
)
from curriculum_learning.config.weights import checked, read_weight
from curriculum_learning.errors import ConfigurationError, ScheduleError
from curriculum_learning.weights.schedules import Constant
from curriculum_learning.weights.shares import KEY as WEIGHTS_KEY
from curriculum_learning.weights.shares import normalise, refuse_all_zero

STEPS_CHECKED = 1000
"""How many steps of a schedule are tried at the start when ``num_rollout`` is not known."""

PATHS_KEY, NAMES_KEY = "prompt_data", "prompt_data_source_names"
CAPS_KEY, CURRICULA_KEY = "data_source_reward_caps", "data_source_curricula"
ADAPTIVE_KEY, CACHE_KEY = "data_source_adaptive", "data_source_cache"
SERVICE_KEY, GLOBAL_KEY, IMAGES_KEY = "ray_service", "rollout_global_dataset", "multimodal_keys"

BY_SOURCE = {
    "input_key": "input_key",
    "label_key": "label_key",
    "metadata_key": "metadata_key",
    "tool_key": "tool_key",
    "apply_chat_template": "apply_chat_template",
    "weight": WEIGHTS_KEY,
    "reward_cap": CAPS_KEY,
    "curriculum": CURRICULA_KEY,
}
"""Fields of a source whose keys have one value, a list of values, or a mapping by source."""

FOR_ALL = {
    "apply_chat_template_kwargs": "apply_chat_template_kwargs",
    "max_prompt_len": "rollout_max_prompt_len",
}
"""Fields of a source whose keys have one value for all sources."""

_OTHER_NAMES = {
    "seed": "rollout_seed",
    "shuffle": "rollout_shuffle",
    "buffer_filter": "buffer_filter_path",
    "metrics_callback": "data_source_metrics_callback",
    "log_function": "custom_rollout_log_function_path",
    "all_samples_function": "rollout_all_samples_process_path",
    "dynamic_filter": "dynamic_sampling_filter_path",
}
PLAIN = {
    field.name: _OTHER_NAMES.get(field.name, field.name)
    for field in dataclasses.fields(DataSourcePlan)
    if field.name not in ("sources", "cache", "adaptive", "service", "weights_vary")
}
"""Fields of the data source that are read by their annotations alone, and their keys."""

KEYS = (
    *(PATHS_KEY, NAMES_KEY, *BY_SOURCE.values(), *FOR_ALL.values(), *PLAIN.values()),
    *(ADAPTIVE_KEY, CACHE_KEY, SERVICE_KEY, GLOBAL_KEY, IMAGES_KEY, "data_source_path"),
)
"""All of slime's keys that are read, or look like ours without being ours."""

PROMPT_KEYS = frozenset((*BY_SOURCE.values(), *FOR_ALL.values())) - {
    WEIGHTS_KEY,
    CAPS_KEY,
    CURRICULA_KEY,
}
"""Keys that say how prompt files are read."""

HOOKS = (PLAIN["log_function"], PLAIN["all_samples_function"])
"""The keys by which an engine finds its hooks."""

OUR_PREFIXES = ("data_source_", "prompt_data_")
"""A key with one of these that is not known is a typing error, not another's key."""

PATHS = Annotated[
    list[Annotated[str, MinLen(1), "a path"]],
    Len(1),
    "a path, or a list of paths with one entry per source",
]
NAMES = Annotated[
    list[Annotated[str, MinLen(1), Predicate(str.isprintable), "a name of printable characters"]],
    "a list of names, one for each entry of prompt_data",
]
CACHE = Annotated[Path | Literal[False], "a folder, or false"]

_NOUNS = {"weight": "weight", "reward_cap": "cap"}
"""What a schedule gives, by field."""


def read_config(args: Any) -> DataSourcePlan:
    """Read and check the configuration; keys and defaults are slime's, plus our own.

    Args:
        args: An ``argparse`` namespace, a mapping, or an object with some of the attributes.

    Raises:
        ConfigurationError: Values cannot be used. The error lists all of them, each with key,
            source, value and remedy, and has the attributes of the first. It is a ScheduleError
            if the first is a weight that cannot be read, or that fails at some step of the run.
    """
    plan, errors = check_config(args)
    raise_all(errors)
    return plan


def check_config(args: Any) -> tuple[DataSourcePlan, list[ConfigurationError]]:
    """Read the configuration, and find all that is wrong with it.

    Returns:
        The plan, with defaults in the place of what cannot be used; the errors.
    """
    reader = _Reader(args)
    sources = reader.sources() if reader.one(GLOBAL_KEY, bool, True) else ()
    fields, adaptive = reader.fields(), reader.adaptive()
    plan = DataSourcePlan(
        **fields,
        sources=sources,
        cache=reader.cache(),
        adaptive=adaptive,
        service=reader.service(),
        weights_vary=reader.try_schedules(sources, adaptive, fields["num_rollout"]),
    )
    reader.check_together(plan)
    return plan, reader.errors


class _Reader:
    """Reads the keys of one configuration, and collects errors."""

    def __init__(self, args: Any) -> None:
        values = values_of(args, KEYS)
        # Engines say None for what is not set; only here it is a value: no tools.
        self.values = {k: v for k, v in values.items() if v is not None or k == "tool_key"}
        self.errors: list[ConfigurationError] = []
        self.names: list[str] = []
        """The sources; guesses, for messages, if their names or paths cannot be used."""
        self.sure = True
        known = [key for key in KEYS if key.startswith(OUR_PREFIXES)]
        for key in map(str, args if isinstance(args, Mapping) else getattr(args, "__dict__", ())):
            if key.startswith(OUR_PREFIXES) and key not in known:
                text = f" is not a key of the data source; {suggestion(key, known)}"
                self.add([Problem((), None, text)], key)

    def add(
        self, problems: Problems, key: str, source: str | None = None, at: Sequence[Any] = ()
    ) -> None:
        """Note what is wrong with the value of a key."""
        kind = ScheduleError if key in (WEIGHTS_KEY, CAPS_KEY) else ConfigurationError
        self.errors += [located(problem, key, source, at=at, kind=kind) for problem in problems]

    def refuse(self, key: str, text: str) -> None:
        """Note that the whole value of a key cannot be used."""
        value = self.values.get(key)
        self.add([Problem((), value, f" ({shown(value)}) {text}")], key)

    def one(self, key: str, hint: Any, default: Any) -> Any:
        """The value of a key; the default if it is not given, or wrong."""
        if key not in self.values:
            return default
        value, problems = read_value(hint, self.values[key])
        self.add(problems, key)
        return default if problems else value

    def fields(self) -> dict[str, Any]:
        """The fields that are read by their annotations alone, and what they imply."""
        given = {name: self.values[key] for name, key in PLAIN.items() if key in self.values}
        recipe, problems = read_keys(DataSourcePlan, given)
        for problem in problems:
            name, *path = problem.path
            self.add([problem._replace(path=tuple(path))], PLAIN[str(name)])
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

    def service(self) -> ServicePlan:
        """The part of the service."""
        recipe, problems = read_keys(ServicePlan, self.one(SERVICE_KEY, Mapping[str, Any], {}))
        plan, error = made(recipe)
        if error is not None:
            problems.append(Problem((), error.value, f": {error}"))
        self.add(problems, SERVICE_KEY)
        return ServicePlan() if plan is None else plan

    def adaptive(self) -> Recipe | None:
        """The rule for weights that follow the rewards."""
        adaptive, problems = read_adaptive(self.values.get(ADAPTIVE_KEY))
        self.add(problems, ADAPTIVE_KEY)
        return adaptive

    def cache(self) -> Path | None:
        """The folder of the cache; None keeps nothing."""
        folder = self.one(CACHE_KEY, CACHE, None)
        if folder is None:
            named = os.environ.get("CURRICULUM_LEARNING_CACHE")
            home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
            folder = Path(named) if named else Path(home).expanduser() / "curriculum_learning"
        return folder.absolute() if folder else None

    # Sources

    def sources(self) -> tuple[SourcePlan, ...]:
        """The sources, with all that belongs to each; none if it is not known which there are."""
        if self.values.get(IMAGES_KEY):
            text = "is not supported yet: only text prompts can be served; unset it"
            self.refuse(IMAGES_KEY, text)
        paths = self.read_paths()
        self.read_names(paths)
        self.check_weights()
        hints = keys_of(SourcePlan)
        fields: dict[str, dict[str, Any]] = defaultdict(lambda: {"weight": Constant(1.0)})
        for field, key in BY_SOURCE.items():
            for names, source, at, value in self.entries(key):
                result, problems = _read_entry(field, hints[field].hint, value)
                self.add(problems, key, source, at)
                for name in names if not problems else ():
                    if field in _NOUNS and result is not None:
                        noun = _NOUNS[field]
                        fields[name][field] = checked(result, value, name, key=key, noun=noun)
                    else:
                        fields[name][field] = result
        for field, key in FOR_ALL.items():
            if key in self.values:
                result = self.one(key, hints[field].hint, None)
                for name in self.names if result is not None else ():
                    fields[name][field] = result
        if not self.sure:
            return ()
        return tuple(
            SourcePlan(name=name, path=path, **fields[name])
            for name, path in zip(self.names, paths, strict=True)
        )

    def read_paths(self) -> list[str]:
        """The paths; empty if one of them cannot be used."""
        value = self.values.get(PATHS_KEY)
        paths, problems = read_value(PATHS, [value] if isinstance(value, str) else value)
        self.add(problems, PATHS_KEY)
        return [] if problems else paths

    def read_names(self, paths: list[str]) -> None:
        """The names of the sources, which all other keys go by."""
        value = self.values.get(NAMES_KEY)
        count = len(self.errors)
        self.names = [Path(file_of(path)).stem for path in paths]
        if value is not None:
            names, problems = read_value(NAMES, [value] if isinstance(value, str) else value)
            self.add(problems, NAMES_KEY)
            self.names = self.names if problems else names
        twice = [name for name, times in Counter(self.names).items() if times > 1]
        if paths and len(self.names) != len(paths):
            text = f"has {len(self.names)} names for {len(paths)} entries of prompt_data"
            self.refuse(NAMES_KEY, f"{text}: one for each")
        elif twice:
            self.errors.append(
                ConfigurationError(
                    f"two sources are named {', '.join(map(repr, twice))}; give each its own name "
                    f"in {NAMES_KEY}",
                    source=twice[0],
                    key=NAMES_KEY,
                    value=self.names,
                )
            )
        self.sure = bool(paths) and len(self.errors) == count

    def check_weights(self) -> None:
        """Weights have no default, unless there is one source."""
        weights, many = self.values.get(WEIGHTS_KEY), len(self.names)
        if not self.sure or (weights is None and many == 1):
            return
        if isinstance(weights, Mapping):
            missing = [name for name in self.names if name not in weights]
            if missing:
                text = f" has no weight of {', '.join(map(repr, missing))}; give each source one"
                self.add([Problem((), weights, text)], WEIGHTS_KEY)
        elif not isinstance(weights, list) or len(weights) != many:
            self.refuse(
                WEIGHTS_KEY,
                f"must be a list of {many} weights in the order of prompt_data, or a mapping from "
                f"source to weight; the sources are {self.names}",
            )
            self.values.pop(WEIGHTS_KEY, None)

    def entries(self, key: str) -> Iterator[tuple[list[str], str | None, tuple[Any, ...], Any]]:
        """The values of a key: the sources that have it, which one that is, where it is, itself."""
        value = self.values.get(key)
        single = {CAPS_KEY: "schedule", CURRICULA_KEY: "type"}.get(key)
        if isinstance(value, list):
            if self.sure and len(value) != len(self.names):
                self.refuse(key, f"must have one entry per source: {self.names}")
                return
            for place, item in enumerate(value):
                name = dict(enumerate(self.names)).get(place, f"source {place + 1}")
                yield [name], name, (place,), item
        elif isinstance(value, Mapping) and single not in value:
            for name, item in value.items():
                if self.sure and name not in self.names:
                    near = suggestion(name, self.names, "the sources are")
                    text = f" names {name!r}, which is no source; {near}"
                    self.add([Problem((), name, text)], key, at=(name,))
                else:
                    yield [name], name, (name,), item
        elif key in self.values:
            yield self.names, None, (), value

    # What concerns several keys

    def try_schedules(
        self, sources: Sequence[SourcePlan], adaptive: Recipe | None, num_rollout: int | None
    ) -> bool:
        """Try every schedule at every step of the run: mistakes show before an engine starts.

        Returns:
            Whether the shares differ between steps.
        """
        schedules = {source.name: source.weight for source in sources}
        caps = {source.name: source.reward_cap for source in sources if source.reward_cap}
        rule = None if adaptive is None else adaptive.make(list(schedules))
        vary, first = rule is not None, None
        # The step after the last one counts too: asynchronous engines draw ahead.
        for step in range(STEPS_CHECKED if num_rollout is None else num_rollout + 1):
            weights = self.tried(schedules, step)
            self.tried(caps, step)
            if len(weights) < len(sources) or not weights:
                continue
            try:
                refuse_all_zero(weights, step)
                if rule is not None:
                    rule.check(weights, WEIGHTS_KEY, f" at step {step}")
            except ConfigurationError as error:
                self.errors.append(error)
                return True
            shares = normalise(weights)
            first = first or shares
            vary = vary or shares != first
        return vary

    def tried(self, schedules: dict[str, Any], step: int) -> dict[str, float]:
        """The results at a step; a schedule that fails is taken out, so that it is told once."""
        results = {}
        for name, schedule in list(schedules.items()):
            try:
                results[name] = schedule(step)
            except ScheduleError as error:  # noqa: PERF203 - one that fails hides no other
                self.errors.append(error)
                del schedules[name]
        return results

    def check_together(self, plan: DataSourcePlan) -> None:
        """Check former names, and that there is a tokenizer for what needs one."""
        key = "renamed_from"
        for name, former in plan.renamed_from.items() if self.sure and self.names else ():
            if name not in self.names:
                near = suggestion(name, self.names, "the sources are")
                text = f" names {name!r}, which is no source; {near}"
                self.add([Problem((), name, text)], key)
            elif former in self.names:
                text = f" ({former!r}) must be a name that no source has now"
                self.add([Problem((name,), former, text)], key)
        for former, times in Counter(plan.renamed_from.values()).items():
            if times > 1:
                text = f" gives several sources the same former name, {former!r}"
                self.add([Problem((), former, text)], key)
        rendered = any(source.apply_chat_template for source in plan.sources)
        limited = any(source.max_prompt_len is not None for source in plan.sources)
        if (rendered or limited) and "hf_checkpoint" not in self.values:
            needs = "apply_chat_template" if rendered else FOR_ALL["max_prompt_len"]
            problem = f"{needs} needs a tokenizer, and hf_checkpoint names none"
            remedy = "set it to the model's folder or name"
            self.errors.append(ConfigurationError(f"{problem}; {remedy}", key="hf_checkpoint"))


def _read_entry(field: str, hint: Any, value: Any) -> tuple[Any, Problems]:
    """Read one value of a field of a source."""
    if field == "curriculum":
        return (None, []) if value is None else read_curriculum(value)
    if field == "weight" or (field == "reward_cap" and value is not None):
        schedule, problems = read_weight(value, _NOUNS[field])
        return schedule, [problem._replace(value=value) for problem in problems]
    return read_value(hint, value) if field not in _NOUNS else (None, [])
