"""Fits a saved state to the configuration of now, or refuses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curriculum_learning.config.plan import DataSourcePlan, SourcePlan
from curriculum_learning.curricula.reward import RewardCurriculum
from curriculum_learning.prompts.prompts import Prompts
from curriculum_learning.state.adapt import apply, table
from curriculum_learning.state.compare import compare, refuse


def identity_of(config: DataSourcePlan, prompts: Mapping[str, Prompts]) -> dict[str, Any]:
    """Returns what decides which prompt a position in the sequence means, as plain data."""
    return {
        "sources": {
            source.name: {**prompts[source.name].fingerprint, "curriculum": _levels_of(source)}
            for source in config.sources
        },
        "rollout_seed": config.seed,
        "rollout_shuffle": config.shuffle,
        "n_samples_per_prompt": config.n_samples_per_prompt,
    }


def fitted(
    state: Mapping[str, Any],
    now: Mapping[str, Any],
    config: DataSourcePlan,
    prompts: Mapping[str, Prompts],
) -> tuple[Mapping[str, Any], str | None]:
    """Returns a state that the configuration goes on with, and a table of what changed, if it did.

    Args:
        state: A saved state.
        now: The identity of the configuration.
        config: Says which changes are accepted.
        prompts: The prompts of all sources.

    Raises:
        CheckpointError: ``state`` is no state, or ``on_source_change`` refuses a change.
    """
    saved = state.get("identity") if isinstance(state, Mapping) else None
    fit = compare(saved, now, config.renamed_from, prompts)
    refuse(fit.changes, config.on_source_change)
    if not (fit.notes or fit.resized):
        return state, None
    adapted = apply(state, fit, now)
    return adapted, table(state, adapted, fit)


def _levels_of(source: SourcePlan) -> dict[str, Any] | None:
    """Returns what decides which rows a level of a curriculum means; None without levels."""
    if source.curriculum is None or source.curriculum.kind is not RewardCurriculum:
        return None
    keys = (
        "initial_complexity_percentile",
        "final_complexity_percentile",
        "num_intervals",
        "focus_new_intervals",
    )
    levels = {key: source.curriculum.arguments[key] for key in keys}
    return {**levels, "complexity_key": source.curriculum.complexity_key}
