"""Samplers of several sources: a face for verl's sampler hook and for any DataLoader."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence, Sized
from typing import Any

from curriculum_learning.config.samplers import read_sampler_config
from curriculum_learning.curricula.results import Result
from curriculum_learning.curricula.rows.reward import RewardCurriculum
from curriculum_learning.curricula.rows.time import TimeCurriculum
from curriculum_learning.curricula.rules.adaptive import AdaptiveWeights
from curriculum_learning.engines import sampler_lines as lines
from curriculum_learning.engines.sampler_lines import Lines
from curriculum_learning.engines.sampler_rewards import (
    Report,
    missing_in,
    report_of_batch,
    results_of,
)
from curriculum_learning.engines.sampler_sources import (
    RowIndex,
    curriculum_of,
    identity_of,
    make_mixture,
)
from curriculum_learning.engines.sampler_stats import level_stats, stats_of
from curriculum_learning.engines.sampler_updates import Updates
from curriculum_learning.engines.verl import REPORTS_AFTER_SAVE, SamplerBase, show_log
from curriculum_learning.errors import CheckpointError, ConfigurationError
from curriculum_learning.groups.reward_caps import RewardCaps
from curriculum_learning.groups.row_account import RowAccount
from curriculum_learning.mixing.batches import Batches
from curriculum_learning.mixing.mixture import Changes, Mixture
from curriculum_learning.prompts.columns import read_sources
from curriculum_learning.state.compare import check_fit

__all__ = [
    "CurriculumMultiSourceSampler",
    "MultiSourceSampler",
    "RewardCurriculumSampler",
    "RewardGatedCurriculumSampler",
    "TimeCurriculumSampler",
]

logger = logging.getLogger(__name__)


class MultiSourceSampler(SamplerBase):
    """Mixes the sources of a data set in fixed or adaptive proportions.

    Iterating gives row numbers of the data set. In every batch, and over any number of batches,
    each source is less than one row off its share; within a batch rows are shuffled. A pass is
    ``len(sampler)`` rows; the next pass goes on where it ended, so epochs of the sources are not
    tied to passes.

    Args:
        data_source: The data set. Rows have ``data_source``, the name of their source; columns
            are read where it has a ``dataframe`` or is a table itself, else row by row.
        data_config: verl's ``config.data``, or any mapping with ``train_batch_size`` (or
            ``gen_batch_size``) and ``sampler``, whose keys ``docs/verl.md`` lists.
        rank: This process gives every ``world_size``-th row, 0 to ``world_size`` - 1. All ranks
            together give the rows of a single sampler, if they are told the same rewards. Their
            states are the same, for any world size.
        world_size: It divides the batch, which is of all ranks.

    Raises:
        ConfigurationError: Keys are unknown, missing or out of range; or sources and weights, or
            ranks and batch, do not match.
        DataError: Rows have no source or, where they need one, no complexity score.
    """

    curriculum_type: type[TimeCurriculum | RewardCurriculum] | None = None
    """Its keys are keys of the sampler."""

    reports_after_save: bool | None = REPORTS_AFTER_SAVE
    """Whether the trainer saves its checkpoint before it reports the rewards of the step. None:
    that is not known, and then a journal is taken to say yes."""

    def __init__(
        self, data_source: Sized, data_config: Any, *, rank: int = 0, world_size: int = 1
    ) -> None:
        show_log()
        config = self.config = read_sampler_config(data_config, self.curriculum_type)
        self._name = type(self).__name__
        logger.info("[%s] running from %s", self._name, __file__)
        self._rank, self._world_size = rank, world_size
        rows = read_sources(data_source)
        weights = config.weights({name: len(at) for name, at in rows.items()})
        self._rows = {name: rows[name] for name in weights}
        self._mixture = make_mixture(data_source, self._rows, weights, config)
        self._curriculum = curriculum_of(self._mixture, config)
        self._identity = identity_of(self._name, self._mixture, self._rows, config)
        self._index = RowIndex(data_source, self._rows, self._mixture.sources)
        sizes = {"size": config.batch_size, "rank": rank, "world_size": world_size}
        self._batches = Batches(self._mixture, self._rows, seed=config.seed, **sizes)
        self.account: RowAccount | None = None
        """The account of the rows given out, for engines that report how each one ended."""
        self._caps = RewardCaps(config.source_reward_caps)
        if self.reports_after_save and config.source_reward_caps:
            logger.warning("%s", lines.no_filter(self._name))
        self._updates = Updates(self._name, config.journal, writes=rank == 0)
        self._told: set[str] = set()
        """Warnings, each told once."""
        self._step: int | None = None
        """The engine's training step; None where the number of updates stands in."""
        _log(self._start_lines())

    @property
    def mixture(self) -> Mixture:
        """The sources together; for looking at."""
        return self._mixture

    # Drawing

    def __len__(self) -> int:
        """Rows of a pass and a rank: of the sources of positive weight, in whole batches."""
        return self._batches.length // self._world_size

    def __iter__(self) -> Iterator[int]:
        """The rows of a pass; after a resume, of the rest of the pass that was interrupted.

        Nothing happens before the first row is asked for: loaders make iterators that they drop.
        """
        self._batches.begin_pass()
        while self._batches.has_more:
            if self._updates.is_behind:
                self._take_late()
            self._batches.fill(self._now)
            while (row := self._batches.next_row()) is not None:
                if self.account is not None:
                    self.account.open(row, self._now)
                yield row

    def draw(self, step: int) -> list[int]:
        """Returns the rows of the next batch, for an engine that says its training step.

        Schedules and curricula follow ``step`` from now on. Do not iterate as well.
        """
        self._step = step
        return self._batches.draw(step)[self._rank :: self._world_size]

    @property
    def _now(self) -> int:
        return self._updates.count if self._step is None else self._step

    def keep_account(self) -> RowAccount:
        """Keeps account of the rows given out from now on; the engine says how each one ended.

        Rows are numbered in the order in which the sampler gives them out. With ``mixture_target:
        trained`` those lost are replaced by others of the same source.

        Raises:
            ConfigurationError: This is one of several ranks, which do not know of each other.
        """
        if self._world_size > 1:
            raise ConfigurationError(
                f"an account is of all rows: world_size must be 1, not {self._world_size}",
                key="world_size",
                value=self._world_size,
            )
        self._use(self._new_account(), self._batches)
        assert self.account is not None
        return self.account

    def _new_account(self) -> RowAccount:
        config = self.config
        most = config.max_oversampling if config.mixture_target == "trained" else None
        return RowAccount(self._mixture, self._rows, most)

    def _use(self, account: RowAccount | None, batches: Batches) -> None:
        self.account, self._batches = account, batches
        self._batches.draws = self._mixture if account is None else account

    # Feedback

    def update(self, batch: Any) -> None:
        """Take in the rewards of a trained batch: verl's ``DataProto``, or its like.

        Args:
            batch: Has ``batch["token_level_scores"]`` of shape (rows, tokens), summed per row,
                and ``non_tensor_batch["data_source"]`` of shape (rows,); rows in any order.
                ``non_tensor_batch["uid"]`` tells the samples of one prompt from others;
                ``extra_info.index``, unique within a source, tells curricula the row.
        """
        self.observe(*report_of_batch(batch, self._index, self._name))

    def observe(
        self,
        sources: Sequence[str],
        rewards: Any,
        rows: Sequence[int | None] | None = None,
        groups: Sequence[Any] | None = None,
    ) -> None:
        """Takes in the rewards of one update; each argument has one entry for each sample.

        Args:
            sources: The source.
            rewards: The reward. Rewards that are not finite numbers are skipped, and counted.
            rows: The row in the data set, as the sampler gave it; None where it is not known.
                Curricula that learn from single rows need it.
            groups: What tells the samples of one prompt from others, such as verl's ``uid``.
        """
        for results in self._updates.late():
            self._apply(results)
        report = Report(sources, rewards, rows, groups)
        results = results_of(report, self._rows, self._now, self._name)
        self._warn(report, results)
        self._updates.record(results, self._batches.drawn)
        self._apply(results)

    def reward_cap_verdict(
        self, source: str, rewards: Sequence[float], group: Hashable = None
    ) -> str | None:
        """Returns why a finished group is not to be trained, by ``source_reward_caps``.

        Args:
            source: Its source.
            rewards: The rewards of its samples; those that are not finite numbers do not count.
            group: What tells it from other groups, so that metrics count it once; None counts it
                with each call.

        Returns:
            ``all_zero`` or ``reward_cap``; None if the group is to be trained.
        """
        finite = [float(reward) for reward in rewards if math.isfinite(reward)]
        group = object() if group is None else group
        return self._caps.verdict(group, source, finite, self._now)

    def _warn(self, report: Report, results: Sequence[Result]) -> None:
        """Warns of what is missing in a report, and of batches drawn ahead of it; each once."""
        found = missing_in(report, results, self._index.wanted, self._mixture.rule, self._name)
        ahead = self._batches.drawn - self._updates.count
        uses_updates = self._mixture.learns or self._curriculum is not None
        # verl takes several batches for a step where it fills one up; that is no accident.
        is_loop = self.reports_after_save is None and not self._updates.has_journal
        if ahead > 1 and is_loop and uses_updates:
            found["ahead"] = lines.drawn_ahead(self._name, ahead)
        for what in found.keys() - self._told:
            logger.warning("%s", found[what])
        self._told |= found.keys()

    def _apply(self, results: Sequence[Result]) -> None:
        self._updates.count += 1
        if self.account is not None:
            self.account.step_ended()
        changes = self._mixture.observe(results, self._updates.count, self._now)
        _log(self._change_lines(changes))

    # State

    def state_dict(self) -> dict[str, Any]:
        """The whole state, as plain data: what follows it is decided by it and the feedback."""
        return {
            "identity": self._identity,
            "mixture": self._mixture.state_dict(),
            **self._updates.state_dict(),
            **self._batches.state_dict(),
            "account": None if self.account is None else self.account.state_dict(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to the state that ``state_dict`` gave, and take in what the journal has beyond it.

        Raises:
            CheckpointError: The state is of another data set or configuration, or is no state.
        """
        batches, updates = copy.copy(self._batches), copy.deepcopy(self._updates)
        account = None if self.account is None else self._new_account()
        try:
            check_fit(state_dict["identity"], self._identity)
            updates.load_state_dict(state_dict)
            batches.load_state_dict(state_dict)
            saved = state_dict.get("account")
            if account is not None and saved is not None:
                account.load_state_dict(saved)
            self._mixture.load_state_dict(state_dict["mixture"])
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"[{self._name}] this is no state of it: {error!r}") from error
        self._updates = updates
        self._use(account, batches)
        updates.catch_up(batches.finished, self.reports_after_save, self._mixture.learns)
        self._take_late()

    def _take_late(self) -> None:
        """Takes in the updates of the journal that came before the next draw."""
        # A batch of which some rows are still to come has not been trained.
        for results in self._updates.late(self._batches.finished):
            self._apply(results)

    def get_stats(self) -> dict[str, float]:
        """Figures for a tracker: weights (shares), rewards, updates, and what is open."""
        stats = stats_of(self._mixture, self._caps, self._now)
        if self._curriculum is not None:
            stats |= level_stats(self._curriculum, self._now)
        if self.account is not None:
            stats |= self.account.stats()
        return {**stats, "updates": self._updates.count, "batches": self._batches.drawn}

    # The log

    def _start_lines(self) -> Lines:
        said = lines.start(self._name, self.config, self._rows, self._mixture.shares(0))
        if self.reports_after_save and self._mixture.learns and not self._updates.has_journal:
            said += lines.no_journal(self._name)
        if self._curriculum is not None:
            own = self.config.complexity_source
            said += lines.curriculum_start(self._name, own, self._curriculum)
        return said

    def _change_lines(self, changes: Changes) -> Lines:
        """What there is to say after an update."""
        name, update, rule = self._name, self._updates.count, self._mixture.rule
        said: Lines = []
        if isinstance(rule, AdaptiveWeights) and changes.adapted:
            said += lines.adaptation(name, update, rule.emas, self._mixture.shares(self._now))
        if isinstance(self._curriculum, TimeCurriculum):
            said += lines.time_progress(name, self._curriculum, self._now)
        elif self._curriculum is not None and self.config.complexity_source in changes.opened:
            said += lines.level_up(name, self._curriculum, update)
        return said


class TimeCurriculumSampler(MultiSourceSampler):
    """Starts with the easiest rows of one source and opens the others in a straight line."""

    curriculum_type = TimeCurriculum


class RewardCurriculumSampler(MultiSourceSampler):
    """Opens harder rows of one source when the average reward is good enough."""

    curriculum_type = RewardCurriculum


# The names they had before.
CurriculumMultiSourceSampler = TimeCurriculumSampler
RewardGatedCurriculumSampler = RewardCurriculumSampler


def _log(said: Lines) -> None:
    for line in said:
        logger.info("%s", line)
