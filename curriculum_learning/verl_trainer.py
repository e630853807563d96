r"""The face for verl 0.9 and later, which has no sampler hook: a trainer mode named `curriculum`.

verl imports this module where the environment names it, and the command line chooses the mode::

    VERL_USE_EXTERNAL_MODULES=curriculum_learning.verl_trainer \
    python -m verl.trainer.main_ppo trainer.v1.trainer_mode=curriculum \
        +data.sampler.class_name=RewardCurriculumSampler \
        +data.sampler.reward_threshold=0.5 ...

The mode is verl's synchronous trainer, with two additions. A sampler chooses the prompts; and the
rewards of a step reach it before the checkpoint of that step is saved. So they bear on the choice
for the next step, and a resumed run makes the choices that an uninterrupted one would have made.
"""

from __future__ import annotations

import inspect
import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf, open_dict

from curriculum_learning import samplers
from curriculum_learning.config.dotted_path import load_callable
from curriculum_learning.errors import ConfigurationError, DataError

try:
    import transfer_queue
    from verl.trainer.ppo.v1 import PPOTrainerSync, register_trainer
except ImportError as error:
    raise ImportError(
        f"{__name__} needs verl >= 0.9 with all that its v1 trainer needs ({error}); up to verl "
        f"0.7 use data.sampler.class_path=pkg://verl_extensions.multi_source_sampler instead"
    ) from error

MODE = "curriculum"
"""The value of ``trainer.v1.trainer_mode``."""

SAMPLERS = (
    "MultiSourceSampler",
    "TimeCurriculumSampler",
    "RewardCurriculumSampler",
    "CurriculumMultiSourceSampler",
    "RewardGatedCurriculumSampler",
)
"""What ``data.sampler.class_name`` can be without a ``data.sampler.class_path``."""

_HORIZONS = ("actor_rollout_ref.actor.optim", "critic.optim")
"""Configurations of optimizers, which know how many steps there will be."""

logger = logging.getLogger(__name__)


@register_trainer(MODE)
class CurriculumTrainer(PPOTrainerSync):  # type: ignore[misc]  # verl has no types
    """verl's synchronous trainer, with prompts chosen by a sampler that sees the rewards.

    Args:
        config: verl's whole configuration. ``data.sampler`` names the sampler and configures it.
    """

    config: Any
    train_dataset: Any
    train_dataloader: Any
    sampler: Any
    steps_per_epoch: int
    total_training_steps: int

    def __init__(self, config: Any) -> None:
        # verl compares this string to decide on synchronous behaviour in many places.
        config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)

    def _init_dataloader(self) -> None:
        """Make verl's loaders, then put one with our sampler in the place of the training one."""
        super()._init_dataloader()
        data, stock = self.config.data, self.train_dataloader
        cls = sampler_class(data)
        self.sampler = cls(data_source=self.train_dataset, data_config=data)
        self.sampler.reports_after_save = False
        # Workers would fetch prompts ahead of the rewards that decide on them, so there are none.
        self.train_dataloader = type(stock)(
            dataset=self.train_dataset,
            batch_size=stock.batch_size,
            num_workers=0,
            drop_last=stock.drop_last,
            collate_fn=stock.collate_fn,
            sampler=self.sampler,
        )
        self._set_steps(len(self.sampler) // data.train_batch_size)
        logger.info(
            "Trainer mode '%s' (%s) is active with %s (%s): %d rows, %d steps per epoch, %d in "
            "all; prompts are read without data loader workers",
            MODE, __file__, cls.__name__, inspect.getfile(cls), len(self.train_dataset),
            self.steps_per_epoch, self.total_training_steps,
        )  # fmt: skip

    def _set_steps(self, steps_per_epoch: int) -> None:
        """Let the sampler decide how long an epoch is: verl has counted all rows of the data."""
        if steps_per_epoch == self.steps_per_epoch:
            return
        if steps_per_epoch == 0:
            raise DataError(
                f"the sampler has {len(self.sampler)} rows, fewer than a batch of "
                f"{self.config.data.train_batch_size}; use a smaller data.train_batch_size",
                key="train_batch_size",
                value=self.config.data.train_batch_size,
            )
        self.steps_per_epoch = steps_per_epoch
        if self.config.trainer.total_training_steps is not None:
            return
        self.total_training_steps = steps_per_epoch * self.config.trainer.total_epochs
        with open_dict(self.config):
            for path in _HORIZONS:
                if OmegaConf.select(self.config, path):
                    updates = self.total_training_steps * self.parameter_sync_step
                    OmegaConf.update(self.config, f"{path}.total_training_steps", updates)

    def step(self, metrics: dict[str, Any], timing_raw: dict[str, float]) -> Any:
        """One training step of verl's, after which the sampler sees its rewards."""
        batch = super().step(metrics, timing_raw)
        self.sampler.observe(*_rewards(batch))
        stats = self.sampler.get_stats()
        metrics.update({f"{MODE}/{name}": value for name, value in stats.items()})
        return batch


def sampler_class(data_config: Any) -> Any:
    """The class that ``data.sampler`` names: one of ours, or a user's own at ``class_path``.

    Raises:
        ConfigurationError: It names none, an unknown one, or one that takes no rewards.
    """
    node = data_config.get("sampler") or {}
    name, path = node.get("class_name"), node.get("class_path")
    if name and path:
        cls = _load(path, name)
    elif name in SAMPLERS:
        cls = getattr(samplers, name)
    else:
        raise ConfigurationError(
            f"data.sampler.class_name ({name!r}) must be one of {', '.join(SAMPLERS)}, or a class "
            f"of your own with data.sampler.class_path",
            key="data.sampler.class_name",
            value=name,
        )
    missing = [method for method in ("observe", "get_stats") if not hasattr(cls, method)]
    if missing:
        raise ConfigurationError(
            f"data.sampler.class_name ({name}) takes no part in trainer mode '{MODE}': it lacks "
            f"{' and '.join(missing)}; derive it from one of {', '.join(SAMPLERS)}",
            key="data.sampler.class_name",
            value=name,
        )
    return cls


def _load(path: str, name: str) -> Any:
    """A class by verl's rule for paths, or ours for modules where verl has dropped its own."""
    try:
        from verl.utils.import_utils import load_extern_object
    except ImportError:
        return load_callable(f"{path.removeprefix('pkg://').replace('/', '.')}.{name}")
    return load_extern_object(path, name)


def _rewards(batch: Any) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
    """The source and the summed reward of each sample of a trained batch."""
    keys = [
        key
        for key, tag in zip(batch.keys, batch.tags, strict=True)
        if not tag.get("is_padding", False)
    ]
    fields = ["data_source", "rm_scores"]
    data = transfer_queue.kv_batch_get(
        keys=keys, partition_id=batch.partition_id, select_fields=fields
    )
    rewards = [float(scores.sum()) for scores in data["rm_scores"]]
    return np.asarray(list(data["data_source"]), dtype=object), np.asarray(rewards)
