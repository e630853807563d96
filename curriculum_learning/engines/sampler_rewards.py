"""The rewards that a sampler is told: read from verl's batches, averaged by source."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.errors import DataError

logger = logging.getLogger("curriculum_learning.samplers")


def rewards_of_batch(batch: Any, sampler: str) -> tuple[Sequence[str], NDArray[np.float64]]:
    """Returns the source and the reward of each row of a batch of verl's; see ``update``.

    Raises:
        DataError: It lacks sources or scores; the message names the sampler.
    """
    try:
        scores = batch.batch["token_level_scores"]
        sources = batch.non_tensor_batch["data_source"]
    except (KeyError, AttributeError) as error:
        raise DataError(
            f"[{sampler}] update needs batch['token_level_scores'] and "
            f"non_tensor_batch['data_source']; missing: {error}",
            key="batch",
            value=type(batch).__name__,
        ) from error
    if getattr(scores, "is_nested", False):  # rows of different lengths
        return sources, np.array([_as_array(row).sum() for row in scores.unbind()])
    return sources, _as_array(scores).sum(axis=-1)


def means_by_source(
    sources: Sequence[str], rewards: Any, known: Iterable[str], sampler: str
) -> dict[str, float]:
    """Returns the mean reward of each source; skips rewards that are no finite numbers.

    Args:
        sources: The source of each row.
        rewards: The reward of each row: numbers, an array or a tensor of shape (rows,).
        known: The sources of the data.
        sampler: The name of the sampler, for messages.

    Raises:
        DataError: There are not as many rewards as rows, or a source is not known.
    """
    known, values = list(known), _as_array(rewards)
    names = np.empty(len(sources), dtype=object)
    names[:] = list(sources)
    if values.shape != names.shape or values.ndim != 1:
        raise DataError(
            f"[{sampler}] observe got {names.shape} sources and {values.shape} rewards; "
            f"one reward per row is needed",
            key="rewards",
            value=values.shape,
        )
    unknown = sorted(map(repr, set(names.tolist()) - set(known)))
    if unknown:
        raise DataError(
            f"[{sampler}] observe got rewards of {unknown}; the sources are {known}",
            source=unknown[0],
            key="data_source",
            value=unknown,
        )
    finite = np.isfinite(values)
    if not finite.all():
        logger.warning(
            "[%s] %d of %d rewards are no finite numbers and are skipped",
            sampler, len(values) - int(finite.sum()), len(values),
        )  # fmt: skip
    by_source = {name: values[finite & (names == name)] for name in known}
    # An exact sum: trainers report the same rows in any order.
    return {
        name: math.fsum((own / len(own)).tolist()) for name, own in by_source.items() if len(own)
    }


def _as_array(values: Any) -> NDArray[np.float64]:
    if hasattr(values, "detach"):  # a tensor of any type, on any device
        values = values.detach().float().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
