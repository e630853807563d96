r"""The face for verl 0.9 and later, which has no sampler hook: trainer modes with a curriculum.

verl imports this module where the environment names it, and the command line chooses the mode::

    VERL_USE_EXTERNAL_MODULES=curriculum_learning.verl_trainer \
    python -m verl.trainer.main_ppo trainer.v1.trainer_mode=curriculum \
        +data.sampler.class_name=RewardCurriculumSampler \
        +data.sampler.reward_threshold=0.5 ...

Each mode is one of verl's, with three additions: ``curriculum`` is ``sync``,
``curriculum_colocate_async`` and ``curriculum_separate_async`` are what their names say. A sampler
chooses the prompts. It is told how each group ended, so that lost ones can be replaced. And the
rewards of a step reach it before the checkpoint of that step is saved, so they bear on the choice
for the next step, and a resumed run makes the choices that an uninterrupted one would have made.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

from omegaconf import OmegaConf, open_dict

from curriculum_learning import samplers
from curriculum_learning.config.dotted_path import load_callable
from curriculum_learning.engines.sampler_stats import metrics_of
from curriculum_learning.errors import ConfigurationError, DataError
from curriculum_learning.groups.row_account import RowAccount

try:
    from verl.trainer.ppo.v1 import (
        PPOTrainerColocateAsync,
        PPOTrainerSeparateAsync,
        PPOTrainerSync,
        register_trainer,
    )
    from verl.utils import tensordict_utils

    from curriculum_learning.engines import verl_groups
except ImportError as error:
    raise ImportError(
        f"{__name__} needs verl >= 0.9 with all that its v1 trainer needs ({error}); up to verl "
        f"0.7 use data.sampler.class_path=pkg://verl_extensions.multi_source_sampler instead"
    ) from error

MODE = "curriculum"
"""The value of ``trainer.v1.trainer_mode`` for verl's ``sync``; for others their name follows."""

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


class _Finished(NamedTuple):
    """A group with the rewards of its samples."""

    number: int
    source: str
    row: int
    """In the data set."""
    rewards: list[float]


class _Caps:
    """Judges finished groups by ``source_reward_caps`` of a sampler."""

    def __init__(self, sampler: samplers.MultiSourceSampler) -> None:
        self._sampler = sampler

    def refuses(self, uid: str, rewards: list[float]) -> bool:
        """Whether the cap of its source refuses a group."""
        account = self._sampler.account  # a resume replaces it
        served = account.served(int(uid)) if account is not None and uid.isdecimal() else None
        if served is None:
            return False
        return self._sampler.reward_cap_verdict(served.source, rewards, uid) is not None


class CurriculumMixin:
    """Chooses the prompts of a trainer of verl's; stands before it.

    Args:
        config: verl's whole configuration. ``data.sampler`` names the sampler and configures it.
    """

    mode: ClassVar[str]
    """verl's name for the mode."""

    # What verl's trainers have.
    config: Any
    global_steps: int
    parameter_sync_step: int
    replay_buffer: Any
    train_dataset: Any
    train_dataloader: Any
    steps_per_epoch: int
    total_training_steps: int

    def __init__(self, config: Any) -> None:
        # verl compares this string in many places, and reads the settings of the mode under it.
        config.trainer.v1.trainer_mode = self.mode
        super().__init__(config)  # type: ignore[call-arg]

    def _init_dataloader(self) -> None:
        """Make verl's loaders, then put one with our sampler in the place of the training one."""
        super()._init_dataloader()  # type: ignore[misc]
        data, stock = self.config.data, self.train_dataloader
        cls = sampler_class(data)
        steps = self.config.trainer.total_training_steps
        if steps is not None and data.sampler.get("num_rollout") is None:
            with open_dict(data):
                data.sampler.num_rollout = steps
        self.sampler = cls(data_source=self.train_dataset, data_config=data)
        self.sampler.reports_after_save = False
        self.sampler.keep_account()
        if self.sampler.config.source_reward_caps:
            self._apply_caps()
        self._finished: list[_Finished] = []
        """The groups whose rewards the sampler has not been told of."""
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
            _name(self.mode), __file__, cls.__name__, inspect.getfile(cls), len(self.train_dataset),
            self.steps_per_epoch, self.total_training_steps,
        )  # fmt: skip

    def _apply_caps(self) -> None:
        """Lets verl's filter of groups refuse those above the cap of their source, too."""
        if not OmegaConf.select(self.config, "algorithm.filter_groups.enable", default=False):
            raise ConfigurationError(
                "sampler.source_reward_caps needs verl's filter of groups; set "
                "algorithm.filter_groups.enable=true and algorithm.filter_groups.metric=reward",
                key="sampler.source_reward_caps",
                value=list(self.sampler.config.source_reward_caps),
            )
        if getattr(self.replay_buffer, "filter_groups_metric", None) is None:
            logger.warning(
                "sampler.source_reward_caps has no effect: the replay buffer %s "
                "(trainer.v1.sampler.custom_sampler) does not use verl's filter of groups; leave "
                "custom_sampler out, or have it use the filter",
                type(self.replay_buffer).__name__,
            )
        self.replay_buffer.caps = _Caps(self.sampler)

    @property
    def account(self) -> RowAccount:
        """The sampler's account of the groups, which a resume replaces."""
        account: RowAccount = self.sampler.account
        return account

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

    def _build_replay_buffer(self) -> Any:
        """Makes verl's replay buffer, and has it remember the groups that it evicts."""
        model = self.config.reward.reward_model
        return verl_groups.watch(
            super()._build_replay_buffer(),  # type: ignore[misc]
            scores_samples=not model.enable or model.enable_resource_pool,
        )

    def _fetch_one_gen_batch(self) -> Any:
        """Fetches prompts; the uid of each is the number of its group in the sampler's account."""
        self._take_evicted()  # first: the next prompt may replace one of them
        batch = super()._fetch_one_gen_batch()  # type: ignore[misc]
        last = self.account.opened
        uids = [str(number) for number in range(last - len(batch), last)]
        tensordict_utils.assign_non_tensor_stack(batch, "uid", uids)
        return batch

    def step(self, metrics: dict[str, Any], timing_raw: dict[str, float]) -> Any:
        """One training step of verl's, after which the sampler learns how groups ended."""
        batch = super().step(metrics, timing_raw)  # type: ignore[misc]
        self._take_evicted()
        self._end(verl_groups.trained_groups(batch))
        self._end_lost()
        finished, self._finished = self._finished, []
        # One entry for each sample.
        self.sampler.observe(
            sources=[group.source for group in finished for _ in group.rewards],
            rewards=[reward for group in finished for reward in group.rewards],
            rows=[group.row for group in finished for _ in group.rewards],
            groups=[group.number for group in finished for _ in group.rewards],
        )
        stats = self.sampler.get_stats()
        stats |= metrics_of([group.source for group in finished], [g.rewards for g in finished])
        metrics.update({f"{MODE}/{name}": value for name, value in stats.items()})
        return batch

    def _load_checkpoint(self) -> None:
        """Loads verl's checkpoint; prompts in flight that it does not hold are lost."""
        super()._load_checkpoint()  # type: ignore[misc]
        if self.global_steps == 0:
            return
        # The loader hands its state on to the sampler when it is first iterated.
        self.train_dataloader_it = iter(self.train_dataloader)
        if lost := self._end_lost():
            logger.warning(
                "The checkpoint does not hold %d of the prompts that were in flight when it was "
                "saved; they count as failed", lost,
            )  # fmt: skip

    def _take_evicted(self) -> None:
        evicted, self.replay_buffer.evicted = self.replay_buffer.evicted, []
        self._end(evicted)

    def _end(self, ended: Iterable[verl_groups.Ended]) -> None:
        """Takes in how groups ended; those of a checkpoint that is not ours are not known."""
        for uid, fate, rewards in ended:
            served = self.account.served(int(uid)) if uid.isdecimal() else None
            if served is None:
                continue
            self.account.end([int(uid)], fate)
            if rewards:
                self._finished.append(_Finished(int(uid), served.source, served.row, rewards))

    def _end_lost(self) -> int:
        """Ends the groups that verl has no more, and has not told of: all their samples failed."""
        waiting = verl_groups.waiting_groups()
        lost = [group for group in self.account.in_flight if str(group) not in waiting]
        self.account.end(lost, "failed")
        return len(lost)


@register_trainer(MODE)
class CurriculumTrainer(CurriculumMixin, PPOTrainerSync):  # type: ignore[misc]  # no types
    """verl's synchronous trainer on a curriculum."""

    mode = "sync"


@register_trainer(f"{MODE}_colocate_async")
class CurriculumColocateAsync(CurriculumMixin, PPOTrainerColocateAsync):  # type: ignore[misc]
    """verl's asynchronous trainer that shares its devices with the rollout, on a curriculum."""

    mode = "colocate_async"


@register_trainer(f"{MODE}_separate_async")
class CurriculumSeparateAsync(CurriculumMixin, PPOTrainerSeparateAsync):  # type: ignore[misc]
    """verl's asynchronous trainer with devices of its own, on a curriculum."""

    mode = "separate_async"


def _name(mode: str) -> str:
    """Returns our name for a mode of verl's."""
    return MODE if mode == "sync" else f"{MODE}_{mode}"


def sampler_class(data_config: Any) -> Any:
    """The class that ``data.sampler`` names: one of ours, or a user's own at ``class_path``.

    Raises:
        ConfigurationError: It names none, an unknown one, or one that is not derived from ours.
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
    if not issubclass(cls, samplers.MultiSourceSampler):
        raise ConfigurationError(
            f"data.sampler.class_name ({name}) takes no part in trainer mode '{MODE}'; derive it "
            f"from one of {', '.join(SAMPLERS)}",
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
