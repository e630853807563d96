"""The methods that are compared, one YAML file each, and the settings that are tried of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.evidence.tasks import TASKS
from benchmarks.evidence.tasks.base import EvidenceTask

FOLDER = Path(__file__).parent
SETTINGS_FILE = FOLDER / "settings.yaml"
UNIFORM = "uniform"

Settings = dict[str, Any]
"""Values by dotted key: ``{"learning_rate": 0.001, "data_source_rule.window": 300}``."""
SettingsByTask = dict[str, dict[str, Settings]]
"""Of each task, by method."""


@dataclass(frozen=True)
class Method:
    """A curriculum, a source rule, or what a person does by hand.

    Args:
        name: Of its file.
        needs: What a task must offer; see ``EvidenceTask.offers``.
        config: Keys of the run's configuration.
        search: The values tried of each setting, the default first.
    """

    name: str
    needs: frozenset[str]
    config: Mapping[str, Any]
    search: Mapping[str, list[Any]]

    def fits(self, task: EvidenceTask) -> bool:
        """Returns whether the task leaves it something to choose."""
        return self.needs <= task.offers

    def candidates(self, everybody: Sequence[Settings]) -> list[Settings]:
        """Returns the settings to try.

        Args:
            everybody: Those that all methods have, the first with the defaults of this one; the
                others with settings of its own at random.
        """
        shape = tuple(map(len, self.search.values()))
        random = np.random.default_rng([*self.name.encode()])
        numbers = (0, *random.integers(math.prod(shape), size=len(everybody) - 1))
        return [
            common | self._own(np.unravel_index(number, shape) if shape else ())
            for common, number in zip(everybody, numbers, strict=True)
        ]

    def _own(self, places: Iterable[Any]) -> Settings:
        return {
            key: values[int(place)]
            for (key, values), place in zip(self.search.items(), places, strict=True)
        }


@dataclass(frozen=True)
class Search:
    """How settings are chosen; ``search.yaml``."""

    seeds: list[int]
    first_reported: int
    everybody: list[Settings]


def read_search() -> Search:
    """Returns what ``search.yaml`` says."""
    return Search(**_read(FOLDER / "search.yaml"))


def read_methods() -> dict[str, Method]:
    """Returns all methods by name, uniform mixing first."""
    found = {}
    for path in sorted((FOLDER / "methods").glob("*.yaml")):
        content = _read(path)
        needs = frozenset(content["needs"])
        found[path.stem] = Method(path.stem, needs, content["config"], content["search"])
    return {UNIFORM: found.pop(UNIFORM), **found}


def read_settings(path: Path) -> SettingsByTask:
    """Returns the settings of each method: those that a search has written, or the defaults."""
    chosen, everybody = _read(path) if path.exists() else {}, read_search().everybody
    return {
        task: {
            name: chosen.get(task, {}).get(name, method.candidates(everybody)[0])
            for name, method in read_methods().items()
            if method.fits(TASKS[task])
        }
        for task in TASKS
    }


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
