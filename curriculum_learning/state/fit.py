"""Fits a saved state to the configuration of now, or refuses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curriculum_learning.config.plan import DataSourcePlan
from curriculum_learning.mixing.mixture import Mixture
from curriculum_learning.prompts.prompts import Prompts
from curriculum_learning.state.adapt import apply, table
from curriculum_learning.state.compare import compare, identity_of_curriculum, refuse


def identity_of(
    config: DataSourcePlan, prompts: Mapping[str, Prompts], mixture: Mixture | None
) -> dict[str, Any]:
    """Returns what decides which prompt a position in the sequence means, as plain data."""
    curricula = {s.name: s.curriculum for s in mixture.sources} if mixture is not None else {}
    return {
        "sources": {
            source.name: {
                **prompts[source.name].fingerprint,
                "curriculum": identity_of_curriculum(source.curriculum, curricula[source.name]),
            }
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
