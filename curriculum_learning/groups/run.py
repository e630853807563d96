"""A run: everything between a request for groups and the reports on them. No lock, no files."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from curriculum_learning.config.numbers import whole_number
from curriculum_learning.config.plan import DataSourcePlan, SourcePlan
from curriculum_learning.curricula.base import SourceRows
from curriculum_learning.curricula.statistics import RowStatistics
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.groups.buffers import BufferFilter
from curriculum_learning.groups.circulation import Circulation
from curriculum_learning.groups.fates import DynamicFilter, Outcome
from curriculum_learning.groups.feedback import Feedback
from curriculum_learning.groups.fitting import FittingSource
from curriculum_learning.groups.fresh import FreshGroups
from curriculum_learning.groups.handed import HandedOut
from curriculum_learning.groups.maker import GroupMaker
from curriculum_learning.groups.replacements import Replacements
from curriculum_learning.groups.reward_caps import RewardCaps
from curriculum_learning.mixing.clock import RolloutClock
from curriculum_learning.mixing.endless import EndlessSource
from curriculum_learning.mixing.focused import curated_source
from curriculum_learning.mixing.mixture import Mixture
from curriculum_learning.mixing.source import RowSource, Source
from curriculum_learning.prompts.prompts import Prompts
from curriculum_learning.samples.ids import group_id, in_lists
from curriculum_learning.samples.sample import Group, flatten
from curriculum_learning.samples.tags import EPOCH_KEY, ROW_KEY, SOURCE_KEY

logger = logging.getLogger(__name__)


class Report(NamedTuple):
    """What an engine tells about groups that it was given."""

    samples: Sequence[Any]
    """Flat or in groups."""
    fate: str
    """``trained``, ``dropped`` or ``finished``; the last one settles nothing."""
    rollout_id: int | None = None
    """The rollout that this report ends, if it ends one."""
    is_all: bool = False
    """These are all groups that the rollout finished, each a list of samples."""
    outcome: Outcome | None = None
    """The other groups of the rollout that ends, where a client has decided on them."""

    @classmethod
    def checked(cls, samples: Any, fate: str, rollout_id: int | None) -> Report:
        """Returns what ``observe`` is told, samples in any iterables; raises ConfigurationError."""
        if fate not in ("trained", "finished", "dropped"):
            raise ConfigurationError(
                f"observe: fate is {fate!r}; it must be 'trained', 'finished' or 'dropped'",
                key="fate",
                value=fate,
            )
        if rollout_id is not None:
            rollout_id = whole_number(rollout_id, "observe", "rollout_id")
        return cls(in_lists(samples), fate, rollout_id)

    @property
    def ends_rollout(self) -> bool:
        """Whether the schedules move on to the next rollout."""
        return self.fate == "trained" and self.rollout_id is not None


class Run:
    """Serves groups and learns from the reports on them.

    Not thread-safe: its owner locks.

    Args:
        config: The plan of the run.
        prompts: The prompts by source; empty where the engine has prompts of its own.
        sample_type: The class of the samples.
        buffer_filter: A user's filter of waiting groups, or None.
        dynamic_filter: The engine's filter of finished groups, or None.
        rank: Of the ranks that share the sequence, see ``FreshGroups``.
        world_size: Their number.
    """

    def __init__(
        self,
        config: DataSourcePlan,
        prompts: Mapping[str, Prompts],
        sample_type: type[Any],
        buffer_filter: BufferFilter | None,
        dynamic_filter: DynamicFilter | None,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.config = config
        self.mixture = _mixture(config, prompts) if config.sources else None
        maker = GroupMaker(sample_type, config.n_samples_per_prompt, prompts, self.mixture)
        self.groups = Circulation(config, maker, buffer_filter, dynamic_filter)
        clock = RolloutClock(
            config.rollout_batch_size, logged=config.accounting, weights_vary=config.weights_vary
        )
        self.fresh = FreshGroups(
            self.mixture, maker, clock, self._new_replacements(), rank=rank, world_size=world_size
        )
        self.feedback = self._new_feedback()
        self.caps = RewardCaps({source.name: source.reward_cap for source in config.sources})
        self._handed_out: HandedOut | None = None
        self._warned = False

    @property
    def clock(self) -> RolloutClock:
        """Tells the rollout step."""
        return self.fresh.clock

    @property
    def step(self) -> int:
        """The rollout step at which the next group is drawn."""
        return self.fresh.step()

    def _new_replacements(self) -> Replacements | None:
        if self.mixture is None or self.config.mixture_target != "trained":
            return None
        return Replacements(self.mixture.names, self.config.max_oversampling)

    def _new_feedback(self) -> Feedback | None:
        learns = self.mixture is not None and self.mixture.learns
        return Feedback(self.config.reward_key) if learns else None

    # Serving

    def begin_rollout(self) -> None:
        """Closes the last rollout where no log does."""
        self.groups.begin_rollout()
        if not self.groups.logs:
            self._learn(self.step)

    def serve(self, count: int) -> list[Group]:
        """Serves waiting groups, then fresh ones, ``count`` in all; all of them or none.

        Raises:
            DataError: A row cannot be read.
            GroupError: The buffer filter broke its contract.
        """
        step = self.step
        self._warn_of_missing_log(step)
        if len(self.groups.buffers):
            groups = self._serve_waiting_first(count, step)
        else:
            groups = self.fresh.draw(count, self.groups.ledger)
        self.groups.ledger.presume(step, self.config.max_in_flight_rollouts)
        if self._handed_out is not None:
            self._handed_out.add(groups)
        return groups

    def _serve_waiting_first(self, count: int, step: int) -> list[Group]:
        taken = self.groups.take_waiting(count, step)
        try:
            fresh = self.fresh.draw(count - len(taken.served), self.groups.ledger)
        except BaseException:
            self.groups.restore(taken)
            raise
        return [*self.groups.hand_out(taken, step), *fresh]

    def _warn_of_missing_log(self, step: int) -> None:
        if step > 0 and not (self._warned or self.groups.logs) and self.fresh.replacements:
            self._warned = True
            logger.warning(
                "mixture_target is 'trained', but nothing reports which groups are trained: lost "
                "groups are replaced only when they are presumed dropped. Set "
                "custom_rollout_log_function_path, or mixture_target: served"
            )

    def tell_apart(self) -> None:
        """Remembers the samples that are served from now on, for ``recognises``."""
        self._handed_out = self._handed_out or HandedOut()

    def recognises(self, sample: Any) -> int:
        """Says how surely a sample was served here.

        Returns:
            2 for the very object, 1 for one of a group that has not ended, else 0.
        """
        if self._handed_out is not None and sample in self._handed_out:
            return 2
        group_index = group_id(sample)
        if group_index is None:
            return 0
        served = self.groups.ledger.served(group_index)
        if served is None:
            return int(group_index in self.groups.buffers)
        metadata = getattr(sample, "metadata", None)
        tags = metadata if isinstance(metadata, dict) else {}
        place = served.source, served.row, served.epoch
        keys = (SOURCE_KEY, ROW_KEY, EPOCH_KEY)
        return int(place == tuple(tags.get(key, at) for key, at in zip(keys, place, strict=True)))

    # Learning

    def report(self, report: Report) -> None:
        """Takes in what happened to groups; if it raises, nothing has changed.

        Raises:
            DataError: The row of a group that is served again cannot be read.
        """
        ledger, ids, step = self.groups.ledger, _ids(report.samples), self.step
        # First everything that can fail: reading rewards, the user's filter, reading rows.
        feedback = self.feedback
        results = {} if feedback is None else feedback.read(report.samples, ledger)
        end = self.groups.rollout_end(ids, report.outcome) if report.ends_rollout else None
        if feedback is not None:
            feedback.take(results, ledger)
        if report.is_all:
            self.groups.finished(report.samples)
        elif report.fate != "finished":
            self.groups.settle(ids, report.fate)
        if end is None or report.rollout_id is None:
            return
        self.groups.end_rollout(end)
        self.caps.forget()
        if self.fresh.replacements is not None:
            self.fresh.replacements.rollout_logged(ledger.counts["trained"].total())
        self.clock.rollout_logged(report.rollout_id)
        self._learn(step)

    def _learn(self, step: int) -> None:
        """Hands the results of the ended rollout to the source rule and the curricula."""
        if self.feedback is None or self.mixture is None or not (results := self.feedback.close()):
            return
        changes = self.mixture.observe(results, self.feedback.updates, step)
        if changes.opened:
            logger.info("more rows are open now of %s", ", ".join(map(repr, changes.opened)))

    # State

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        feedback = self.feedback
        return {
            **self.positions(),
            "mixture": {} if self.mixture is None else self.mixture.state_dict(),
            "feedback": None if feedback is None else feedback.state_dict(),
            **self.groups.state_dict(),
        }

    def positions(self) -> dict[str, Any]:
        """Returns the part of ``state_dict`` that draws change and that lists no groups or rows."""
        replacements = self.fresh.replacements
        return {
            "mixture": {} if self.mixture is None else self.mixture.positions(),
            "replacements": None if replacements is None else replacements.state_dict(),
            "clock": self.clock.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], *, held: bool) -> None:
        """Loads what ``state_dict`` returned; if it raises, nothing has changed.

        Args:
            state: The state, fitted to the configuration.
            held: As for ``Circulation.restored``.
        """
        groups = self.groups.restored(state, held=held)
        fresh, feedback = copy.copy(self.fresh), self._new_feedback()
        fresh.clock = copy.copy(self.clock)
        fresh.clock.load_state_dict(state["clock"])
        if feedback is not None and state["feedback"] is not None:
            feedback.load_state_dict(state["feedback"])
        fresh.replacements = self._new_replacements()
        if fresh.replacements is not None and state["replacements"] is not None:
            fresh.replacements.load_state_dict(state["replacements"])
        elif fresh.replacements is not None:  # the target was another one: nothing is owed
            fresh.replacements.forgive(groups.ledger)
        if self.mixture is not None:  # the last step that can fail
            self.mixture.load_state_dict(state["mixture"])
        self.groups, self.fresh, self.feedback = groups, fresh, feedback
        self.caps.forget()


def _ids(samples: Sequence[Any]) -> set[int]:
    return {index for sample in flatten(samples) if (index := group_id(sample)) is not None}


def _mixture(config: DataSourcePlan, prompts: Mapping[str, Prompts]) -> Mixture:
    rows = {source.name: len(prompts[source.name]) for source in config.sources}
    return Mixture(
        [_source(source, prompts[source.name], config) for source in config.sources],
        {source.name: source.weight for source in config.sources},
        None if config.rule is None else config.rule.make(rows),
    )


def _source(source: SourcePlan, prompts: Prompts, config: DataSourcePlan) -> RowSource:
    rows = _walked(source, prompts, config)
    if not prompts.is_endless:
        return rows
    return FittingSource(rows, prompts) if source.max_prompt_len else EndlessSource(rows)


def _walked(source: SourcePlan, prompts: Prompts, config: DataSourcePlan) -> RowSource:
    recipe, size = source.curriculum, len(prompts)
    if recipe is None:
        return Source(source.name, size, seed=config.seed, shuffle=config.shuffle)
    scores = prompts.scores(recipe.complexity_key) if recipe.curriculum.needs_scores else None
    priors = None if recipe.prior_key is None else prompts.priors(recipe.prior_key)
    statistics = RowStatistics(size, fade=recipe.fade, priors=priors)
    rows = SourceRows(source.name, size, config.seed, scores, statistics)
    return curated_source(rows, recipe.make(rows), shuffle=config.shuffle)
