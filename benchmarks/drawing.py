"""What it costs to decide on the next row, from few sources and from many."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import Figure, Findings, quantity
from benchmarks.fresh import in_turns
from benchmarks.sources import ours
from curriculum_learning.mixing.mixture import Mixture
from curriculum_learning.mixing.source import Source
from curriculum_learning.weights.schedules import Constant

_SOURCES = (3, 30, 300, 1_000)
_ROWS = 100_000
_DRAWS = 20_000
_ROUNDS = 5
_GROUPS = 256
_SMALL_FILE = 100


def measure(folder: str) -> dict[str, Any]:
    """Figures of drawing and, with all that belongs to it, of serving."""
    return Findings([*_measure_draws(), *_measure_serving(Path(folder))]).as_data()


def _measure_draws() -> list[Figure]:
    mixtures = {count: _mixture(count) for count in _SOURCES}
    runs = in_turns(
        _ROUNDS,
        {str(count): _drawing(mixture) for count, mixture in mixtures.items()},
    )
    return [
        Figure(
            f"a draw, {count:,} sources",
            median(runs[str(count)]) / _DRAWS * 1e6,
            "us",
            at_most=20 if count == _SOURCES[-1] else None,
            runs={"ours": runs[str(count)]},
        )
        for count in _SOURCES
    ]


def _mixture(count: int) -> Mixture:
    names = [f"source {number}" for number in range(count)]
    mixture = Mixture(
        [Source(name, _ROWS, seed=42, shuffle=True) for name in names],
        {name: Constant(1.0 + number % 7) for number, name in enumerate(names)},
    )
    for _ in range(10 * count):  # every source has its order at hand
        mixture.draw(0)
    return mixture


def _drawing(mixture: Mixture) -> Callable[[], None]:
    def draw() -> None:
        for _ in range(_DRAWS):
            mixture.draw(0)

    return draw


def _measure_serving(folder: Path) -> list[Figure]:
    """What a group costs in all; small files, one sample a group."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        few, many = (
            ours(
                _small_files(Path(name) / str(count), count),
                data_source_weights=[1.0 + number % 7 for number in range(count)],
                n_samples_per_prompt=1,
            )
            for count in (_SOURCES[0], _SOURCES[-1])
        )
        runs = in_turns(
            _ROUNDS,
            {
                "few": lambda: few.get_samples(_GROUPS),
                "many": lambda: many.get_samples(_GROUPS),
                "many, one by one": lambda: [many.get_samples(1) for _ in range(_GROUPS)],
            },
        )
        few.close()
        many.close()
    costs = {name: median(seconds) / _GROUPS * 1e6 for name, seconds in runs.items()}
    return [
        Figure(
            f"serve a group of 1 sample, {_SOURCES[-1]:,} sources",
            costs["many"],
            "us",
            detail=f"requests of {_GROUPS}; with {_SOURCES[0]} sources "
            f"{quantity(costs['few'], 'us')}; one by one "
            f"{quantity(costs['many, one by one'], 'us')}",
            runs=runs,
        )
    ]


def _small_files(folder: Path, count: int) -> list[str]:
    folder.mkdir()
    paths = [folder / f"source_{number}.jsonl" for number in range(count)]
    rows = "".join(f'{{"input": "row {row}", "label": "{row}"}}\n' for row in range(_SMALL_FILE))
    for path in paths:
        path.write_text(rows)
    return [str(path) for path in paths]
