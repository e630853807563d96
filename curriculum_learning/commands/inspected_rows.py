"""What a saved state knows of the rows of a source: how often they were tried, and how well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from curriculum_learning.commands.terminal import show, show_table
from curriculum_learning.curricula.statistics import RowStatistics

_BINS = 10
_LISTED = 5


def statistics_of(saved: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Summarises the statistics of a source; None if it has none.

    Returns:
        The figures of ``RowStatistics.metrics``; ``histogram``: rows with a result by their
        estimated pass rate, in ten equal bins; ``hardest`` and ``easiest``: five rows each, with
        ``row``, ``pass_rate``, ``results`` and ``last_step``.

    Raises:
        KeyError, TypeError, ValueError: ``saved`` is no state of statistics.
    """
    if saved is None:
        return None
    statistics = RowStatistics(len(saved["counts"]) // np.dtype(np.uint32).itemsize)
    statistics.load_state_dict(saved)
    seen = np.flatnonzero(statistics.counts)
    means = statistics.means[seen]
    order = seen[np.lexsort((seen, means))].tolist()
    return {
        **statistics.metrics(),
        "histogram": np.histogram(means, bins=_BINS, range=(0, 1))[0].tolist(),
        "hardest": [_row(statistics, row) for row in order[:_LISTED]],
        "easiest": [_row(statistics, row) for row in order[: -_LISTED - 1 : -1]],
    }


def _row(statistics: RowStatistics, row: int) -> dict[str, float]:
    return {
        "row": row,
        "pass_rate": float(statistics.means[row]),
        "results": int(statistics.counts[row]),
        "last_step": int(statistics.last_steps[row]),
    }


def show_rows(sources: Mapping[str, Mapping[str, Any]]) -> None:
    """Shows the statistics of all sources that have results by row."""
    known = {name: source["statistics"] for name, source in sources.items()}
    known = {name: found for name, found in known.items() if found and found["hardest"]}
    if not known:
        return
    show("rows by their estimated pass rate:")
    bins = [f"to {(number + 1) / _BINS:g}" for number in range(_BINS)]
    rows = [
        [name, str(found["rows/unseen"]), *map(str, found["histogram"])]
        for name, found in known.items()
    ]
    show_table(["source", "unseen", *bins], rows)
    for which in ("hardest", "easiest"):
        for name, found in known.items():
            listed = [f"{r['row']} ({r['pass_rate']:.2f} in {r['results']})" for r in found[which]]
            show(f"{which} rows of {name}, with pass rate and results: {', '.join(listed)}")
