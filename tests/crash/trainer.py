"""A training run that can be killed: its model is the list of what it was trained on."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from curriculum_learning import CheckpointError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.groups.served import listed
from tests.engine import FullyAsynchronousEngine, SynchronousEngine
from tests.harness import Group, arguments, row_of

MODES = ("synchronous", "one-step", "fully-asynchronous")
EPOCHS = 2
_ENOUGH = 6
"""In an epoch as late as this no row of the first ones can still be missing but by loss."""

Row = tuple[str, int, int]
"""Source, epoch and row."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What differs between runs."""

    mode: str
    sizes: dict[str, int]
    weights: list[float]
    batch: int
    request: int
    drop: float
    save_every: int
    partial: bool
    surplus: str
    reports_drops: bool
    """Of a fully asynchronous engine; in the others, hooks tell."""

    @staticmethod
    def draw(mode: str, randomness: random.Random) -> Settings:
        """Random settings."""
        names = ["math", "code", "chat"][: randomness.randrange(1, 4)]
        sizes = {name: randomness.randrange(9, 40) for name in names}
        return Settings(
            mode,
            sizes,
            # Epochs of about the same length, so that none has to be walked ten times.
            [sizes[name] * randomness.uniform(0.6, 1.4) for name in names],
            batch=randomness.randrange(1, 5),
            request=randomness.randrange(1, 9),
            drop=randomness.choice([0.0, 0.3]),
            save_every=randomness.choice([1, 1, 2, 3]),
            partial=randomness.random() < 0.6,
            surplus=randomness.choice(["keep", "again"]),
            reports_drops=randomness.random() < 0.5,
        )

    @property
    def drops_are_known(self) -> bool:
        """A dropped group is told to be, so that it is never served again."""
        return self.reports_drops or self.mode != "fully-asynchronous"

    def arguments(self, folder: Path) -> argparse.Namespace:
        """Of the data source, with the hooks that the mode has."""
        hooks = {"custom_rollout_log_function_path": _HOOK + "custom_rollout_log_function"}
        if self.mode != "fully-asynchronous":
            hooks["rollout_all_samples_process_path"] = _HOOK + "process_all_samples"
        return arguments(
            folder, self.sizes,
            data_source_weights=self.weights,
            dynamic_sampling_filter_path="tests.engine.keeps",
            drop=self.drop,
            partial_rollout=self.partial,
            surplus=self.surplus,
            **hooks,
        )  # fmt: skip


_HOOK = "curriculum_learning.custom_log."


@dataclasses.dataclass
class Model:
    """What has been trained on and dropped up to the end of a rollout."""

    rollout: int = -1
    fates: list[tuple[str, Row, int]] = dataclasses.field(default_factory=list)
    """trained or dropped, the row, and the group_index."""

    def learn(self, fate: str, groups: Iterable[Group]) -> None:
        """Groups have been trained on, or dropped."""
        self.fates += [(fate, row_of(group), group[0].group_index) for group in groups]

    def save(self, folder: Path, rollout_id: int) -> None:
        """Write the model as engines do, and keep the last two."""
        self.rollout = rollout_id
        temporary = folder / "model.tmp"
        with open(temporary, "w") as file:
            json.dump(dataclasses.asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, _path(folder, rollout_id))
        for old in sorted(folder.glob("model_*.json"), key=_number)[:-2]:
            old.unlink()

    @staticmethod
    def saved(folder: Path) -> Iterator[Model]:
        """The models there are, latest first, and one that has learnt nothing."""
        for path in sorted(folder.glob("model_*.json"), key=_number, reverse=True):
            values = json.loads(path.read_text())
            fates = [
                (fate, (row[0], row[1], row[2]), index) for fate, row, index in values["fates"]
            ]
            yield Model(values["rollout"], fates)
        yield Model()

    def rows(self, fate: str | None = None) -> Counter[Row]:
        """How often each row was trained on or dropped."""
        return Counter(row for told, row, _ in self.fates if fate in (None, told))

    def missing(self, sizes: dict[str, int]) -> set[Row]:
        """The rows of the first epochs of which nothing has become yet."""
        wanted = {
            (name, epoch, row)
            for name, size in sizes.items()
            for epoch in range(EPOCHS)
            for row in range(size)
        }
        return wanted - set(self.rows())


def _path(folder: Path, rollout_id: int) -> Path:
    return folder / f"model_{rollout_id}.json"


def _number(path: Path) -> int:
    return int(path.stem.split("_")[1])


def problems(model: Model, state: dict[str, Any], settings: Settings) -> list[str]:
    """What is not as it must be when a run goes on with a model and a state."""
    found = []
    entries = [*state["waiting"], *listed(state["groups"]["in_flight"])]
    out = Counter((source, epoch, row) for _, source, _, row, epoch, *_ in entries)
    trained, fated = model.rows("trained"), model.rows()
    found += [f"trained twice: {row}" for row, count in trained.items() if count > 1]
    found += [f"out twice: {row}" for row, count in out.items() if count > 1]
    done = fated if settings.drops_are_known else trained
    found += [f"trained or dropped, and served again: {row}" for row in done & out]
    if settings.drops_are_known:
        found += [f"trained and dropped: {row}" for row, count in fated.items() if count > 1]
    known = set(fated) | set(out)
    for name, size in settings.sizes.items():
        at = state["mixture"]["sources"][name]
        drawn = {(name, epoch, row) for epoch in range(at["epoch"]) for row in range(size)}
        found += [f"lost: {row}" for row in drawn - known]
        begun = sum(source == name and epoch == at["epoch"] for source, epoch, _ in known)
        if begun != at["offset"]:
            found.append(f"'{name}' has drawn {at['offset']} rows, and {begun} are known")
    ids = Counter(index for _, _, index in model.fates)
    if settings.drops_are_known:
        found += [f"group_index used twice: {index}" for index, count in ids.items() if count > 1]
    served = {index: (source, epoch, row) for index, source, _, row, epoch, *_ in entries}
    rows = {index: row for _, row, index in model.fates}
    found += [
        f"group_index {index} is of two rows" for index in served.keys() & rows.keys()
        if served[index] != rows[index]
    ]  # fmt: skip
    return found


def train(
    folder: Path,
    settings: Settings,
    randomness: random.Random,
    note: Callable[[str], None],
    loaded: Callable[[], None],
    between: Callable[[], None],
) -> None:
    """Go on with the latest model until each row of two epochs has its fate.

    Args:
        folder: Of models and states.
        settings: Of the run.
        randomness: Of the engine.
        note: Told what happens.
        loaded: Called when the run goes on.
        between: Called after a model was saved and before its state is.
    """
    args = settings.arguments(folder)
    for model in Model.saved(folder):
        source = DataSource(args)
        try:
            source.load(model.rollout)
            break
        except CheckpointError as error:
            torn = "there is no data source state" not in str(error)
            note(f"PROBLEM: {error}" if torn else "no state: one model back")
            _path(folder, model.rollout).unlink()  # what follows is another run
    states = folder / "save" / "rollout"
    if model.rollout >= 0 and not (states / f"curriculum_learning_{model.rollout}.state").exists():
        note("from an autosaved state")
    for problem in problems(model, source.state_dict(), settings):
        note(f"PROBLEM: after rollout {model.rollout}: {problem}")

    loaded()

    def end_rollout(rollout_id: int, trained: list[Group], dropped: list[Group]) -> bool:
        model.learn("trained", trained)
        model.learn("dropped", dropped)
        time.sleep(randomness.uniform(0.0, 0.006))  # the training
        note("rollout")
        if (rollout_id + 1) % settings.save_every == 0:
            model.save(folder, rollout_id)
            between()
            source.save(rollout_id)
        late = min(status["epoch"] for status in source.source_status().values()) >= _ENOUGH
        return late or not model.missing(settings.sizes)

    rollouts = _ROLLOUTS[settings.mode](source, args, settings, model.rollout + 1, randomness)
    for rollout_id, trained, dropped in rollouts:
        if end_rollout(rollout_id, trained, dropped):
            model.save(folder, rollout_id)
            source.save(rollout_id)
            rollouts.close()
            break
    source.close()


Rollouts = Iterator[tuple[int, list[Group], list[Group]]]
"""Rollouts that end: their ids, what is trained on, and what was dropped."""


def _synchronous(
    source: DataSource,
    args: argparse.Namespace,
    settings: Settings,
    first: int,
    randomness: random.Random,
) -> Any:
    for rollout_id in itertools.count(first):
        engine = SynchronousEngine(
            source, args,
            batch=settings.batch,
            request=settings.request,
            seed=randomness.randrange(2**31),
            drop=settings.drop,
            lose=0.02,
        )  # fmt: skip
        yield rollout_id, engine.rollout(rollout_id), engine.dropped


def _one_step(*arguments: Any) -> Any:
    """The next rollout is generated, and logged, before one is trained on."""
    rollouts = _synchronous(*arguments)
    ready = next(rollouts)
    for following in rollouts:
        yield ready
        ready = following


def _fully_asynchronous(
    source: DataSource,
    args: argparse.Namespace,
    settings: Settings,
    first: int,
    randomness: random.Random,
) -> Any:
    engine = FullyAsynchronousEngine(
        source, args,
        concurrency=settings.request,
        seed=randomness.randrange(2**31),
        drop=settings.drop,
        reports_drops=settings.reports_drops,
    )  # fmt: skip
    with engine:
        for rollout_id in itertools.count(first):
            engine.dropped.clear()
            trained = engine.rollout(rollout_id, settings.batch)
            yield rollout_id, trained, list(engine.dropped)


_ROLLOUTS = {
    "synchronous": _synchronous,
    "one-step": _one_step,
    "fully-asynchronous": _fully_asynchronous,
}
