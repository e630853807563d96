"""The results that a sampler is told: read from verl's batches, or given row by row."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.curricula.base import SourceRule
from curriculum_learning.curricula.results import Result
from curriculum_learning.engines import sampler_lines as lines
from curriculum_learning.engines.sampler_sources import RowIndex, RowsBySource
from curriculum_learning.errors import DataError

logger = logging.getLogger("curriculum_learning.samplers")


class Report(NamedTuple):
    """What a trainer reports of the samples of an update; each has shape (samples,)."""

    sources: Sequence[str]
    rewards: Any
    rows: Sequence[int | None] | None
    """The row of each sample in the data set; None where it is not known."""
    groups: Sequence[Any] | None
    """Tells the samples of one prompt from those of others; None: the rows do."""


def report_of_batch(batch: Any, index: RowIndex, sampler: str) -> Report:
    """Reads a ``DataProto``, verl's, or its like.

    Args:
        batch: Has ``batch["token_level_scores"]`` of shape (samples, tokens), summed per sample,
            ``non_tensor_batch["data_source"]`` of shape (samples,), and perhaps ``"uid"``, the
            prompt of a sample, and ``"extra_info"``, whose ``index`` tells the row.
        index: Finds rows by their index.
        sampler: The name of the sampler, for messages.

    Raises:
        DataError: It lacks scores or sources.
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
        rewards = np.array([_as_array(row).sum() for row in scores.unbind()])
    else:
        rewards = _as_array(scores).sum(axis=-1)
    infos = batch.non_tensor_batch.get("extra_info")
    rows = None
    if infos is not None:
        values = [info.get("index") if hasattr(info, "get") else None for info in infos]
        rows = index.find(sources, values)
    return Report(sources, rewards, rows, batch.non_tensor_batch.get("uid"))


def results_of(report: Report, known: RowsBySource, step: int, sampler: str) -> list[Result]:
    """Returns the results of an update; it skips and counts rewards that are not finite numbers.

    Args:
        report: What the trainer reports.
        known: The rows of each source in the data set, ascending.
        step: The training step.
        sampler: The name of the sampler, for messages.

    Returns:
        One result for each prompt; one for each source if prompts are not told apart.

    Raises:
        DataError: There are not as many rewards as sources, or a source or row is not known.
    """
    values = _as_array(report.rewards)
    names = np.empty(len(report.sources), dtype=object)
    names[:] = list(report.sources)
    if values.shape != names.shape or values.ndim != 1:
        raise DataError(
            f"[{sampler}] observe got {names.shape} sources and {values.shape} rewards; "
            f"one reward per row is needed",
            key="rewards",
            value=values.shape,
        )
    for what, given in (("rows", report.rows), ("groups", report.groups)):
        if given is not None and len(given) != len(values):
            raise DataError(
                f"[{sampler}] observe got {len(values)} rewards and {len(given)} {what}; one per "
                f"reward is needed",
                key=what,
                value=len(given),
            )
    unknown = sorted(map(repr, set(names.tolist()) - set(known)))
    if unknown:
        raise DataError(
            f"[{sampler}] observe got rewards of {unknown}; the sources are {list(known)}",
            source=unknown[0],
            key="data_source",
            value=unknown,
        )
    rows = _rows_in_sources(report.rows, names, known, sampler)
    finite = np.isfinite(values)
    if not finite.all():
        logger.warning(
            "[%s] %d of %d rewards are no finite numbers and are skipped",
            sampler, len(values) - int(finite.sum()), len(values),
        )  # fmt: skip
    results: dict[Any, Result] = {}
    groups = [None] * len(values) if report.groups is None else list(report.groups)
    for place in np.flatnonzero(finite).tolist():
        row = rows[place]
        key = names[place], row, groups[place]
        if key not in results:
            results[key] = Result(names[place], row, step, [])
        results[key].rewards.append(float(values[place]))
    return list(results.values())


def missing_in(
    report: Report,
    results: Sequence[Result],
    by_row: Sequence[str],
    rule: SourceRule | None,
    sampler: str,
) -> dict[str, str]:
    """Returns warnings of what curricula would need and a report does not tell, by what it is.

    Args:
        report: What the trainer reports.
        results: The results in it.
        by_row: The sources whose curricula learn from single rows.
        rule: The source rule.
        sampler: The name of the sampler.
    """
    unknown = {result.source for result in results if result.row is None}
    warnings = {}
    if missing := sorted(unknown & set(by_row)):
        warnings["rows"] = lines.unknown_rows(sampler, missing)
    if rule is not None and rule.needs_groups and report.groups is report.rows is None:
        warnings["groups"] = lines.unknown_groups(sampler, type(rule).__name__)
    return warnings


def _rows_in_sources(
    rows: Sequence[int | None] | None,
    names: NDArray[np.object_],
    known: RowsBySource,
    sampler: str,
) -> list[int | None]:
    """Returns the number of each row in its source, None where it is not known."""
    if rows is None:
        return [None] * len(names)
    found: list[int | None] = []
    for name, row in zip(names.tolist(), rows, strict=True):
        if row is None:
            found.append(None)
            continue
        place = int(np.searchsorted(known[name], row))
        if place == len(known[name]) or known[name][place] != row:
            raise DataError(
                f"[{sampler}] observe got row {row} of source '{name}', which has no such row",
                source=name,
                key="rows",
                value=row,
            )
        found.append(place)
    return found


def _as_array(values: Any) -> NDArray[np.float64]:
    if hasattr(values, "detach"):  # a tensor of any type, on any device
        values = values.detach().float().cpu().numpy()
    return np.asarray(values, dtype=np.float64)
