"""An engine without a model: generation is a wait in virtual time, filtering a throw of dice.

It requests, returns and reports groups as slime does. How long a group takes and whether it is
dropped depend only on the seed and the group's id, so they are the same under every setting.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

from curriculum_learning.commands.learner import Learner
from curriculum_learning.config.plan import ALL_SAMPLES_FUNCTION
from curriculum_learning.custom_log import custom_rollout_log_function, process_all_samples
from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.samples.sample import Group, flatten
from curriculum_learning.samples.tags import ROW_KEY, SOURCE_KEY


@dataclasses.dataclass(frozen=True)
class EngineSettings:
    """How an engine generates.

    Raises:
        ConfigurationError: A value is out of range.
    """

    batch: int
    """Groups of a rollout."""
    request: int | None
    """Groups of a request; if fully asynchronous, in generation at any time. None: a batch."""
    latency: Mapping[str, float]
    """Mean time to generate a group of each source, in any unit."""
    spread: float
    """Standard deviation of the logarithm of that time, 0 to 5."""
    drop: Mapping[str, float]
    """Part of each source's finished groups that the filter refuses, 0 to below 1."""
    reward: Mapping[str, float]
    """Part of each source's samples that have reward 1, 0 to 1; the others have 0."""
    fully_async: bool = False
    """Groups are generated across rollouts."""
    partial: bool = False
    """Groups unfinished at the end of a rollout are returned, not discarded."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        checks = [
            ("over_sampling_batch_size", self.request, (self.request or self.batch) >= self.batch,
             f"must be at least the batch of {self.batch}"),
            ("--spread", self.spread, 0 <= self.spread <= 5, "must be 0 to 5"),
            *(("--latency", {n: t}, t > 0, "must be above 0") for n, t in self.latency.items()),
            *(("--drop", {n: d}, d < 1, "must be below 1: a source of which nothing is ever "
               "trained would stop the run") for n, d in self.drop.items()),
            *(("--reward", {n: r}, r <= 1, "must be 0 to 1") for n, r in self.reward.items()),
        ]  # fmt: skip
        for key, value, fine, problem in checks:
            if not fine:
                raise ConfigurationError(f"{key} ({value!r}) {problem}", key=key, value=value)


class SimulatedEngine:
    """Runs rollouts, and counts what happens to groups.

    Args:
        source: Serves the groups.
        args: The object that the source was made from.
        settings: How the engine generates.
        refused: Receives the ids of the groups that the filter refuses.
        learner: Answers and learns; without one rewards are thrown by dice.
    """

    def __init__(
        self,
        source: MultipleWeightedRolloutDataSourceWithBuffer,
        args: Mapping[str, Any],
        settings: EngineSettings,
        refused: set[int],
        learner: Learner | None = None,
    ) -> None:
        self.now = 0.0
        """Virtual time."""
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in settings.latency}
        """Groups of each source: served, trained, dropped, returned, discarded."""
        self.trained: dict[str, list[int]] = {name: [] for name in settings.latency}
        """Groups of each source, rollout by rollout."""
        self.ages: dict[str, list[int]] = {name: [] for name in settings.latency}
        """Rollouts since the first token of each trained group."""
        self._source, self._args, self._settings = source, args, settings
        self.finished: dict[str, Counter[str]] = {name: Counter() for name in settings.latency}
        """Finished groups of each source in the latest rollout: all, and those without signal."""
        self._refused, self._learner = refused, learner
        self._running: list[tuple[float, int, Group]] = []
        """Groups in generation: when they finish, id, group."""
        self._left: dict[int, float] = {}
        """Time that returned groups still need, by id."""
        self._first: dict[int, int] = {}
        """The rollout in which a group got its first token, by id."""

    def rollout(self, rollout_id: int) -> None:
        """Generates and reports one rollout."""
        source, settings = self._source, self._settings
        if not source.config.accounting:
            source.set_rollout_step(rollout_id)  # slime's own rollout id would do that
        trained: list[Group] = []
        finished: list[Group] = []
        for counts in self.finished.values():
            counts.clear()
        request = settings.request or settings.batch
        while len(trained) < settings.batch:
            if settings.fully_async:
                while len(self._running) < request:
                    self._serve(1, rollout_id)
            else:
                while len(self._running) + len(trained) < settings.batch:
                    self._serve(request, rollout_id)
            self.now, group_index, group = heapq.heappop(self._running)
            finished.append(group)
            fate = "trained" if self._finish(group_index, group) else "dropped"
            self.counts[_name(group)][fate] += 1
            first = self._first.pop(group_index)
            if fate == "trained":
                trained.append(group)
                self.ages[_name(group)].append(rollout_id - first)
        names = Counter(map(_name, trained))
        for name, by_rollout in self.trained.items():
            by_rollout.append(names[name])
        if self._learner is not None:
            self._learner.train([(_name(g), [s.reward for s in flatten(g)]) for g in trained])
        if not settings.fully_async:
            self._stop()
            if self._args.get("rollout_all_samples_process_path") == ALL_SAMPLES_FUNCTION:
                process_all_samples(self._args, finished, source)
        if source.config.accounting:
            custom_rollout_log_function(rollout_id, self._args, trained, {}, self.now)

    def _serve(self, count: int, rollout_id: int) -> None:
        for group in self._source.get_samples(count):
            name, group_index = _name(group), group[0].group_index
            self.counts[name]["served"] += 1
            self._first.setdefault(group_index, rollout_id)
            left = self._left.pop(group_index, None)
            if left is None:
                left = self._latency(name, group_index)
            heapq.heappush(self._running, (self.now + left, group_index, group))

    def _latency(self, name: str, group_index: int) -> float:
        spread = self._settings.spread
        normal = random.Random(f"{self._settings.seed} latency {group_index}").gauss(0, 1)
        return self._settings.latency[name] * math.exp(spread * normal - spread**2 / 2)

    def _finish(self, group_index: int, group: Group) -> bool:
        """Scores a group; returns whether the filter keeps it."""
        settings, name, learner = self._settings, _name(group), self._learner
        row = group[0].metadata[ROW_KEY]
        rate = settings.reward[name] if learner is None else learner.pass_rate(name, row)
        dice = random.Random(f"{settings.seed} score {group_index}")
        kept = dice.random() >= settings.drop[name]
        if not kept:
            self._refused.add(group_index)
        for sample in flatten(group):
            sample.reward = float(dice.random() < rate)
            sample.status = type(sample).Status.COMPLETED
        self.finished[name]["all"] += 1
        self.finished[name]["no signal"] += len({sample.reward for sample in flatten(group)}) == 1
        return kept

    def _stop(self) -> None:
        """Ends a synchronous rollout: returns or discards the unfinished groups."""
        running, self._running = sorted(self._running, key=lambda entry: entry[1]), []
        fate = "returned" if self._settings.partial else "discarded"
        for finish, group_index, group in running:
            self.counts[_name(group)][fate] += 1
            if not self._settings.partial:
                del self._first[group_index]  # generated again from the first token, if at all
                continue
            self._left[group_index] = finish - self.now
            for sample in flatten(group):
                sample.status = type(sample).Status.ABORTED
        if self._settings.partial:
            self._source.add_samples([group for _, _, group in running])


def _name(group: Group) -> str:
    return str(group[0].metadata[SOURCE_KEY])
