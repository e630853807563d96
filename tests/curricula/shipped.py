"""What the tests of row curricula and source rules share: the shipped classes and results."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from curriculum_learning.curricula import rows as row_package
from curriculum_learning.curricula import rules as rule_package
from curriculum_learning.curricula.base import RowCurriculum, SourceRows, SourceRule
from curriculum_learning.curricula.results import Result
from curriculum_learning.curricula.rows.reward import RewardCurriculum
from curriculum_learning.curricula.rows.time import TimeCurriculum
from curriculum_learning.curricula.statistics import RowStatistics


def modules_of(package: ModuleType) -> list[ModuleType]:
    """The modules of a package, by name."""
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return [importlib.import_module(f"{package.__name__}.{name}") for name in sorted(names)]


def classes_of(package: ModuleType, base: type) -> dict[str, Any]:
    """The one class that each module of a package defines, by the name of the module."""
    found = {}
    for module in modules_of(package):
        (found[module.__name__.rpartition(".")[2]],) = (
            value
            for value in vars(module).values()
            if inspect.isclass(value) and issubclass(value, base)
            if value.__module__ == module.__name__
        )
    return found


CURRICULA: dict[str, type[RowCurriculum]] = classes_of(row_package, RowCurriculum)
RULES: dict[str, type[SourceRule]] = classes_of(rule_package, SourceRule)
REQUIRED: dict[str, dict[str, Any]] = {
    "reward": {"reward_threshold": 0.5},
    "pass_rate_gaussian": {"steps": 20},
    "easy_to_hard": {"steps": 20},
    "unimax": {"budget": 500},
}
"""The settings that have no default."""
CLOSING = ("time", "reward")
"""The curricula that close rows, the hardest ones."""


class Run:
    """A row curriculum and the statistics of its source, fed and saved as the source does it."""

    def __init__(
        self,
        curriculum: str | type[RowCurriculum],
        size: int,
        *,
        scores: Sequence[float] | None = None,
        priors: Sequence[float] | None = None,
        seed: int = 1,
        source: str = "math",
        **settings: Any,
    ) -> None:
        kind: Any = curriculum
        if isinstance(curriculum, str):
            kind, settings = CURRICULA[curriculum], {**REQUIRED.get(curriculum, {}), **settings}
        priors_array = None if priors is None else np.array(priors, dtype=np.float64)
        self.statistics = RowStatistics(size, priors=priors_array)
        complexity = np.arange(size, dtype=np.float64) if scores is None else np.array(scores)
        rows = SourceRows(source, size, seed, complexity, self.statistics)
        self.curriculum: RowCurriculum = kind(rows, **settings)

    def observe(self, groups: Iterable[tuple[int | None, list[float]]], step: int = 0) -> None:
        """The finished groups of an update, as pairs of row and rewards."""
        results = [Result("math", row, step, rewards) for row, rewards in groups]
        self.statistics.observe(results)
        self.curriculum.observe(results)

    def weights(self, step: int = 0) -> list[float]:
        """The weights as a list."""
        return [float(weight) for weight in self.curriculum.weights(step)]

    def state_dict(self) -> dict[str, Any]:
        """Everything that observe has changed."""
        return {
            "statistics": self.statistics.state_dict(),
            "curriculum": self.curriculum.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The statistics first, as the source does it."""
        self.statistics.load_state_dict(state["statistics"])
        self.curriculum.load_state_dict(state["curriculum"])


def scores_of(size: int) -> NDArray[np.float64]:
    """Complexity scores, always the same for a size."""
    return np.random.default_rng(3).random(size)


def rows_of(scores: NDArray[np.float64], seed: int = 1) -> SourceRows:
    """The rows of a source with these scores."""
    return SourceRows("s", len(scores), seed, scores, RowStatistics(len(scores)))


def reward_curriculum(size: int, seed: int = 1, **changes: Any) -> RewardCurriculum:
    """A curriculum from 20 % to 100 % in 4 intervals, checked at every update."""
    values: dict[str, Any] = {
        "initial_complexity_percentile": 20, "num_intervals": 4, "reward_threshold": 0.5,
        "reward_alpha": 1.0, "min_batches_per_level": 0, "check_frequency": 1,
    }  # fmt: skip
    return RewardCurriculum(rows_of(scores_of(size), seed), **{**values, **changes})


def time_curriculum(
    scores: NDArray[np.float64], initial: float, final: float, steps: int, seed: int = 1
) -> TimeCurriculum:
    """A curriculum from one percentile to another in so many steps."""
    return TimeCurriculum(
        rows_of(scores, seed),
        initial_complexity_percentile=initial,
        final_complexity_percentile=final,
        complexity_warmup_steps=steps,
    )


def mean(reward: float | None) -> list[Result]:
    """An update whose samples have this mean reward; None is one without a sample."""
    return [] if reward is None else [Result("s", None, 0, [reward])]


def by_source(groups: Mapping[str, Sequence[list[float]]], step: int = 0) -> dict[str, Any]:
    """Results by source from the rewards of groups."""
    return {
        name: [Result(name, None, step, rewards) for rewards in groups_of_source]
        for name, groups_of_source in groups.items()
    }


rewards = st.one_of(
    st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=8),
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8),
)
"""The rewards of a group: right and wrong answers, or any numbers."""
