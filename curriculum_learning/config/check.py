"""All that is wrong with a configuration, not only what is met first.

A reader raises at the first value that it cannot use. Here that value is set aside, and what is
left is read again, until nothing is wrong any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from curriculum_learning.config.data_source import Config, read_config
from curriculum_learning.config.paths import file_of
from curriculum_learning.config.samplers import SamplerConfig, read_sampler_config
from curriculum_learning.errors import ConfigurationError, CurriculumLearningError
from curriculum_learning.weights.dotted_path import load_callable
from curriculum_learning.weights.parse import KEY as WEIGHTS_KEY

HOOKS = ("custom_rollout_log_function_path", "rollout_all_samples_process_path")
"""The keys by which an engine finds its hooks."""

Errors = list[CurriculumLearningError]
_Read = TypeVar("_Read")
_Values = Mapping[str, Any]
_Config = TypeVar("_Config", bound=SamplerConfig)

_STAND_INS = {"train_batch_size": 1, "gen_batch_size": 1, "reward_threshold": 0.0}
"""For keys without a default, so that the others can be read."""


def check_config(values: _Values) -> tuple[Config | None, Errors]:
    """Read the data source's configuration; None where not even the rest of it can be read."""
    config, errors = _collect(values, read_config, _set_aside)
    for key in HOOKS:
        path = values.get(key)
        try:
            if isinstance(path, str):
                load_callable(path)
        except Exception as error:
            errors.append(
                ConfigurationError(f"{key} ({path!r}) cannot be used: {error}", key=key, value=path)
            )
    return config, errors


def check_sampler_config(
    data: _Values, config_type: type[_Config]
) -> tuple[_Config | None, Errors]:
    """Read a sampler's configuration, verl's ``data`` node, in the same way."""
    return _collect(data, lambda values: read_sampler_config(values, config_type), _set_node_aside)


def _collect(
    values: _Values,
    read: Callable[[_Values], _Read],
    set_aside: Callable[[_Values, CurriculumLearningError], _Values],
) -> tuple[_Read | None, Errors]:
    errors: Errors = []
    while isinstance(result := _attempt(read, values), CurriculumLearningError):
        met = [(error.key, error.source) for error in errors]
        if (result.key, result.source) in met:  # setting it aside did not help
            return None, errors
        errors.append(result)
        if result.key is None:
            return None, errors
        values = set_aside(values, result)
    return result, errors


def _attempt(read: Callable[[_Values], _Read], values: _Values) -> _Read | CurriculumLearningError:
    try:
        return read(values)
    except CurriculumLearningError as error:
        return error


def _set_aside(values: _Values, error: CurriculumLearningError) -> _Values:
    key, source = str(error.key), error.source
    rest = {name: value for name, value in values.items() if name != key}
    paths = values.get("prompt_data")
    if key == "prompt_data":
        # Nothing of the files is known; how many sources there are, perhaps.
        names, weights = values.get("prompt_data_source_names"), values.get(WEIGHTS_KEY)
        stand_ins: list[str] = []
        if isinstance(names, list):
            stand_ins = [str(name) for name in names]
        elif isinstance(weights, Mapping):
            stand_ins = [str(name) for name in weights]
        elif isinstance(several := paths or weights, list):
            stand_ins = [f"source {number}" for number in range(1, len(several) + 1)]
        return {**rest, key: stand_ins} if stand_ins else {**rest, "rollout_global_dataset": False}
    count = len(paths) if isinstance(paths, list) else 1
    if key == "prompt_data_source_names":
        # What was given by name is taken in its order; it is as good as any to look at the values.
        names = [f"source {number}" for number in range(1, count + 1)]
        listed = {
            name: list(value.values())
            for name, value in rest.items()
            if name == WEIGHTS_KEY and isinstance(value, Mapping)
        }
        return {**rest, **listed, key: names}
    if key == WEIGHTS_KEY:
        weights = values.get(key)
        if source is None:
            return {**rest, key: [1.0] * count}
        if isinstance(weights, Mapping):
            return {**rest, key: {**weights, source: 1.0}}
        names = values.get("prompt_data_source_names")
        if not isinstance(names, list) and isinstance(paths, list):
            names = [Path(file_of(str(path))).stem for path in paths]  # as sources are named then
        if isinstance(weights, list) and isinstance(names, list) and source in names:
            at = names.index(source)
            return {**rest, key: [*weights[:at], 1.0, *weights[at + 1 :]]}
    return rest


def _set_node_aside(values: _Values, error: CurriculumLearningError) -> _Values:
    key = str(error.key).split(".")[-1]
    node = values.get("sampler")
    if not isinstance(node, Mapping):
        return {**values, "sampler": {}}
    stand_in = {key: _STAND_INS[key]} if key in _STAND_INS else {}
    node = {name: value for name, value in node.items() if name != key}
    if key == "reward_threshold":
        return {**values, "sampler": {**node, **stand_in}}
    rest = {name: value for name, value in values.items() if name not in (key, "sampler")}
    return {**rest, **stand_in, "sampler": node}
