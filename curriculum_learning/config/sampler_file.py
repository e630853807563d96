"""Reads what samplers take from a file of sources: the one that configures slime's data source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curriculum_learning.config.data_source import (
    ADAPTIVE_KEY,
    KEYS,
    PLAIN,
    RULE_KEY,
    check_config,
)
from curriculum_learning.config.files import RunConfig, read_run_config
from curriculum_learning.config.sources import KEYS as SOURCE_KEYS
from curriculum_learning.config.sources import NAMES_KEY, OF_MIXTURE, PATHS_KEY
from curriculum_learning.curricula.rules.adaptive import AdaptiveWeights
from curriculum_learning.errors import ConfigurationError

FILE_KEY = "config"

_PLAIN = ("seed", "mixture_target", "max_oversampling")
"""Fields that the data source and the samplers have alike."""
_OF_MIXTURE = {field: SOURCE_KEYS[field] for field in OF_MIXTURE}
_READ = (
    *(PATHS_KEY, NAMES_KEY, ADAPTIVE_KEY, RULE_KEY, PLAIN["num_rollout"]),
    *_OF_MIXTURE.values(),
    *(PLAIN[field] for field in _PLAIN),
)
"""The keys that samplers read; the others concern prompts, samples and states."""


def read_sources_file(
    path: str, num_rollout: int | None
) -> tuple[dict[str, Any], list[ConfigurationError]]:
    """Reads a file of sources; no prompt file is opened.

    Args:
        path: A YAML file.
        num_rollout: Updates of the run, if the file does not say it.

    Returns:
        Fields of a ``SamplerPlan``, and all that is wrong, with file and line.
    """
    if not path.endswith((".yaml", ".yml")):
        text = f"sampler.{FILE_KEY} ({path!r}) must be a YAML file: FILE.yaml"
        return {}, [ConfigurationError(text, key=f"sampler.{FILE_KEY}", value=path)]
    try:
        run = read_run_config([path])
    except ConfigurationError as error:
        text = f"sampler.{FILE_KEY}: {error}"
        return {}, [ConfigurationError(text, key=f"sampler.{FILE_KEY}", value=path)]
    values = _named(
        {
            key: value
            for key, value in run.values.items()
            # A key that is nearly one of ours is a typing error; others are passed over.
            if key in _READ or key not in KEYS
        }
    )
    plan, findings = check_config({PLAIN["num_rollout"]: num_rollout, **values})
    names = [source.name for source in plan.sources]
    errors = [_placed(error, run, names, path) for error in findings.errors]
    fields: dict[str, Any] = {
        "source_weights": {source.name: source.weight for source in plan.sources},
        "source_curricula": {s.name: s.curriculum for s in plan.sources if s.curriculum},
        "source_reward_caps": {s.name: s.reward_cap for s in plan.sources if s.reward_cap},
    }
    if plan.rule is not None and plan.rule.kind is AdaptiveWeights:
        fields |= {"adaptive_weights": True, "adaptive": plan.rule}
    elif plan.rule is not None:
        fields["source_rule"] = plan.rule
    fields |= {field: getattr(plan, field) for field in _PLAIN if PLAIN[field] in values}
    return fields, errors


def _named(values: dict[str, Any]) -> dict[str, Any]:
    """Names the sources of a file without ``prompt_data``: by their names, or by the weights."""
    weights = values.get(_OF_MIXTURE["weight"])
    names = values.get(NAMES_KEY) or (list(weights) if isinstance(weights, Mapping) else None)
    if values.get(PATHS_KEY) is not None or names is None:
        return values
    unread = [{"type": "files", "path": str(name)} for name in names]
    return {**values, PATHS_KEY: unread, NAMES_KEY: names}


def _placed(
    error: ConfigurationError, run: RunConfig, names: list[str], path: str
) -> ConfigurationError:
    """Returns an error that says where in the file it is."""
    return type(error)(
        f"sampler.{FILE_KEY}: {run.place(error, names) or path}: {error}",
        source=error.source,
        key=f"sampler.{FILE_KEY}",
        value=error.value,
    )
