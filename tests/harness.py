"""Prompt files, data sources, and one resume harness for everything that has a state."""

from __future__ import annotations

import argparse
import copy
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.state.checkpoint import read_state, write_state

Group = list[Any]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    """Writes a jsonl file and returns its path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def prompt_files(folder: Path, sizes: Mapping[str, int]) -> list[str]:
    """Writes one file per source; row i of source s has the prompt "s i"."""
    return [
        write_rows(
            folder / f"{name}.jsonl",
            ({"input": f"{name} {i}", "metadata": {"id": i}} for i in range(size)),
        )
        for name, size in sizes.items()
    ]


def arguments(folder: Path, sizes: Mapping[str, int], **changes: Any) -> argparse.Namespace:
    """Arguments of a data source over ``prompt_files``, shuffled, saving to ``folder``."""
    values: dict[str, Any] = {
        "prompt_data": prompt_files(folder, sizes),
        "data_source_weights": [1.0] * len(sizes),
        "rollout_shuffle": True,
        "n_samples_per_prompt": 2,
        "rollout_batch_size": 16,
        "save": str(folder / "save"),
    }
    return argparse.Namespace(**{**values, **changes})


def data_source(folder: Path, sizes: Mapping[str, int], **changes: Any) -> DataSource:
    """A data source over ``prompt_files``."""
    return DataSource(arguments(folder, sizes, **changes))


def name_of(group: Group) -> str:
    """The source of a group."""
    return str(group[0].metadata["data_source"])


def row_of(group: Group) -> tuple[str, int, int]:
    """Source, epoch and row of a group."""
    metadata = group[0].metadata
    return name_of(group), metadata["data_source_epoch"], metadata["data_source_row"]


def indices(group: Group) -> tuple[int, list[int]]:
    """The ids of a group and of its samples."""
    (group_index,) = {sample.group_index for sample in group}
    return group_index, [sample.index for sample in group]


def interrupt(group: Group, tokens: int = 3) -> Group:
    """Leaves a group half generated, like an engine that stops a rollout."""
    for sample in group:
        sample.tokens = [*sample.tokens, *range(tokens)]
        sample.response += "x" * tokens
        sample.response_length += tokens
        sample.rollout_log_probs = [*(sample.rollout_log_probs or []), *[-0.5] * tokens]
        sample.status = type(sample).Status.ABORTED
    return group


def as_data(groups: Iterable[Group]) -> list[list[dict[str, Any]]]:
    """A deep copy of groups as comparable data: engines change samples in place."""
    return copy.deepcopy([[sample.to_dict() for sample in group] for group in groups])


def totals(groups: Mapping[str, Any]) -> Counter[str]:
    """Sums the counts in the ``groups`` of a state over the sources."""
    counts = {what: sum(by_source.values()) for what, by_source in groups["counts"].items()}
    return Counter(counts)


class Stateful(Protocol):
    """Anything that can be cut and resumed."""

    def state_dict(self) -> dict[str, Any]:
        """Returns its state."""

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Loads a state."""


def check_resume(
    make: Callable[[], Any],
    advance: Callable[[Any, int], Any],
    steps: int,
    folder: Path,
) -> None:
    """Checks that a run cut at any position, once or twice, continues unchanged.

    Args:
        make: Makes a fresh object.
        advance: Does step i and returns its observable results, as comparable data.
        steps: Number of steps.
        folder: For state files; each state goes through a real one.
    """
    whole = make()
    expected = [advance(whole, step) for step in range(steps)]
    for cut in range(steps + 1):
        part = make()
        first = [advance(part, step) for step in range(cut)]
        resumed = _through_a_file(part, make, folder)
        middle = (cut + steps) // 2
        second = [advance(resumed, step) for step in range(cut, middle)]
        resumed_twice = _through_a_file(resumed, make, folder)
        third = [advance(resumed_twice, step) for step in range(middle, steps)]
        assert first + second + third == expected, f"cut at {cut} and {middle} of {steps}"


def _through_a_file(part: Stateful, make: Callable[[], Any], folder: Path) -> Any:
    write_state(folder / "harness.state", part.state_dict())
    resumed = make()
    resumed.load_state_dict(read_state(folder / "harness.state"))
    return resumed
