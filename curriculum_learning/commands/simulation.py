"""A simulation: rollouts of the real data source in a simulated engine, and what came of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.commands.learner import MASTERED, Learner, LearnerSettings
from curriculum_learning.commands.plan import WRITES_NOTHING
from curriculum_learning.commands.simulated_engine import EngineSettings, SimulatedEngine
from curriculum_learning.commands.terminal import progress
from curriculum_learning.config.data_source import HOOKS
from curriculum_learning.config.plan import LOG_FUNCTION, DataSourcePlan
from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer
from curriculum_learning.errors import ConfigurationError, DataError
from curriculum_learning.prompts.columns import SCORE_COLUMN
from curriculum_learning.prompts.prompts import open_prompts

_NOTEWORTHY = 0.02
"""Differences of shares below this are not told."""


@dataclasses.dataclass
class Learned:
    """What the learner did with one source."""

    pass_rates: list[float] = dataclasses.field(default_factory=list)
    """Mean over the rows that were not mastered at the start, after each rollout."""
    rewards: list[float | None] = dataclasses.field(default_factory=list)
    """Mean reward of a rollout's finished groups; None without groups."""
    no_signal: list[float | None] = dataclasses.field(default_factory=list)
    """Share of a rollout's finished groups whose rewards are all equal; None without groups."""
    no_signal_share: float = 0.0
    """The same, of all finished groups."""
    mastered_after: int | None = None
    """Rollouts until the pass rate was .9; None if it never was."""


@dataclasses.dataclass
class SourceResult:
    """What one source did."""

    name: str
    share: float
    """Mean over the rollouts, 0 to 1."""
    drawn: int
    """Groups served for the first time."""
    drawn_share: float
    trained: int
    trained_share: float
    served: int
    """Groups served, those served again included."""
    dropped: int
    returned: int
    discarded: int
    mean_age: float
    """Rollouts from the first token of a trained group to its training."""
    max_age: int
    mean_buffer: float
    """Groups waiting at the end of a rollout."""
    max_buffer: int
    epoch: int
    """Completed epochs."""
    trained_by_rollout: list[int]
    """Groups."""
    share_by_rollout: list[float]
    """Shares in force."""
    open_by_rollout: list[float]
    """Open part of the rows, 0 to 1."""
    learned: Learned | None = None


@dataclasses.dataclass
class Result:
    """What all sources did."""

    rollouts: int
    time: float
    """Virtual time, in the unit of the latencies."""
    groups_per_time: float
    """Trained groups."""
    sources: list[SourceResult]
    notes: list[str]
    """Where the trained mixture differs from the shares."""
    groups_to_mastery: int | None = None
    """Trained groups until every source that can be learned was mastered at once."""
    no_signal_share: float | None = None
    """Share of all finished groups whose rewards are all equal; None without a learner."""


def simulate(
    values: Mapping[str, Any],
    engine: EngineSettings,
    rollouts: int,
    learner: LearnerSettings | None = None,
    *,
    until_mastered: bool = False,
) -> Result:
    """Runs the real data source against a simulated engine; writes nothing.

    Args:
        values: The data source's arguments.
        engine: How the engine generates.
        rollouts: Number of rollouts.
        learner: Answers, and learns from what is trained; None throws dice for the rewards.
        until_mastered: End earlier when all that can be learned is mastered.

    Raises:
        CurriculumLearningError: As the data source does.
    """
    refused: set[int] = set()
    args = {
        **values,
        **WRITES_NOTHING,
        # Its own filter would judge what only a model can give.
        "dynamic_sampling_filter_path": lambda args, samples: samples[0].group_index not in refused,
        "data_source_metrics_callback": lambda metrics, rollout_id: None,
    }
    source = MultipleWeightedRolloutDataSourceWithBuffer(args)
    try:
        student = None if learner is None else _learner(learner, source.config, engine.seed)
        runner = SimulatedEngine(source, args, engine, refused, student)
        history = _History(source, runner, student)
        for rollout_id in progress(range(rollouts), "simulating"):
            history.before()
            runner.rollout(rollout_id)
            history.after()
            if until_mastered and history.mastered_after is not None:
                break
        return history.result(values, engine)
    finally:
        source.close()


def _learner(settings: LearnerSettings, config: DataSourcePlan, seed: int) -> Learner:
    if config.n_samples_per_prompt < 2:
        raise ConfigurationError(
            "a learner learns from groups whose rewards differ, and n_samples_per_prompt is 1; set "
            "it to 2 or more",
            key="n_samples_per_prompt",
            value=config.n_samples_per_prompt,
        )
    scores: dict[str, NDArray[np.float64] | int] = {}
    for name, prompts in open_prompts(config).items():
        recipe = prompts.config.curriculum
        try:
            scores[name] = prompts.scores(SCORE_COLUMN if recipe is None else recipe.complexity_key)
        except DataError:  # no scores: no order that anybody could know
            scores[name] = len(prompts)
        prompts.close()
    return Learner(settings, scores, seed)


class _History:
    """Collects what happens rollout by rollout."""

    def __init__(
        self,
        source: MultipleWeightedRolloutDataSourceWithBuffer,
        runner: SimulatedEngine,
        learner: Learner | None,
    ) -> None:
        self.mastered_after: int | None = None
        """Rollouts until all that can be learned was mastered."""
        self._source, self._runner, self._learner = source, runner, learner
        names = list(runner.counts)
        self._shares: dict[str, list[float]] = {name: [] for name in names}
        self._open: dict[str, list[float]] = {name: [] for name in names}
        self._buffers: dict[str, list[int]] = {name: [] for name in names}
        self._learned = {name: Learned() for name in names}
        self._finished = {name: [0, 0] for name in names}
        """Finished groups of each source, and those without signal."""
        self._rollouts = 0

    def before(self) -> None:
        """A rollout begins."""
        for name, status in self._source.source_status().items():
            self._shares[name].append(status["weight"])
            self._open[name].append(status.get("open_share", 1.0))

    def after(self) -> None:
        """A rollout has ended."""
        self._rollouts += 1
        for name, status in self._source.source_status().items():
            self._buffers[name].append(int(status["buffer_length"]))
        if self._learner is None:
            return
        rates = self._learner.accuracies()
        for name, rate in rates.items():
            learned, groups = self._learned[name], self._runner.finished[name]
            learned.pass_rates.append(rate)
            every, dull = len(groups), sum(not has_signal for _, has_signal in groups)
            learned.rewards.append(fmean(mean for mean, _ in groups) if groups else None)
            learned.no_signal.append(dull / every if every else None)
            self._finished[name][0] += every
            self._finished[name][1] += dull
            if rate >= MASTERED and learned.mastered_after is None:
                learned.mastered_after = self._rollouts
        learnable = self._learner.learnable
        if self.mastered_after is None and all(rates[name] >= MASTERED for name in learnable):
            self.mastered_after = self._rollouts

    def result(self, values: Mapping[str, Any], engine: EngineSettings) -> Result:
        """Sums it all up."""
        runner, trained = self._runner, self._rollouts * engine.batch
        mixture = self._source.dataset
        assert mixture is not None
        drawn = dict(zip(mixture.names, mixture.drawn, strict=True))
        epochs = {name: int(s["epoch"]) for name, s in self._source.source_status().items()}
        sources = [
            SourceResult(
                name=name,
                share=fmean(self._shares[name]),
                drawn=drawn[name],
                drawn_share=drawn[name] / sum(drawn.values()),
                trained=counts["trained"],
                trained_share=counts["trained"] / trained,
                served=counts["served"],
                dropped=counts["dropped"],
                returned=counts["returned"],
                discarded=counts["discarded"],
                mean_age=fmean(runner.ages[name] or [0]),
                max_age=max(runner.ages[name], default=0),
                mean_buffer=fmean(self._buffers[name]),
                max_buffer=max(self._buffers[name]),
                epoch=epochs[name],
                trained_by_rollout=runner.trained[name],
                share_by_rollout=self._shares[name],
                open_by_rollout=self._open[name],
                learned=None if self._learner is None else self._learned_of(name),
            )
            for name, counts in runner.counts.items()
        ]
        notes = _departures(sources, trained, values)
        if values.get("dynamic_sampling_filter_path") is not None:
            notes.append(
                "dynamic_sampling_filter_path is not asked, as it judges what only a model can "
                "give: --drop stands in for it"
            )
        speed = trained / runner.now if runner.now else math.inf
        result = Result(self._rollouts, runner.now, speed, sources, notes)
        if self._learner is not None:
            every, dull = (sum(column) for column in zip(*self._finished.values(), strict=True))
            result.no_signal_share = dull / every
            if self.mastered_after is not None:
                result.groups_to_mastery = self.mastered_after * engine.batch
            if not self._source.config.accounting:
                notes.append(
                    f"nothing reports rewards, so no curriculum learns:\n{HOOKS[0]}: {LOG_FUNCTION}"
                )
        return result

    def _learned_of(self, name: str) -> Learned:
        every, dull = self._finished[name]
        return dataclasses.replace(self._learned[name], no_signal_share=dull / max(every, 1))


def _departures(
    sources: Sequence[SourceResult], trained: int, values: Mapping[str, Any]
) -> list[str]:
    """Returns a warning if what was trained has other shares than configured, and the remedy."""
    texts = []
    for source in sources:
        noise = 3 * math.sqrt(source.share * (1 - source.share) / trained)
        if abs(source.trained_share - source.share) > max(noise, _NOTEWORTHY):
            losses = {"dropped": source.dropped, "discarded": source.discarded}
            lost = ", ".join(f"{count} {fate}" for fate, count in losses.items() if count)
            share = f"'{source.name}' {source.trained_share:.3f} instead of {source.share:.3f}"
            texts.append(share + (f" ({lost})" if lost else ""))
    if not texts:
        return []
    warning = f"trained shares depart from the weights: {'; '.join(texts)}"
    if any(source.dropped for source in sources) and values.get("mixture_target") != "trained":
        warning += "\nmixture_target: trained"
    elif any(source.discarded for source in sources) and not values.get("partial_rollout"):
        warning += "\npartial_rollout: true"
    return [warning]
