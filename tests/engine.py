"""A small engine that treats its data source as slime does.

It passes the bound method ``get_samples``, cuts off late groups, discards finished ones without
room, filters, changes samples in place and gives unfinished groups back. The fully asynchronous one
does this on a worker thread that swallows errors.
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading
from collections.abc import Callable
from typing import Any

from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.custom_log import (
    custom_rollout_log_function,
    process_all_samples,
)
from tests.harness import Group, interrupt, name_of

Served = Callable[[Group], None]


class SynchronousEngine:
    """Asks for groups until enough have finished, and gives the others back unfinished."""

    def __init__(
        self,
        source: DataSource,
        args: Any,
        *,
        batch: int,
        request: int,
        seed: int,
        drop: float = 0.0,
        lose: float = 0.0,
        on_served: Served = lambda group: None,
    ) -> None:
        self.source, self.args = source, args
        self.batch, self.request, self.drop, self.lose = batch, request, drop, lose
        self.random = random.Random(seed)
        self.dropped: list[Group] = []
        self.on_served = on_served

    def rollout(self, rollout_id: int) -> list[Group]:
        """Generates, gives back and logs one rollout; returns the trained groups."""
        get_samples = self.source.get_samples
        trained: list[Group] = []
        pending: list[Group] = []
        everything: list[Group] = []
        while len(trained) < self.batch:
            while len(pending) < self.batch - len(trained):
                for group in get_samples(self.request):
                    self.on_served(group)
                    pending.append(group)
            if self.lose and self.random.random() < self.lose:
                pending.pop()  # its task has crashed
                continue
            # Early groups of a request are likelier to finish early.
            group = pending.pop(min(int(self.random.expovariate(0.2)), len(pending) - 1))
            everything.append(finish(group, self.random))
            if keeps(self.args, group, below=self.drop):
                trained.append(group)
            else:
                self.dropped.append(group)
        # One more is finished but finds no room: it is discarded without a report.
        if len(pending) > 4:
            late = finish(pending.pop(), self.random)
            everything.append(late)
            if not keeps(self.args, late, below=self.drop):
                self.dropped.append(late)
        if getattr(self.args, "rollout_all_samples_process_path", None):
            process_all_samples(self.args, everything, get_samples)
        if getattr(self.args, "partial_rollout", True):
            for group in pending:
                interrupt(group, self.random.randrange(1, 4))
            self.source.add_samples(pending)
        samples = [sample for group in trained for sample in group]
        custom_rollout_log_function(rollout_id, self.args, samples, {}, 1.0)
        return trained


class FullyAsynchronousEngine:
    """Generates on a worker thread, across rollouts; the thread swallows errors."""

    def __init__(
        self,
        source: DataSource,
        args: Any,
        *,
        concurrency: int,
        seed: int,
        drop: float = 0.0,
        reports_drops: bool = True,
    ) -> None:
        self.source, self.args, self.concurrency = source, args, concurrency
        self.drop, self.reports_drops = drop, reports_drops
        self.random = random.Random(seed)
        self.finished: queue.Queue[Group] = queue.Queue()
        self.served: list[Group] = []
        self.dropped: list[Group] = []
        self._stop = threading.Event()
        self._worker = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> FullyAsynchronousEngine:
        self._worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._worker.join()

    def rollout(self, rollout_id: int, batch: int) -> list[Group]:
        """Waits for ``batch`` finished groups and logs them."""
        trained: list[Group] = []
        while len(trained) < batch:
            group = self.finished.get(timeout=30)
            if keeps(self.args, group, below=self.drop):
                trained.append(group)
                continue
            self.dropped.append(group)
            if self.reports_drops:
                self.source.observe(group, fate="dropped")
        samples = [sample for group in trained for sample in group]
        custom_rollout_log_function(rollout_id, self.args, samples, {}, 1.0)
        return trained

    def _work(self) -> None:
        active: list[Group] = []
        while not self._stop.is_set():
            with contextlib.suppress(Exception):
                while len(active) < self.concurrency and self.finished.qsize() < self.concurrency:
                    groups = self.source.get_samples(1)
                    self.served += groups
                    active += groups
                if not active:
                    self._stop.wait(0.001)
                    continue
                group = active.pop(self.random.randrange(len(active)))
                if self.random.random() < 0.2:
                    self.source.add_samples([interrupt(group)])
                else:
                    self.finished.put(finish(group, self.random))


def keeps(args: Any, samples: Group, below: float | None = None) -> bool:
    """A dynamic filter: drops groups whose first reward is low; slime finds it by its path.

    With ``args.drops`` each source has a bound of its own.
    """
    if hasattr(args, "drops"):
        below = args.drops.get(name_of(samples), 0)
    return bool(samples[0].reward >= (args.drop if below is None else below))


def finish(group: Group, randomness: random.Random) -> Group:
    """Generates and scores a group, in place; a finished one stays unchanged."""
    for sample in group:
        if sample.status is type(sample).Status.COMPLETED:
            continue
        sample.response += "done"
        sample.response_length += 4
        sample.status = type(sample).Status.COMPLETED
        sample.reward = randomness.random()
    return group
