"""Rows of the tasks of reasoning_gym: made from a seed and an index, without end."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
from typing import Any

from curriculum_learning.config.kinds import GymTask
from curriculum_learning.config.problems import suggestion
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.prompts.kinds.generated import GeneratedRows

_KEPT = 8
"""Blocks of rows whose generators are kept."""


class GymRows(GeneratedRows):
    """The rows of a task, with the prompt in ``input`` and the answer in ``label``.

    The metadata have ``level``, and under ``reasoning_gym`` the task and its entry: what
    ``curriculum_learning.reasoning_gym_reward`` scores answers with. With several levels, row i
    has level i % levels. Some tasks have only ``size`` rows for a seed, so each further block of
    ``size`` rows has a seed of its own.

    Args:
        kind: The task.
        source: The name of the source.

    Raises:
        ConfigurationError: There is no such task, it refuses the settings, or it has fewer levels;
            or reasoning_gym is not installed.
    """

    def __init__(self, kind: GymTask, source: str) -> None:
        super().__init__(kind.text, source, kind.rows)
        self._remake = (kind, source)
        self._kind = kind
        try:
            from reasoning_gym import factory
        except ImportError:
            problem = "needs reasoning_gym; pip install 'curriculum_learning[reasoning_gym]'"
            raise self.refused(problem) from None
        if kind.task not in factory.DATASETS:
            near = suggestion(kind.task, factory.DATASETS, "the tasks are")
            raise self.refused(f"is no task of reasoning_gym; {near}")
        self._type, config_type = factory.DATASETS[kind.task]
        try:
            self._configs = self._levels(factory, config_type)
            self._blocks = functools.lru_cache(_KEPT * kind.levels)(self._block)
            for level in range(kind.levels):
                self._blocks(level, 0)
        except (TypeError, ValueError, AssertionError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise self.refused(f"refuses its settings: {error}") from error
        self.levels = [float(level) for level in range(kind.levels)]
        self.fingerprint = {
            "rows": self.size,
            "span": [None, None],
            "generator": kind.text,
            "configs": repr(self._configs),
            "version": importlib.metadata.version("reasoning_gym"),
        }

    def _levels(self, factory: Any, config_type: Any) -> list[Any]:
        """Returns the configuration of the task at each level."""
        kind = self._kind
        known = [field.name for field in dataclasses.fields(config_type) if field.name != "seed"]
        for key in kind.settings:
            if key not in known:
                raise self.refused(f"has no setting {key}; {suggestion(key, known)}")
        plain = {"seed": kind.seed, **kind.settings}
        if kind.levels == 1:
            return [config_type(**plain)]
        from reasoning_gym.coaching import base_curriculum as base

        if not factory.has_curriculum(kind.task):
            raise self.refused("has no difficulty levels; leave out levels")
        curriculum = factory.create_curriculum(kind.task)
        most = max(len(attribute.levels) for attribute in curriculum.attributes.values())
        if kind.levels > most:
            raise self.refused(f"has {most} difficulty levels, fewer than levels={kind.levels}")
        # each level by itself, without those below it
        only = base.DefaultCurriculumContext(mode=base.RangeAttributeMode.UPPER_BOUND)
        configs = []
        for level in range(kind.levels):
            curriculum.set_global_level(level)
            configs.append(curriculum.generate_configuration(plain, only))
        wrong = [k for k, v in kind.settings.items() if any(getattr(c, k) != v for c in configs)]
        if wrong:
            raise self.refused(f"has levels of {', '.join(wrong)}; leave it out of settings")
        return configs

    def _block(self, level: int, block: int) -> Any:
        """Makes the generator of a block of rows of a level."""
        config = self._configs[level]
        if block:
            digest = hashlib.blake2b(f"{self._kind.seed}\0{block}".encode(), digest_size=4)
            config = dataclasses.replace(config, seed=int.from_bytes(digest.digest(), "little"))
        return self._type(config=config)

    def make(self, index: int) -> Any:
        """See ``GeneratedRows``."""
        number, level = divmod(index, len(self._configs))
        block, place = divmod(number, self._configs[level].size)
        entry = self._blocks(level, block)[place]
        return {
            "input": entry["question"],
            "label": entry["answer"],
            "metadata": {
                "level": level,
                "reasoning_gym": {"task": self._kind.task, "entry": entry},
            },
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return GymRows, self._remake
