"""Rows of the tasks of reasoning_gym: made from a seed and an index, without end."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from curriculum_learning.config.kinds import GymTask
from curriculum_learning.config.problems import suggestion
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.prompts.kinds.generated import GeneratedRows


class GymRows(GeneratedRows):
    """The rows of a task, with the prompt in ``input`` and the answer in ``label``.

    The metadata have ``level``, and under ``reasoning_gym`` the task and its entry: what
    ``curriculum_learning.reasoning_gym_reward`` scores answers with. With several levels, row i
    has level i % levels.

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
        self._tasks = self._levels()
        self.levels = [float(level) for level in range(kind.levels)]
        self.fingerprint = {
            "rows": self.size,
            "span": [None, None],
            "generator": kind.text,
            "seed": kind.seed,
            "levels": kind.levels,
            "configs": repr([task.config for task in self._tasks]),
            "version": importlib.metadata.version("reasoning_gym"),
        }

    def _levels(self) -> list[Any]:
        """Returns the task at each level."""
        try:
            from reasoning_gym import factory
        except ImportError:
            raise self._refused(
                "needs reasoning_gym; pip install 'curriculum_learning[reasoning_gym]'"
            ) from None
        kind = self._kind
        if kind.task not in factory.DATASETS:
            near = suggestion(kind.task, factory.DATASETS, "the tasks are")
            raise self._refused(f"is no task of reasoning_gym; {near}")
        try:
            if kind.levels > 1:
                return [self._at_level(factory, level) for level in range(kind.levels)]
            return [factory.create_dataset(kind.task, seed=kind.seed, **kind.settings)]
        except (TypeError, ValueError, AssertionError) as error:
            raise self._refused(f"refuses its settings: {error}") from error

    def _at_level(self, factory: Any, level: int) -> Any:
        """Returns the task at one level of its curriculum, and not at those below it."""
        from reasoning_gym.coaching import base_curriculum as base

        kind = self._kind
        if not factory.has_curriculum(kind.task):
            raise self._refused("has no difficulty levels; leave out levels")
        curriculum = factory.create_curriculum(kind.task)
        most = max(len(attribute.levels) for attribute in curriculum.attributes.values())
        if kind.levels > most:
            raise self._refused(f"has {most} difficulty levels, fewer than levels={kind.levels}")
        curriculum.set_global_level(level)
        only = base.DefaultCurriculumContext(mode=base.RangeAttributeMode.UPPER_BOUND)
        plain = {"seed": kind.seed, **kind.settings}
        config = curriculum.generate_configuration(plain, only)
        wrong = [key for key, value in kind.settings.items() if getattr(config, key) != value]
        if wrong:
            raise self._refused(f"has levels of {', '.join(wrong)}; leave it out of settings")
        task_type, _ = factory.DATASETS[kind.task]
        return task_type(config=config)

    def _refused(self, problem: str) -> ConfigurationError:
        return ConfigurationError(
            f"prompt_data of source '{self.source}': {self.text} {problem}",
            source=self.source,
            key="prompt_data",
            value=self.text,
        )

    def make(self, index: int) -> Any:
        """See ``GeneratedRows``."""
        number, level = divmod(index, len(self._tasks))
        entry = self._tasks[level][number]
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
