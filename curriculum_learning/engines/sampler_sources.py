"""The sources of a sampler, made from a data set's columns; and its rows by their index."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.config.plan import CurriculumRecipe, SamplerPlan
from curriculum_learning.curricula.base import SourceRows, SourceRule
from curriculum_learning.curricula.rows.reward import RewardCurriculum
from curriculum_learning.curricula.statistics import RowStatistics
from curriculum_learning.engines.sampler_lines import OfOneSource
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.mixing.focused import curated_source
from curriculum_learning.mixing.mixture import Mixture
from curriculum_learning.mixing.source import RowSource, Source
from curriculum_learning.prompts.columns import read_entries, read_numbers, read_scores
from curriculum_learning.state.compare import identity_of_curriculum
from curriculum_learning.weights.schedules import Schedule

INDEX_ENTRY = "extra_info.index"
"""What tells a row of verl's data from the others of its source."""

RowsBySource = Mapping[str, NDArray[np.int64]]
"""The rows of each source in the data set, ascending."""


def make_mixture(
    dataset: Any, rows: RowsBySource, weights: Mapping[str, Schedule], config: SamplerPlan
) -> Mixture:
    """Makes the mixture: each source with its curriculum, if it has one, and the source rule.

    Raises:
        ConfigurationError: A curriculum or cap is configured for a source that the data does not
            have, or the weights do not fit the rule.
        DataError: A row has no complexity score, and its curriculum needs one.
    """
    recipes: dict[str, CurriculumRecipe | None] = {**config.source_curricula}
    if config.curriculum is not None:
        kind, arguments = config.curriculum.kind, config.curriculum.arguments
        recipes[config.complexity_source] = CurriculumRecipe(kind, arguments)
    named = {
        "source_curricula": config.source_curricula,
        "source_reward_caps": config.source_reward_caps,
    }
    if config.curriculum is not None:
        named["complexity_source"] = {config.complexity_source: None}
    for key, name in [(key, name) for key, names in named.items() for name in names]:
        if name not in rows:
            verb = "is" if key == "complexity_source" else "names"
            raise ConfigurationError(
                f"{key} {verb} '{name}', none of the sources of the data; "
                f"set it to one of {list(rows)}",
                source=name,
                key=key,
                value=name,
            )
    sources = [
        _source(dataset, name, at, recipes.get(name), config.seed) for name, at in rows.items()
    ]
    sizes = {name: len(at) for name, at in rows.items()}
    rule: SourceRule | None = None if config.rule is None else config.rule.make(sizes)
    mixture = Mixture(sources, weights, rule)
    if rule is not None:
        proportional = config.sampling_strategy == "proportional"
        key = "sampling_strategy: proportional" if proportional else "source_weights"
        rule.check(mixture.weights(0), key)
    return mixture


def _source(
    dataset: Any, name: str, at: NDArray[np.int64], recipe: CurriculumRecipe | None, seed: int
) -> RowSource:
    if recipe is None:
        return Source(name, len(at), seed=seed, shuffle=True)
    scores = priors = None
    if recipe.curriculum.needs_scores:
        scores = read_scores(dataset, at, name, recipe.complexity_key)
    if recipe.prior_key is not None:
        priors = read_numbers(dataset, at, recipe.prior_key)
    statistics = RowStatistics(len(at), fade=recipe.fade, priors=priors)
    rows = SourceRows(name, len(at), seed, scores, statistics)
    return curated_source(rows, recipe.make(rows), shuffle=True)


def identity_of(
    sampler: str, mixture: Mixture, rows: RowsBySource, config: SamplerPlan
) -> dict[str, Any]:
    """Returns what tells this run from one whose states it cannot load, by the keys concerned."""
    identity: dict[str, Any] = {
        "sources": {
            source.name: {
                "rows": source.size,
                "hash": digest_of(rows[source.name]),
                "curriculum": identity_of_curriculum(
                    config.source_curricula.get(source.name), source.curriculum
                ),
            }
            for source in mixture.sources
        },
        "sampler.class_name": sampler,
        "sampler.seed": config.seed,
        "sampler.adaptive_weights": config.adaptive_weights,
        "train_batch_size": config.batch_size,
    }
    curriculum = curriculum_of(mixture, config)
    if curriculum is not None:
        identity["complexity_scores"] = digest_of(curriculum.rank)
    if isinstance(curriculum, RewardCurriculum):
        identity |= {
            "sampler.initial_complexity_percentile": curriculum.percentiles[0],
            "sampler.final_complexity_percentile": curriculum.percentiles[-1],
            "sampler.num_intervals": len(curriculum.counts) - 1,
            "sampler.focus_new_intervals": curriculum.focus_new_intervals,
        }
    return identity


def curriculum_of(mixture: Mixture, config: SamplerPlan) -> OfOneSource | None:
    """Returns the curriculum of ``complexity_source``, in the samplers that have one."""
    if config.curriculum is None:
        return None
    at = mixture.names.index(config.complexity_source)
    curriculum = mixture.sources[at].curriculum
    assert isinstance(curriculum, OfOneSource)
    return curriculum


def digest_of(array: NDArray[np.int64]) -> str:
    """Returns a short digest of an array's content."""
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest()


class RowIndex:
    """Finds rows of a data set by their source and ``extra_info.index``; 16 bytes a row.

    It knows the rows of sources whose curricula learn from single rows, if no two rows of the
    source have the same index.

    Args:
        dataset: The data set.
        rows: The rows of each source.
        sources: The sources.
    """

    def __init__(self, dataset: Any, rows: RowsBySource, sources: Sequence[RowSource]) -> None:
        curricula = [(source.name, source.curriculum) for source in sources]
        self.wanted = [
            name
            for name, curriculum in curricula
            if curriculum is not None and curriculum.learns and curriculum.needs_rows
        ]
        """The sources whose curricula learn from single rows."""
        self._sorted: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        values = read_entries(dataset, INDEX_ENTRY) if self.wanted else ()
        for name in self.wanted:
            at = rows[name]
            keys = [_key(values[row]) for row in at.tolist()]
            if None in keys:
                continue
            known = np.array(keys, dtype=np.int64)
            order = np.argsort(known)
            known = known[order]
            if (known[1:] != known[:-1]).all():
                self._sorted[name] = known, at[order]

    def find(self, sources: Sequence[str], values: Sequence[Any]) -> list[int | None]:
        """Returns the row of each sample; None where it is not known."""
        return [self._find(name, _key(v)) for name, v in zip(sources, values, strict=True)]

    def _find(self, source: str, key: int | None) -> int | None:
        if key is None or source not in self._sorted:
            return None
        keys, rows = self._sorted[source]
        place = int(np.searchsorted(keys, key))
        return int(rows[place]) if place < len(keys) and keys[place] == key else None


def _key(value: Any) -> int | None:
    """Returns 64 bits for a whole number or a text, None for anything else."""
    if isinstance(value, str):
        digest = hashlib.blake2b(value.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little", signed=True)
    is_number = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return int(value) if is_number and -(2**63) <= value < 2**63 else None
