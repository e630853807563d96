"""One typed configuration, from an argparse namespace, a mapping or any object with attributes.

Everything is checked here, once; below this module nothing reads ``args``.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from curriculum_learning.config.curricula import (
    KINDS,
    AdaptiveConfig,
    RewardConfig,
    TimeConfig,
    read_keys,
)
from curriculum_learning.config.paths import file_of
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.weights.dotted_path import load_callable
from curriculum_learning.weights.parse import KEY as WEIGHTS_KEY
from curriculum_learning.weights.parse import parse_weight
from curriculum_learning.weights.schedules import Schedule
from curriculum_learning.weights.shares import normalise, weights_at

STEPS_CHECKED = 1000
"""How many steps of a schedule are tried at the start when ``num_rollout`` is not known."""

CAPS_KEY = "data_source_reward_caps"
_CURRICULA_KEY = "data_source_curricula"
_ADAPTIVE_KEY = "data_source_adaptive"

_OUR_KEYS = (
    _ADAPTIVE_KEY,
    "data_source_cache",
    _CURRICULA_KEY,
    "data_source_path",
    "data_source_weights",
    "data_source_metrics_callback",
    CAPS_KEY,
    "prompt_data",
    "prompt_data_source_names",
)
_OUR_PREFIXES = ("data_source_", "prompt_data_")

LOG_FUNCTION = "curriculum_learning.custom_log.custom_rollout_log_function"
ALL_SAMPLES_FUNCTION = "curriculum_learning.custom_log.process_all_samples"

BufferFilter = Callable[[Any, Any, list[Any], int], list[Any]]


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """One source, as configured."""

    name: str
    path: str
    """File, with its slice if it has one."""
    weight: Schedule
    input_key: str = "input"
    label_key: str | None = None
    metadata_key: str = "metadata"
    tool_key: str | None = "tools"
    apply_chat_template: bool = False
    apply_chat_template_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    max_prompt_len: int | None = None
    """In tokens."""
    reward_cap: Schedule | None = None
    """Groups of a larger mean reward are dropped by the reward cap filter."""
    curriculum: TimeConfig | RewardConfig | None = None
    complexity_key: str = "complexity_score"
    """The entry of the metadata, or the column, that a curriculum goes by."""


@dataclasses.dataclass(frozen=True)
class Config:
    """All that the data source needs to know."""

    sources: tuple[SourceConfig, ...]
    """Empty where the engine brings its own prompts (``rollout_global_dataset: false``)."""
    seed: int
    shuffle: bool
    n_samples_per_prompt: int
    rollout_batch_size: int | None
    """In groups."""
    hf_checkpoint: str | None
    dump_details: str | None
    cache: Path | None
    """Where what is worked out of prompt files is kept; None keeps nothing."""
    buffer_filter: BufferFilter | None
    metrics_callback: Callable[[dict[str, float], int], Any] | None
    save: Path | None
    load: Path | None
    on_missing_state: str
    """``error`` or ``restart``."""
    autosave: bool
    """Also write the state at the end of each rollout, where ``save`` is set."""
    on_source_change: str
    """Which changes of the mix a resume accepts: ``error``, ``adopt`` or ``restart``."""
    renamed_from: Mapping[str, str]
    """The former names of sources."""
    surplus: str
    """What becomes of finished groups without room: ``keep``, ``again`` or ``drop``."""
    dynamic_filter: Callable[..., Any] | None
    """The engine's filter of finished groups: ``f(args, samples)``."""
    weights_vary: bool
    """The shares are not the same at every step."""
    accounting: bool
    """Our log function is configured, so it will be told which groups were trained."""
    max_in_flight_rollouts: int
    """A group of which nothing was heard for more rollouts is no longer waited for."""
    mixture_target: str
    """What is to have the configured shares: the groups ``served`` or those ``trained``."""
    max_oversampling: float
    """No source is served more than so many times its share to replace lost groups."""
    max_staleness: int | None
    """Rollouts since the first token of a group that waits; None is any number."""
    on_stale: str
    """What becomes of older groups: ``reset`` or ``drop``."""
    adaptive: AdaptiveConfig | None
    """How the weights follow the rewards; None: they do not."""
    reward_key: str | None
    """The entry that counts where rewards are mappings."""


def read_config(args: Any) -> Config:
    """Read and check the configuration; keys and defaults are slime's, plus our own.

    Args:
        args: An ``argparse`` namespace, a mapping, or an object with some of the attributes.

    Raises:
        ConfigurationError: A value cannot be used; it names key, source, value and remedy.
        ScheduleError: A weight cannot be read, or fails at some step of the run.
    """
    reader = _Reader(args)
    reader.refuse_misspelled_keys()
    sources: tuple[SourceConfig, ...] = ()
    if reader.flag("rollout_global_dataset", True):
        sources = _read_sources(reader)
    surplus = "keep" if reader.flag("partial_rollout", False) else "again"
    accounting = reader.get("custom_rollout_log_function_path", None) == LOG_FUNCTION
    all_samples = reader.get("rollout_all_samples_process_path", None)
    target = "trained" if accounting and all_samples == ALL_SAMPLES_FUNCTION else "served"
    adaptive = _read_adaptive(reader)
    steps = reader.whole_number("num_rollout", None, least=0)
    varying = _check_schedules(sources, adaptive, steps)
    reward_key = reader.get("reward_key", None)
    if reward_key is not None and not isinstance(reward_key, str):
        raise reader.error("reward_key", "must be the name of an entry of the rewards")
    return Config(
        sources=sources,
        seed=reader.whole_number("rollout_seed", 42) or 0,
        shuffle=reader.flag("rollout_shuffle", False),
        n_samples_per_prompt=reader.whole_number("n_samples_per_prompt", 1, least=1) or 1,
        rollout_batch_size=reader.whole_number("rollout_batch_size", None, least=1),
        hf_checkpoint=reader.get("hf_checkpoint", None),
        dump_details=reader.get("dump_details", None),
        cache=_read_cache(reader),
        buffer_filter=reader.function("buffer_filter_path"),
        metrics_callback=reader.function("data_source_metrics_callback"),
        save=reader.path("save"),
        load=reader.path("load") or reader.path("save"),
        on_missing_state=reader.choice("on_missing_state", "error", "restart"),
        autosave=reader.flag("autosave", True),
        on_source_change=reader.choice("on_source_change", "error", "adopt", "restart"),
        renamed_from=_read_renamed(reader, [source.name for source in sources]),
        surplus=reader.choice("surplus", "keep", "again", "drop", default=surplus),
        # Loaded only where it will be asked: importing a filter can be expensive.
        dynamic_filter=reader.function("dynamic_sampling_filter_path")
        if all_samples is not None
        else None,
        weights_vary=varying,
        accounting=accounting,
        max_in_flight_rollouts=reader.whole_number("max_in_flight_rollouts", 8, least=1) or 8,
        mixture_target=reader.choice("mixture_target", "served", "trained", default=target),
        max_oversampling=_read_oversampling(reader),
        max_staleness=reader.whole_number("max_staleness", None, least=0),
        on_stale=reader.choice("on_stale", "reset", "drop"),
        adaptive=adaptive,
        reward_key=reward_key,
    )


def _read_oversampling(reader: _Reader) -> float:
    value = reader.get("max_oversampling", 4)
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not 1 <= value < math.inf:
        raise reader.error("max_oversampling", "must be a finite number >= 1")
    return float(value)


def _read_adaptive(reader: _Reader) -> AdaptiveConfig | None:
    value = reader.get(_ADAPTIVE_KEY, None)
    if value is None or value is False:
        return None
    if value is True:
        value = {}
    if not isinstance(value, Mapping):
        keys = ", ".join(field.name for field in dataclasses.fields(AdaptiveConfig))
        raise reader.error(_ADAPTIVE_KEY, f"must be true, false, or a mapping with any of {keys}")
    return read_keys(AdaptiveConfig, value, _ADAPTIVE_KEY)


def _per_source(reader: _Reader, names: list[str], key: str, kind: str) -> list[Any]:
    """The values of ``key``, of which a mapping with an entry ``kind`` is one for all sources."""
    value = reader.get(key, None)
    if isinstance(value, Mapping) and kind in value:
        return [value] * len(names)
    return reader.per_source(names)(key, None)


def _read_caps(reader: _Reader, names: list[str]) -> list[Schedule | None]:
    values = _per_source(reader, names, CAPS_KEY, "schedule")
    return [
        None if value is None else parse_weight(value, name, key=CAPS_KEY, noun="cap")
        for name, value in zip(names, values, strict=True)
    ]


def _read_curricula(
    reader: _Reader, names: list[str]
) -> list[tuple[TimeConfig | RewardConfig | None, str]]:
    """The curriculum of each source, and the key of its complexity scores."""
    curricula: list[tuple[TimeConfig | RewardConfig | None, str]] = []
    for name, value in zip(names, _per_source(reader, names, _CURRICULA_KEY, "type"), strict=True):
        where = f"{_CURRICULA_KEY} of source '{name}'"
        if value is None:
            curricula.append((None, ""))
            continue
        keys = dict(value) if isinstance(value, Mapping) else {}
        kind = keys.pop("type", None)
        if not isinstance(kind, str) or kind not in KINDS:
            raise ConfigurationError(
                f"{where} is {value!r}; it must be null, or a mapping with type: time or "
                f"type: reward and the keys of that curriculum",
                source=name,
                key=_CURRICULA_KEY,
                value=value,
            )
        complexity_key = keys.pop("complexity_key", "complexity_score")
        if not isinstance(complexity_key, str) or not complexity_key:
            raise ConfigurationError(
                f"{where}: complexity_key is {complexity_key!r}; it must name an entry of the "
                f"metadata or a column",
                source=name,
                key=_CURRICULA_KEY,
                value=complexity_key,
            )
        curricula.append((read_keys(KINDS[kind], keys, _CURRICULA_KEY, name), complexity_key))
    return curricula


def _read_sources(reader: _Reader) -> tuple[SourceConfig, ...]:
    if reader.get("multimodal_keys", None):
        raise reader.error(
            "multimodal_keys", "is not supported yet: only text prompts can be served; unset it"
        )
    paths = reader.get("prompt_data", None)
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    if not _is_list(paths) or not paths:
        raise reader.error(
            "prompt_data", "must be a path, or a list of paths with one entry per source"
        )
    paths = [os.fspath(path) if isinstance(path, os.PathLike) else path for path in paths]
    for path in paths:
        if not isinstance(path, str) or not path:
            raise reader.error("prompt_data", f"has an entry that is no path: {path!r}")
    names = _read_names(reader, paths)
    per_source = reader.per_source(names)
    limit = reader.whole_number("rollout_max_prompt_len", None, least=1)
    template_kwargs = reader.get("apply_chat_template_kwargs", None) or {}
    if not isinstance(template_kwargs, Mapping):
        raise reader.error("apply_chat_template_kwargs", "must be a mapping")
    inputs = per_source("input_key", "input", str)
    labels = per_source("label_key", None, str, None)
    metadata = per_source("metadata_key", "metadata", str)
    tools = per_source("tool_key", "tools", str, None)
    templates = per_source("apply_chat_template", False, bool)
    weights = _read_weights(reader, names)
    caps = _read_caps(reader, names)
    curricula = _read_curricula(reader, names)
    return tuple(
        SourceConfig(
            name=name,
            path=paths[i],
            weight=weights[i],
            input_key=inputs[i],
            label_key=labels[i],
            metadata_key=metadata[i],
            tool_key=tools[i],
            apply_chat_template=templates[i],
            apply_chat_template_kwargs=dict(template_kwargs),
            max_prompt_len=limit,
            reward_cap=caps[i],
            curriculum=curricula[i][0],
            complexity_key=curricula[i][1],
        )
        for i, name in enumerate(names)
    )


def _read_names(reader: _Reader, paths: list[str]) -> list[str]:
    key = "prompt_data_source_names"
    names = reader.get(key, None)
    if names is None:
        names = [Path(file_of(path)).stem for path in paths]
    elif isinstance(names, str):
        names = [names]
    if not _is_list(names) or not all(isinstance(name, str) and name for name in names):
        raise reader.error(key, "must be a list of names, one for each entry of prompt_data")
    if len(names) != len(paths):
        raise reader.error(
            key, f"has {len(names)} names for {len(paths)} entries of prompt_data: one for each"
        )
    for name in names:
        if not name.isprintable():
            raise reader.error(key, f"has a name with unprintable characters: {name!r}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(
            f"two sources are named {', '.join(map(repr, twice))}; give each its own name in {key}",
            source=twice[0],
            key=key,
            value=list(names),
        )
    return list(names)


def _read_cache(reader: _Reader) -> Path | None:
    if reader.get("data_source_cache", None) is False:
        return None
    named = os.environ.get("CURRICULUM_LEARNING_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    default = Path(named) if named else Path(home).expanduser() / "curriculum_learning"
    return reader.path("data_source_cache") or default.absolute()


def _read_renamed(reader: _Reader, names: Sequence[str]) -> dict[str, str]:
    key = "renamed_from"
    renamed = reader.get(key, None) or {}
    if not isinstance(renamed, Mapping):
        raise reader.error(key, "must be a mapping from the name of a source to its former name")
    for name, former in renamed.items():
        if name not in names:
            raise reader.error(key, f"names '{name}', which is no source; the sources are {names}")
        if not isinstance(former, str) or former in names:
            raise reader.error(
                key, f"says that '{name}' was {former!r}; that must be a name no source has now"
            )
    if len({*renamed.values()}) < len(renamed):
        raise reader.error(key, "gives two sources the same former name")
    return dict(renamed)


def _read_weights(reader: _Reader, names: list[str]) -> list[Schedule]:
    weights = reader.get(WEIGHTS_KEY, None)
    if weights is None and len(names) == 1:
        weights = [1.0]
    if isinstance(weights, Mapping):
        missing = [name for name in names if name not in weights]
        unknown = [name for name in weights if name not in names]
        if missing or unknown:
            raise reader.error(
                WEIGHTS_KEY,
                f"must name each source once; missing: {missing}, unknown: {unknown}, "
                f"sources: {names}",
            )
        weights = [weights[name] for name in names]
    if not _is_list(weights) or len(weights) != len(names):
        raise reader.error(
            WEIGHTS_KEY,
            f"must be a list of {len(names)} weights in the order of prompt_data, or a mapping "
            f"from source to weight; the sources are {names}",
        )
    return [parse_weight(weight, name) for weight, name in zip(weights, names, strict=True)]


def _check_schedules(
    sources: Sequence[SourceConfig], adaptive: AdaptiveConfig | None, num_rollout: int | None
) -> bool:
    """Try every schedule at every step of the run: mistakes show before an engine starts.

    Returns:
        Whether the shares differ between steps.
    """
    weights = {source.name: source.weight for source in sources}
    if not weights:
        return False
    first = normalise(weights_at(weights, 0))
    adapts = None if adaptive is None else adaptive.adaptive(list(weights))
    vary = adapts is not None
    # The step after the last one counts too: asynchronous engines draw ahead.
    for step in range(STEPS_CHECKED if num_rollout is None else num_rollout + 1):
        at_step = weights_at(weights, step)
        vary = normalise(at_step) != first or vary
        if adapts is not None:
            adapts.check(at_step, WEIGHTS_KEY, f" at step {step}")
        for source in sources:
            if source.reward_cap is not None:
                source.reward_cap(step)
    return vary


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


class _Reader:
    """Reads keys off ``args``; its errors name the key and the value."""

    def __init__(self, args: Any) -> None:
        self._args = args

    def get(self, key: str, default: Any) -> Any:
        """The value of ``key``, as plain data; an absent key, and only that, is the default."""
        if isinstance(self._args, Mapping):
            value = self._args.get(key, default)
        else:
            value = getattr(self._args, key, default)
        return plain(value)

    def error(self, key: str, problem: str) -> ConfigurationError:
        value = self.get(key, None)
        return ConfigurationError(f"{key} ({value!r}) {problem}", key=key, value=value)

    def refuse_misspelled_keys(self) -> None:
        """A key of our prefixes that we do not know is a typing error, not another's key."""
        if isinstance(self._args, Mapping):
            keys = [str(key) for key in self._args]
        else:
            keys = list(getattr(self._args, "__dict__", ()))
        for key in keys:
            if key.startswith(_OUR_PREFIXES) and key not in _OUR_KEYS:
                near = difflib.get_close_matches(key, _OUR_KEYS, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(_OUR_KEYS)}"
                raise self.error(key, f"is not a key of the data source; {hint}")

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def choice(self, key: str, *values: str, default: str | None = None) -> str:
        """One of ``values``; the first is the default if no other is given."""
        value = self.get(key, None)
        if value is None:
            return default or values[0]
        if value not in values:
            known = f"{', '.join(map(repr, values[:-1]))} or {values[-1]!r}"
            raise self.error(key, f"must be {known}")
        return str(value)

    def whole_number(self, key: str, default: int | None, least: int | None = None) -> int | None:
        value = self.get(key, default)
        if value is None:
            return default
        if not isinstance(value, numbers.Integral) or isinstance(value, bool):
            raise self.error(key, "must be a whole number")
        if least is not None and value < least:
            raise self.error(key, f"must be at least {least}")
        return int(value)

    def function(self, key: str) -> Callable[..., Any] | None:
        value = self.get(key, None)
        if value is None or callable(value):
            return value  # type: ignore[no-any-return]  # a user's function
        if not isinstance(value, str):
            raise self.error(key, "must be the dotted path of a function")
        try:
            return load_callable(value)
        except Exception as error:
            raise self.error(key, f"cannot be used: {error}") from error

    def path(self, key: str) -> Path | None:
        value = self.get(key, None)
        if value is None:
            return None
        if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
            raise self.error(key, "must be a folder")
        # Engines change the working directory of their workers.
        return Path(value).absolute()

    def per_source(self, names: list[str]) -> Callable[..., list[Any]]:
        """A reader of keys that hold one value, or a list with one value per source.

        It takes values of the given kinds; of any, where none is given.
        """

        def read(key: str, default: Any, *kinds: type | None) -> list[Any]:
            value = self.get(key, default)
            if isinstance(value, Mapping):
                if set(value) != set(names):
                    raise self.error(key, f"must name each source once; the sources are {names}")
                values = [value[name] for name in names]
            elif _is_list(value):
                values = list(value)
                if len(values) != len(names):
                    raise self.error(key, f"must have one entry per source: {names}")
            else:
                values = [value] * len(names)
            types = tuple(type(None) if kind is None else kind for kind in kinds)
            for name, item in zip(names, values, strict=True):
                if types and not isinstance(item, types):
                    raise ConfigurationError(
                        f"{key} of source '{name}' is {item!r}; expected "
                        f"{' or '.join('null' if k is None else k.__name__ for k in kinds)}",
                        source=name,
                        key=key,
                        value=item,
                    )
            return values

        return read


def plain(value: Any) -> Any:
    """Configuration nodes (OmegaConf's) as dictionaries and lists."""
    if type(value).__module__.startswith("omegaconf"):
        from omegaconf import OmegaConf

        return OmegaConf.to_container(value, resolve=True)
    return value
