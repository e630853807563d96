"""The methods that are compared, one YAML file each, and the settings that are tried of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.evidence.errors import UsageError
from benchmarks.evidence.tasks.base import EvidenceTask

FOLDER = Path(__file__).parent
SETTINGS_FILE = FOLDER / "settings.yaml"
UNIFORM = "uniform"

Settings = dict[str, Any]
"""Values by dotted key: ``{"learning_rate": 0.001, "data_source_rule.window": 300}``."""


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

    def candidates(self, count: int) -> list[Settings]:
        """Returns so many settings to try: the defaults, then different ones at random.

        Raises:
            UsageError: There are fewer.
        """
        shape = tuple(map(len, self.search.values()))
        if count > math.prod(shape):
            raise UsageError(f"{self.name}: only {math.prod(shape)} settings, not {count}")
        random = np.random.default_rng([*self.name.encode()])
        others = 1 + random.choice(math.prod(shape) - 1, count - 1, replace=False)
        return [
            {
                key: values[int(place)]
                for (key, values), place in zip(
                    self.search.items(), np.unravel_index(number, shape), strict=True
                )
            }
            for number in (0, *others)
        ]


@dataclass(frozen=True)
class Search:
    """How settings are chosen; ``search.yaml``."""

    candidates: int
    seeds: list[int]
    first_reported: int
    everybody: Mapping[str, list[Any]]


def read_search() -> Search:
    """Returns what ``search.yaml`` says."""
    return Search(**_read(FOLDER / "search.yaml"))


def read_methods() -> dict[str, Method]:
    """Returns all methods by name, uniform mixing first."""
    everybody = read_search().everybody
    found = {}
    for path in sorted((FOLDER / "methods").glob("*.yaml")):
        content = _read(path)
        search = {**everybody, **content["search"]}
        found[path.stem] = Method(path.stem, frozenset(content["needs"]), content["config"], search)
    return {UNIFORM: found.pop(UNIFORM), **found}


def read_settings(path: Path) -> dict[str, Settings]:
    """Returns the settings of each method: those that a search has written, or the defaults."""
    chosen = _read(path) if path.exists() else {}
    return {
        name: chosen.get(name, method.candidates(1)[0]) for name, method in read_methods().items()
    }


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))
