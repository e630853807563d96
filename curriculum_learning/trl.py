"""The face for TRL: a mixin that lets a curriculum choose the prompts of its trainers.

Derive a trainer from the mixin and TRL's, and give it a ``curriculum``::

    from curriculum_learning.trl import CurriculumMixin
    from trl import GRPOTrainer

    class Trainer(CurriculumMixin, GRPOTrainer):
        pass

    Trainer(..., train_dataset=dataset, curriculum="sources.yaml").train()

Each block of prompts is drawn right before its completions are generated, when the rewards of all
earlier blocks are known. ``docs/trl.md`` has the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curriculum_learning import samplers
from curriculum_learning.config.files import read_run_config
from curriculum_learning.config.sampler_file import FILE_KEY
from curriculum_learning.engines.sampler_stats import metrics_of
from curriculum_learning.engines.trl import Clock, part_of_process, total_rewards
from curriculum_learning.errors import CheckpointError, ConfigurationError, DataError
from curriculum_learning.prompts.columns import SOURCE_COLUMN, read_sources
from curriculum_learning.state.checkpoint import read_state, write_state
from curriculum_learning.weights.shares import KEY as WEIGHTS_KEY

STATE_FILE = "curriculum.state"
"""The sampler's state in a checkpoint folder of the trainer."""

_OWN_KEYS = ("source_column", "class_name")
"""Keys that may stand in slime's file too."""


class CurriculumMixin:
    """Chooses the prompts of TRL's ``GRPOTrainer`` or ``RLOOTrainer``; stands before it.

    Args:
        args: As for the trainer.
        curriculum: A YAML file or a mapping: ``class_name`` (default ``MultiSourceSampler``),
            ``source_column`` (default ``data_source``), and the keys of that sampler. Or the YAML
            file that configures slime's data source.
        kwargs: As for the trainer. ``train_dataset`` has a column with the source of each row.

    Raises:
        ConfigurationError: Keys are unknown or out of range; or sources and weights do not match.
        DataError: The data set is no table, or rows have no source or no complexity score.
        RuntimeError: From ``train``: this version of TRL does not call what the mixin stands in
            for, so the curriculum would not be used.
    """

    # What TRL's trainers have.
    accelerator: Any
    args: Any
    data_collator: Any
    model: Any
    num_generations: int
    num_iterations: int
    reward_weights: Any
    state: Any
    train_dataset: Any
    _metrics: Any

    def __init__(
        self, *args: Any, curriculum: str | Path | Mapping[str, Any], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        keys = _read(curriculum)
        table = _table(self.train_dataset, keys.pop("source_column", SOURCE_COLUMN))
        self.curriculum = _make_sampler(
            table,
            keys,
            batch_size=self.args.generation_batch_size // self.num_generations,
            seed=self.args.seed,
        )
        self._sources = np.empty(len(table), dtype=object)
        """The source of each row of the data set."""
        for name, rows in read_sources(table).items():
            self._sources[rows] = name
        self._block: list[int] = []
        """The rows of the data set that completions were last generated for."""
        self._is_scored = True
        """Whether the rewards of the block were taken in."""

    # Prompts

    @property
    def _micro_steps(self) -> int:
        """Micro-steps that are trained on one block."""
        return int(self.args.steps_per_generation * self.num_iterations)

    def _get_train_sampler(self, dataset: Any = None) -> Clock:
        """Returns what counts the steps of an epoch; ``dataset`` has the columns in use."""
        self._table = self.train_dataset if dataset is None else dataset
        return Clock(len(self.curriculum) * self.num_generations * self._micro_steps)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Any:
        """TRL's, in training with the prompts of the curriculum."""
        if self.model.training:
            inputs = self._next_inputs()
        return super()._generate_and_score_completions(inputs)  # type: ignore[misc]

    def _next_inputs(self) -> list[dict[str, Any]]:
        # After a resume amid a block TRL generates anew for its rest: for the same prompts.
        if self._step % self._micro_steps == 0:
            self._block = self.curriculum.draw(self.state.global_step)
            self._is_scored = False
        rows = part_of_process(
            self._block,
            copies=self.num_generations,
            process=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )
        inputs: list[dict[str, Any]] = self.data_collator([self._table[row] for row in rows])
        return inputs

    # Rewards

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
        """TRL's, gathered over the processes; those of a new block reach the curriculum."""
        rewards = super()._calculate_rewards(*args, **kwargs)  # type: ignore[misc]
        if self.model.training and not self._is_scored:
            self._observe(total_rewards(rewards, self.reward_weights))
            self._is_scored = True
        return rewards

    def _observe(self, rewards: NDArray[np.float64]) -> None:
        copies = self.num_generations
        places = np.repeat(np.arange(len(self._block)), copies)
        rows = np.repeat(self._block, copies)
        self.curriculum.observe(self._sources[rows], rewards, rows.tolist(), places.tolist())
        figures = metrics_of(self._sources[self._block].tolist(), rewards.reshape(-1, copies))
        for name, value in {**self.curriculum.get_stats(), **figures}.items():
            self._metrics["train"][f"curriculum/{name}"].append(value)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """TRL's; then checks that TRL drew from the curriculum and told it the rewards.

        The mixin overrides private methods. A version of TRL that renames one would train on
        other prompts without a word.
        """
        loss = super().training_step(*args, **kwargs)  # type: ignore[misc]
        if not self._block or not self._is_scored:
            missing = "_calculate_rewards" if self._block else "_generate_and_score_completions"
            raise RuntimeError(
                f"TRL {version('trl')} did not call {missing} in a training step, so the "
                f"curriculum has no say; use a version that curriculum_learning[trl] allows"
            )
        return loss

    # Checkpoints

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Saves the curriculum too, in every checkpoint that can be resumed from."""
        if self.args.should_save:
            state = {
                "sampler": self.curriculum.state_dict(),
                "block": self._block,
                "micro_step": self._step,
            }
            write_state(Path(output_dir) / STATE_FILE, state)
        super()._save_optimizer_and_scheduler(output_dir)  # type: ignore[misc]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Loads the curriculum too.

        Raises:
            CheckpointError: The checkpoint has no curriculum, or one of other data or keys.
        """
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint is None:
            return
        path = Path(checkpoint) / STATE_FILE
        state = read_state(path)
        try:
            block, step = [int(row) for row in state["block"]], int(state["micro_step"])
            self.curriculum.load_state_dict(state["sampler"])
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{path} holds no state of a curriculum: {error!r}") from error
        self._block, self._is_scored, self._step = block, True, step


def _read(curriculum: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(curriculum, Mapping):
        return dict(curriculum)
    values = read_run_config([str(curriculum)]).values
    if WEIGHTS_KEY not in values:
        return values
    own: dict[str, Any] = {key: values[key] for key in _OWN_KEYS if key in values}
    return {**own, FILE_KEY: str(curriculum)}


def _table(dataset: Any, column: str) -> Any:
    """Returns the data set with the column of the sources under the name that samplers know."""
    columns = getattr(dataset, "column_names", None) or []
    if not hasattr(dataset, "__len__") or column not in columns:
        raise DataError(
            f"train_dataset must be a Dataset with a column '{column}', the source of each row; "
            f"it is a {type(dataset).__name__} with the columns {columns}. source_column names "
            f"another one",
            key="source_column",
            value=column,
        )
    if column == SOURCE_COLUMN:
        return dataset
    others = [other for other in columns if other not in (column, SOURCE_COLUMN)]
    return dataset.select_columns([column, *others]).rename_column(column, SOURCE_COLUMN)


def _make_sampler(
    table: Any, keys: Mapping[str, Any], *, batch_size: int, seed: int
) -> samplers.MultiSourceSampler:
    name = keys.get("class_name", "MultiSourceSampler")
    if name not in samplers.__all__:
        raise ConfigurationError(
            f"class_name ({name!r}) must be one of {', '.join(samplers.__all__)}",
            key="class_name",
            value=name,
        )
    config = {"train_batch_size": batch_size, "seed": seed, "sampler": keys}
    sampler: samplers.MultiSourceSampler = getattr(samplers, name)(table, config)
    if sampler.config.source_reward_caps:
        raise ConfigurationError(
            "source_reward_caps cannot be used: TRL has no filter of groups; leave them out",
            key="source_reward_caps",
            value=list(sampler.config.source_reward_caps),
        )
    sampler.reports_after_save = False
    return sampler
