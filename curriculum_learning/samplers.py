"""Samplers of several sources: a face for verl's sampler hook and for any DataLoader."""

from __future__ import annotations

import copy
import logging
import operator
import secrets
from collections.abc import Iterator, Mapping, Sequence, Sized
from pathlib import Path
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
    digest_of,
    fingerprints,
    make_mixture,
)
from curriculum_learning.engines.verl import REPORTS_AFTER_SAVE, SamplerBase, show_log
from curriculum_learning.errors import CheckpointError
from curriculum_learning.groups.row_account import RowAccount
from curriculum_learning.mixing.batches import Batches
from curriculum_learning.mixing.mixture import Changes, Mixture
from curriculum_learning.prompts.columns import read_sources
from curriculum_learning.state.compare import check_fit
from curriculum_learning.state.journal import Entry, Journal

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

    Raises:
        ConfigurationError: Keys are unknown, missing or out of range; or sources and weights do
            not match.
        DataError: Rows have no source or, where they need one, no complexity score.
    """

    curriculum_type: type[TimeCurriculum | RewardCurriculum] | None = None
    """Its keys are keys of the sampler."""

    reports_after_save: bool | None = REPORTS_AFTER_SAVE
    """Whether the trainer saves its checkpoint before it reports the rewards of the step. None:
    that is not known, and then a journal is taken to say yes."""

    def __init__(self, data_source: Sized, data_config: Any) -> None:
        show_log()
        config = self.config = read_sampler_config(data_config, self.curriculum_type)
        self._name = type(self).__name__
        logger.info("[%s] running from %s", self._name, __file__)
        rows = read_sources(data_source)
        weights = config.weights({name: len(at) for name, at in rows.items()})
        self._rows = {name: rows[name] for name in weights}
        self._mixture = make_mixture(data_source, self._rows, weights, config)
        curricula = {source.name: source.curriculum for source in self._mixture.sources}
        self._curriculum: Any = config.curriculum and curricula[config.complexity_source]
        """The curriculum of ``complexity_source``, in the samplers that have one."""
        self._index = RowIndex(data_source, self._rows, curricula)
        self._batches = Batches(self._mixture, self._rows, size=config.batch_size, seed=config.seed)
        self.account: RowAccount | None = None
        """The account of the rows given out, for engines that report how each one ended."""
        self._journal = None if config.journal is None else Journal(Path(config.journal))
        self._run = secrets.token_hex(8)
        """Tells this run's entries in a journal from those of others."""
        self._updates = 0
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
        """Rows of a pass: those of the sources of positive weight, in whole batches."""
        return self._batches.length

    def __iter__(self) -> Iterator[int]:
        """The rows of a pass; after a resume, of the rest of the pass that was interrupted.

        Nothing happens before the first row is asked for: loaders make iterators that they drop.
        """
        self._batches.begin_pass()
        while (row := self._batches.next_row(self._now)) is not None:
            if self.account is not None:
                self.account.open(row, self._now)
            yield row

    def draw(self, step: int) -> list[int]:
        """Returns the rows of the next batch, for an engine that says its training step.

        Schedules and curricula follow ``step`` from now on. Do not iterate as well.
        """
        self._step = step
        return self._batches.draw(step)

    @property
    def _now(self) -> int:
        return self._updates if self._step is None else self._step

    def keep_account(self) -> RowAccount:
        """Keeps account of the rows given out from now on; the engine says how each one ended.

        Rows are numbered in the order in which the sampler gives them out. With ``mixture_target:
        trained`` those lost are replaced by others of the same source.
        """
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
        report = Report(sources, rewards, rows, groups)
        results = results_of(report, self._rows, self._now, self._name)
        self._warn(report, results)
        if self._journal is not None:
            self._journal.append(Entry(self._run, self._updates + 1, results))
        self._apply(results)

    def _warn(self, report: Report, results: Sequence[Result]) -> None:
        """Warns of what is missing in a report, and of batches drawn ahead of it; each once."""
        found = missing_in(report, results, self._index.wanted, self._mixture.rule, self._name)
        ahead = self._batches.drawn - self._updates
        uses_updates = self._mixture.learns or self._curriculum is not None
        # verl takes several batches for a step where it fills one up; that is no accident.
        if ahead > 1 and self.reports_after_save is None and uses_updates:
            found["ahead"] = lines.drawn_ahead(self._name, ahead)
        for what in found.keys() - self._told:
            logger.warning("%s", found[what])
        self._told |= found.keys()

    def _apply(self, results: Sequence[Result]) -> None:
        self._updates += 1
        if self.account is not None:
            self.account.step_ended()
        changes = self._mixture.observe(results, self._updates, self._now)
        _log(self._change_lines(changes))

    # State

    def state_dict(self) -> dict[str, Any]:
        """The whole state, as plain data: what follows it is decided by it and the feedback."""
        return {
            "identity": self._identity(),
            "mixture": self._mixture.state_dict(),
            "updates": self._updates,
            **self._batches.state_dict(),
            "account": None if self.account is None else self.account.state_dict(),
            "run": self._run,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to the state that ``state_dict`` gave, and take in what the journal has beyond it.

        Raises:
            CheckpointError: The state is of another data set or configuration, or is no state.
        """
        batches = copy.copy(self._batches)
        account = None if self.account is None else self._new_account()
        try:
            check_fit(state_dict["identity"], self._identity())
            updates, run = operator.index(state_dict["updates"]), str(state_dict["run"])
            batches.load_state_dict(state_dict)
            saved = state_dict.get("account")
            if account is not None and saved is not None:
                account.load_state_dict(saved)
            self._mixture.load_state_dict(state_dict["mixture"])
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"[{self._name}] this is no state of it: {error!r}") from error
        self._updates, self._run = updates, run
        self._use(account, batches)
        self._catch_up()

    def _catch_up(self) -> None:
        """Take in the update that a trainer reports only after it has saved: one at most."""
        # A batch of which some rows are still to come has not been trained.
        missing = self._batches.finished - self._updates
        late = self.reports_after_save
        if missing < 1 or not (self._journal is not None if late is None else late):
            return
        update = self._updates + 1
        entry = None if self._journal is None else self._journal.find(self._run, update)
        if entry is None and self._mixture.learns:
            logger.warning("%s", lines.lost_rewards(self._name, update, self._journal is not None))
        if entry is not None:
            self._apply([Result(*result) for result in entry.results])
        elif missing == 1:
            # Counted without its rewards; where more are missing nobody reports after each batch.
            self._apply([])

    def _identity(self) -> dict[str, Any]:
        identity = {
            "sources": fingerprints(self._mixture.sources, self._rows, self.config),
            "sampler.class_name": self._name,
            "sampler.seed": self.config.seed,
            "sampler.adaptive_weights": self.config.adaptive_weights,
            "train_batch_size": self.config.batch_size,
        }
        if self._curriculum is not None:
            identity["complexity_scores"] = digest_of(self._curriculum.rank)
        return identity

    def get_stats(self) -> dict[str, float]:
        """Figures for a tracker: weights (shares), rewards, updates, and what is open."""
        stats = {f"weight/{n}": share for n, share in self._mixture.shares(self._now).items()}
        of_rule = {} if self._mixture.rule is None else self._mixture.rule.metrics()
        for source in self._mixture.sources:
            metrics = {**of_rule.get(source.name, {}), **source.metrics(self._now)}
            stats[f"epoch/{source.name}"] = source.epoch
            stats |= {f"{key}/{source.name}": value for key, value in metrics.items()}
        if self.account is not None:
            stats |= self.account.stats()
        return {**stats, "updates": self._updates, "batches": self._batches.drawn}

    # The log

    def _start_lines(self) -> Lines:
        sizes = {name: len(rows) for name, rows in self._rows.items()}
        said = lines.start(self._name, self.config, sizes, self._mixture.shares(0))
        if self.reports_after_save and self._mixture.learns and self._journal is None:
            said += lines.no_journal(self._name)
        return said

    def _change_lines(self, changes: Changes) -> Lines:
        """What there is to say after an update."""
        adaptive = self._mixture.rule
        if not isinstance(adaptive, AdaptiveWeights) or not changes.adapted:
            return []
        shares = self._mixture.shares(self._now)
        return lines.adaptation(self._name, self._updates, adaptive.emas, shares)


class TimeCurriculumSampler(MultiSourceSampler):
    """Starts with the easiest rows of one source and opens the others in a straight line."""

    curriculum_type = TimeCurriculum
    _curriculum: TimeCurriculum

    def get_stats(self) -> dict[str, float]:
        """See ``MultiSourceSampler``; adds the open percentile."""
        percentile = self._curriculum.percentile(self._now)
        return {**super().get_stats(), "complexity_percentile": percentile}

    def _start_lines(self) -> Lines:
        return super()._start_lines() + lines.time_start(
            self._name, self.config.complexity_source, self._curriculum
        )

    def _change_lines(self, changes: Changes) -> Lines:
        progress = lines.time_progress(self._name, self._curriculum, self._now)
        return super()._change_lines(changes) + progress


class RewardCurriculumSampler(MultiSourceSampler):
    """Opens harder rows of one source when the average reward is good enough."""

    curriculum_type = RewardCurriculum
    _curriculum: RewardCurriculum

    def _identity(self) -> dict[str, Any]:
        return {
            **super()._identity(),
            "sampler.initial_complexity_percentile": self._curriculum.percentiles[0],
            "sampler.final_complexity_percentile": self._curriculum.percentiles[-1],
            "sampler.num_intervals": len(self._curriculum.counts) - 1,
            "sampler.focus_new_intervals": self._curriculum.focus_new_intervals,
        }

    def get_stats(self) -> dict[str, float]:
        """See ``MultiSourceSampler``; adds the level and what it depends on."""
        curriculum = self._curriculum
        stats = {
            **super().get_stats(),
            "level": curriculum.level,
            "complexity_percentile": curriculum.percentiles[curriculum.level],
        }
        if curriculum.ema.value is not None:
            stats["curriculum_reward_ema"] = curriculum.ema.value
        return stats

    def _start_lines(self) -> Lines:
        return super()._start_lines() + lines.reward_start(
            self._name, self.config.complexity_source, self._curriculum
        )

    def _change_lines(self, changes: Changes) -> Lines:
        said = super()._change_lines(changes)
        if self.config.complexity_source in changes.opened:
            said += lines.level_up(self._name, self._curriculum, self._updates)
        return said


# The names they had before.
CurriculumMultiSourceSampler = TimeCurriculumSampler
RewardGatedCurriculumSampler = RewardCurriculumSampler


def _log(said: Lines) -> None:
    for line in said:
        logger.info("%s", line)
