"""Keys that are nearly one of ours: a typing error would train something else in silence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from curriculum_learning.config.plain import plain
from curriculum_learning.config.problems import Findings, suggestion

OUR_PREFIXES = ("data_source_", "prompt_data_")
"""A key with one of these that is not known is a typing error, not another's key."""

OF_ENGINES = frozenset(
    (
        "chat_template_kwargs",
        "custom_eval_rollout_log_function_path",
        "disable_rollout_global_dataset",
        "n_samples_per_eval_prompt",
    )
)
"""Keys of slime and miles that resemble one of ours."""

_OTHER_WORDS = {
    "batch_size": "rollout_batch_size",
    "shuffle": "rollout_shuffle",
    "seed": "rollout_seed",
    "names": "prompt_data_source_names",
    **dict.fromkeys(("weights", "source_weights"), "data_source_weights"),
    **dict.fromkeys(("curriculum", "curricula", "source_curricula"), "data_source_curricula"),
    **dict.fromkeys(("reward_caps", "source_reward_caps"), "data_source_reward_caps"),
    **dict.fromkeys(("rule", "source_rule"), "data_source_rule"),
    **dict.fromkeys(("adaptive", "adaptive_weights"), "data_source_adaptive"),
}
"""What ours are called by the samplers and by who guesses; another program may read them, too."""

_ALIKE = 0.85
"""From which ratio of ``difflib`` on two keys are taken for one: a letter or two in ten."""


def find_near_misses(
    args: Any, values: Mapping[str, Any], known: Iterable[str], findings: Findings
) -> dict[str, Any]:
    """Finds keys that are nearly one of ``known``.

    In a mapping all keys are for us, and one that resembles ours is an error; one that is another
    word for ours is a warning. A namespace is an engine's and has its own keys, so there the first
    is a warning, and the second is not noticed.

    Args:
        args: What was configured.
        values: The values of the keys that are right.
        known: Our keys.
        findings: Collects the errors and warnings.

    Returns:
        The values of wrong keys by the right ones, so that no key that is merely misspelt is
        reported as missing, too.
    """
    is_ours, meant = isinstance(args, Mapping), {}
    keys = tuple(known)
    given = args if is_ours else getattr(args, "__dict__", {})
    for name in map(str, given):
        has_prefix = name.startswith(OUR_PREFIXES)
        if name in keys or name in OF_ENGINES:
            continue
        if is_ours and (key := _OTHER_WORDS.get(name)) is not None and key not in values:
            findings.warnings.append(f"the data source does not read {name}; did you mean {key}?")
            continue
        near = difflib.get_close_matches(name, keys, n=1, cutoff=0.6 if has_prefix else _ALIKE)
        if not near and not has_prefix:
            continue
        ours = [key for key in keys if key.startswith(OUR_PREFIXES)] if has_prefix else keys
        text = f" is not a key of the data source; {suggestion(name, near or ours)}"
        if not (is_ours or has_prefix):
            findings.warnings.append(f"{name}{text}")
            continue
        findings.say(name, text)
        if near and near[0] not in values and name in given:
            meant[near[0]] = plain(given[name])
    return meant
