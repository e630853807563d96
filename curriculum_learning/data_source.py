"""The face for slime, and for any loop that asks for groups of samples."""

from __future__ import annotations

import copy
import logging
import numbers
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from curriculum_learning.config.curricula import RewardConfig
from curriculum_learning.config.data_source import Config, SourceConfig, read_config
from curriculum_learning.engines.registry import Registry
from curriculum_learning.errors import (
    CheckpointError,
    ConfigurationError,
    CurriculumLearningError,
)
from curriculum_learning.groups.circulation import Circulation
from curriculum_learning.groups.draws import Draws
from curriculum_learning.groups.feedback import Feedback
from curriculum_learning.groups.in_flight import NO_SOURCE
from curriculum_learning.groups.maker import GroupMaker
from curriculum_learning.groups.replacements import Replacements
from curriculum_learning.groups.returns import encode_groups
from curriculum_learning.groups.reward_caps import RewardCaps
from curriculum_learning.groups.status import source_counts, source_status
from curriculum_learning.mixing.clock import RolloutClock
from curriculum_learning.mixing.mixture import Mixture
from curriculum_learning.mixing.source import RowSource, Source
from curriculum_learning.prompts.prompts import Prompts, open_prompts
from curriculum_learning.samples.codec import CannotStoreError, decode, encode
from curriculum_learning.samples.rewards import group_rewards
from curriculum_learning.samples.sample import (
    Group,
    flatten,
    sample_class,
)
from curriculum_learning.state.files import Autosave, find_state, save_state
from curriculum_learning.state.resume import apply, compare, refuse, table
from curriculum_learning.state.snapshots import Snapshots

logger = logging.getLogger(__name__)

Fate = Literal["trained", "finished", "dropped"]


class MultipleWeightedRolloutDataSourceWithBuffer:
    """Groups of samples from several prompt sources, mixed by weights that follow the rollouts.

    Implements slime's data source protocol; ``--data-source-path`` names it. All methods may be
    called from any thread.

    Args:
        args: The engine's arguments: a namespace, a mapping, or an object that has some of them.
            ``docs/slime.md`` lists what is read.

    Raises:
        ConfigurationError: A value cannot be used, or a weight schedule fails during the run.
        DataError: A prompt file cannot be read, or one of its rows lacks what is configured.
    """

    def __init__(self, args: Any) -> None:
        self.args = args
        config = self.config = self._read_config(args)
        self._prompts = open_prompts(config)
        sample_type = sample_class()
        names = list(self._prompts) or [NO_SOURCE]
        # An engine with its own prompts still gets ids from us, and buffers what it returns.
        mixture: Mixture | None = None
        if config.sources:
            mixture = Mixture(
                [_source(source, self._prompts[source.name], config) for source in config.sources],
                {source.name: source.weight for source in config.sources},
                None if config.adaptive is None else config.adaptive.adaptive(names),
            )
        self._mixture = mixture
        choose, refuses = config.buffer_filter, config.dynamic_filter
        self._groups = Circulation(
            names,
            GroupMaker(
                sample_type,
                config.n_samples_per_prompt,
                self._prompts,
                lambda source, step: mixture.shares(step)[source] if mixture is not None else 1.0,
            ),
            size=config.n_samples_per_prompt,
            sample_type=sample_type,
            tagged=bool(self._prompts),
            accounting=config.accounting,
            choose=choose and (lambda groups, room: choose(args, None, groups, room)),
            refuses=refuses and (lambda group: _refuses(refuses, args, group)),
            surplus=config.surplus,
            max_staleness=config.max_staleness,
            on_stale=config.on_stale,
        )
        clock = RolloutClock(
            config.rollout_batch_size,
            slime_rollout,
            logged=config.accounting,
            weights_vary=config.weights_vary,
        )
        self._draws = self._new_draws(mixture, clock, self._new_replacements())
        self._feedback = self._new_feedback()
        self._caps = RewardCaps({source.name: source.reward_cap for source in config.sources})
        self._metadata: dict[str, Any] = {}
        autosaves = config.autosave and mixture is not None
        self._snapshots = Snapshots(Autosave(config.save) if config.save and autosaves else None)
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._swallowed: Exception | None = None
        self._closed = False
        self._told: set[str] = set()
        self._fresh = self.state_dict()
        registry.register(args, self)
        for name, prompts in self._prompts.items():
            logger.info("source '%s': %d prompts of %s", name, len(prompts), prompts.config.path)

    # What a part of a data source does otherwise

    def _read_config(self, args: Any) -> Config:
        return read_config(args)

    def _new_draws(
        self, mixture: Mixture | None, clock: RolloutClock, replacements: Replacements | None
    ) -> Draws:
        return Draws(mixture, clock, replacements)

    def _find_state(self, rollout_id: int | None) -> dict[str, Any] | None:
        return find_state(self.config.load, rollout_id, self.config.on_missing_state)

    # Serving

    def get_samples(self, num_samples: int) -> list[Group]:
        """The next ``num_samples`` groups, each a list of ``n_samples_per_prompt`` samples.

        Returned groups that wait in a buffer come first, oldest first; then fresh rows, their
        sources interleaved in exact proportion to the weights in force. If it raises, nothing
        has been taken.

        Raises:
            DataError: A row cannot be read.
            GroupError: The buffer filter broke its contract.
        """
        if not _is_whole(num_samples):
            raise ConfigurationError(
                f"get_samples: num_samples is {num_samples!r}; it must be a whole number >= 0",
                key="num_samples",
                value=num_samples,
            )
        with self._lock:
            try:
                return self._serve(int(num_samples))
            except Exception as error:
                self._remember(error)
                raise

    def _serve(self, count: int) -> list[Group]:
        self._refuse_closed()
        self._groups.begin_rollout()
        if not self._groups.logs:
            self._learn()
        self._snapshots.begin_rollout(self.state_dict)
        self._draws.clock.ask()
        step = self._draws.step()
        if step > 0 and self._draws.replacements is not None and not self._groups.logs:
            self._tell_once(
                "mixture_target is 'trained', but nothing tells which groups are trained: what is "
                "lost is replaced only when it is no longer waited for. Set "
                "custom_rollout_log_function_path, or mixture_target: served"
            )
        groups = self._groups.serve_waiting(count, step, self._fresh_groups)
        self._groups.ledger.presume(step, self.config.max_in_flight_rollouts)
        return groups

    def _fresh_groups(self, count: int) -> list[Group]:
        return self._draws.groups(count, self._groups.ledger, self._groups.make)

    def add_samples(self, samples: Sequence[Group]) -> None:
        """Give back groups that are not finished; they are served again first.

        A group is ``n_samples_per_prompt`` samples, or after a fan-out rollout lists of samples
        in their place. If it raises, nothing of the call has been taken in.

        Raises:
            GroupError: A group was never served, is not in flight, has another length, mixes or
                lacks source tags, or holds what a checkpoint cannot.
        """
        encoded = encode_groups(samples)
        with self._lock:
            try:
                self._refuse_closed()
                self._groups.give_back(samples, encoded)
            except Exception as error:
                self._remember(error)
                raise
            self._snapshots.changed()

    def give_up(self, group_indices: Sequence[int]) -> int:
        """Groups in flight of which the holder is gone are served again, before all others.

        They keep their ids, and what they had when they last came back.

        Returns:
            How many of them were in flight; others are left alone.

        Raises:
            DataError: A row cannot be read; nothing has changed then.
        """
        with self._lock:
            count = self._groups.give_up(group_indices)
            self._snapshots.changed()
            return count

    # Feedback

    def observe(self, samples: Any, *, rollout_id: int | None = None, fate: Fate) -> None:
        """Tell what has become of samples.

        Args:
            samples: Samples, flat or in groups; those of one group share their fate.
            rollout_id: The rollout that ended with this, where it did: with ``trained`` the
                schedules move on to the next one.
            fate: ``trained`` and ``dropped`` settle the groups; ``finished`` says only that they
                were generated and scored.
        """
        if fate not in ("trained", "finished", "dropped"):
            raise ConfigurationError(
                f"observe: fate is {fate!r}; it must be 'trained', 'finished' or 'dropped'",
                key="fate",
                value=fate,
            )
        if rollout_id is not None:
            if not _is_whole(rollout_id):
                raise ConfigurationError(
                    f"observe: rollout_id is {rollout_id!r}; it must be a whole number >= 0",
                    key="rollout_id",
                    value=rollout_id,
                )
            rollout_id = int(rollout_id)
        with self._lock:
            self._snapshots.begin_rollout(self.state_dict, but=rollout_id)
            ids: set[Any] = {getattr(sample, "group_index", None) for sample in flatten(samples)}
            groups = {int(group_index) for group_index in ids if _is_whole(group_index)}
            self._take_rewards(samples)
            if fate != "finished":
                self._groups.settle(groups, fate)
                self._snapshots.changed()
            if fate == "trained" and rollout_id is not None:
                self._groups.rollout_logged()
                self._learn()
                self._caps.forget()
                if self._draws.replacements is not None:
                    trained = self._groups.ledger.counts["trained"].total()
                    self._draws.replacements.rollout_logged(trained)
                self._draws.clock.rollout_logged(rollout_id)
                self._snapshots.logged(rollout_id, self.state_dict)

    def _new_replacements(self) -> Replacements | None:
        if self._mixture is None or self.config.mixture_target != "trained":
            return None
        return Replacements(self._mixture.names, self.config.max_oversampling)

    def _new_feedback(self) -> Feedback | None:
        by_reward = any(isinstance(s.curriculum, RewardConfig) for s in self.config.sources)
        learns = by_reward or self.config.adaptive is not None
        return Feedback(self.config.reward_key) if learns else None

    def _take_rewards(self, samples: Any) -> None:
        if self._feedback is not None:
            self._feedback.add(samples, self._groups.ledger.mark_rewarded)

    def _learn(self) -> None:
        """A rollout is over: what its rewards were moves adaptive weights and curricula."""
        if self._feedback is None or self._mixture is None or not (means := self._feedback.close()):
            return
        changes = self._mixture.observe(means, self._feedback.updates, self._draws.step())
        if changes.opened:
            logger.info("more rows are open now of %s", ", ".join(map(repr, changes.opened)))

    def reward_cap_verdict(self, samples: Sequence[Any], source: str) -> str | None:
        """Why the reward cap of ``source`` drops a group: ``all_zero``, ``reward_cap``, or None.

        Args:
            samples: The samples of the group.
            source: Its source.
        """
        rewards = group_rewards(samples, self.config.reward_key)
        group_index = getattr(samples[0], "group_index", None)
        with self._lock:
            return self._caps.verdict(group_index, source, rewards, self.rollout_step)

    def rollout_finished(self, groups: Sequence[Group]) -> None:
        """Show all groups that were finished in a rollout, before it is logged.

        With it every group of the rollout is accounted for when the rollout is logged: a finished
        one that was not trained is dropped if the engine's filter refuses it, else it is surplus;
        one that was neither finished nor given back was discarded, and its prompt is served again.
        If rollouts are never logged, a finished group counts as done with. Synchronous rollouts
        only: in others, groups may rightly be in flight when one ends.
        """
        with self._lock:
            self._snapshots.begin_rollout(self.state_dict)
            self._take_rewards(groups)
            self._groups.finished(list(groups))

    @property
    def rollout_step(self) -> int:
        """The step at which the weights are evaluated now."""
        with self._lock:
            self._draws.clock.ask()
            return self._draws.step()

    def set_rollout_step(self, step: int) -> None:
        """Set the step, a whole number >= 0, until the next rollout is logged."""
        if not _is_whole(step):
            raise ConfigurationError(
                f"set_rollout_step: step is {step!r}; it must be a whole number >= 0",
                key="rollout_step",
                value=step,
            )
        with self._lock:
            self._draws.clock.override(int(step))

    def rollout_begun(self, rollout: int) -> None:
        """Tell which rollout the engine is in, where it runs in another process."""
        with self._lock:
            self._draws.clock.begun(rollout)

    def source_status(self) -> dict[str, dict[str, float]]:
        """What is in force for each source at this moment; ``docs/slime.md`` lists it."""
        with self._lock:
            if self._mixture is None:
                return {}
            return source_status(self._mixture, self.rollout_step, self._groups, self._caps)

    def source_counts(self) -> dict[str, dict[str, float]]:
        """Groups of each source since the run began, by what has become of them."""
        with self._lock:
            if self._mixture is None:
                return {}
            return source_counts(self._mixture, self._groups, self._draws)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ConfigurationError("the data source is closed")

    def _remember(self, error: Exception) -> None:
        """An error on another thread than the main one may be swallowed by the engine."""
        if threading.current_thread() is not threading.main_thread():
            self._swallowed = self._swallowed or error  # the first one is the cause

    def raise_swallowed_error(self) -> None:
        """Raise again what an engine's worker thread was told and may have ignored."""
        error = self._swallowed
        if error is not None:
            raise CurriculumLearningError(
                f"the data source raised an error on a worker thread of the engine: {error}"
            ) from error

    # State

    def state_dict(self) -> dict[str, Any]:
        """The whole state at one moment, as plain data (numbers, text, bytes, lists, mappings)."""
        with self._lock:
            return {
                "identity": self._identity(),
                "mixture": {} if self._mixture is None else self._mixture.state_dict(),
                "replacements": _state_of(self._draws.replacements),
                "feedback": _state_of(self._feedback),
                "clock": self._draws.clock.state_dict(),
                **self._groups.state_dict(),
                "metadata": encode(self._metadata),
            }

    def load_state_dict(self, state: Mapping[str, Any], *, held: bool = False) -> None:
        """Go to the state that ``state_dict`` gave; sources are matched by name, in any order.

        Groups that were in flight then are served again first, with their ids; if the engine
        had never reported which groups it trained they are not, as it may have trained them.
        With ``held``, those who were given them are there still: they stay in flight.

        Raises:
            CheckpointError: The state is of other sources, rows, order or group size, or is no
                state; nothing has changed then.
        """
        with self._lock:
            now = self._identity()
            fit = compare(
                state.get("identity") if isinstance(state, Mapping) else None,
                now,
                self.config.renamed_from,
                self._grown_from,
            )
            refuse(fit.changes, self.config.on_source_change)
            try:
                adapted = apply(state, fit, now) if fit.notes or fit.resized else state
                self._restore(adapted, held)
            except CurriculumLearningError:
                raise
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                raise CheckpointError(f"this is no state of a data source: {error!r}") from error
            if adapted is not state:
                logger.warning("since the state was saved:\n%s", table(state, adapted, fit))

    def _identity(self) -> dict[str, Any]:
        """What decides which prompt a position means."""
        return {
            "sources": {
                source.name: {
                    **self._prompts[source.name].fingerprint,
                    "curriculum": _identity_of(source),
                }
                for source in self.config.sources
            },
            "rollout_seed": self.config.seed,
            "rollout_shuffle": self.config.shuffle,
            "n_samples_per_prompt": self.config.n_samples_per_prompt,
        }

    def _grown_from(self, name: str, saved: Mapping[str, Any]) -> str | None:
        source = next(source for source in self.config.sources if source.name == name)
        identity = _identity_of(source)
        if saved.get("curriculum") != identity:
            return "its curriculum is another"
        if identity is not None and identity["focus_new_intervals"]:
            return "the intervals of its curriculum have other rows"
        return self._prompts[name].grown_from(saved)

    def _restore(self, state: Mapping[str, Any], held: bool) -> None:
        groups = self._groups.restored(state, held=held)
        metadata = decode(state["metadata"])
        clock, feedback = copy.copy(self._draws.clock), self._new_feedback()
        clock.load_state_dict(state["clock"])
        if feedback is not None and state["feedback"] is not None:
            feedback.load_state_dict(state["feedback"])
        replacements = self._new_replacements()
        if replacements is not None and state["replacements"] is not None:
            replacements.load_state_dict(state["replacements"])
        elif replacements is not None:  # what was served was the target then: nothing is owed
            replacements.forgive(groups.ledger)
        # The last thing that can fail, and it changes nothing then; so does all before it.
        if self._mixture is not None:
            self._mixture.load_state_dict(state["mixture"])
        self._groups, self._metadata, self._feedback = groups, metadata, feedback
        self._draws = self._new_draws(self._mixture, clock, replacements)
        self._caps.forget()
        self._snapshots.forget()
        self._swallowed = None

    def save(self, rollout_id: int) -> None:
        """Write the state at the end of a rollout to ``{save}/rollout/``.

        A rollout ends when it has been logged and the next one begins, with a request or a
        report of its own. The engine may have got that far already: what was drawn for the next
        rollout is drawn again on resume. A rollout that was not logged is saved as it is now.

        Raises:
            CheckpointError: The file cannot be written; earlier states are untouched.
            CurriculumLearningError: An error on a worker thread of the engine was swallowed.
        """
        self.raise_swallowed_error()
        if self._mixture is None:
            return
        if not _is_whole(rollout_id):
            raise ConfigurationError(
                f"save: rollout_id is {rollout_id!r}; it must be a whole number >= 0",
                key="rollout_id",
                value=rollout_id,
            )
        if self.config.save is None:
            self._tell_once("save is not set: the state of the data source is not saved")
            return
        with self._writing:
            self._snapshots.finish_writing()  # of a state written twice the last one counts
            with self._lock:
                ended = self._snapshots.at_end_of(int(rollout_id), self.state_dict)
                state = {**ended, "metadata": encode(self._metadata)}
                if not self._groups.ledger.accounting:
                    self._tell_once(
                        "nothing has told which groups were trained: on a resume, those that were "
                        "in flight are not served again. Set custom_rollout_log_function_path and "
                        "rollout_all_samples_process_path as in docs/slime.md to have every group "
                        "accounted for"
                    )
            save_state(self.config.save, int(rollout_id), state)

    def _tell_once(self, warning: str) -> None:
        if warning not in self._told:
            self._told.add(warning)
            logger.warning(warning)

    def load(self, rollout_id: int | None = None) -> None:
        """Go to the state saved under ``rollout_id`` in ``{load}/rollout/`` (or ``{save}``).

        None is the state that was saved last, or a fresh start; -1 is a fresh start.

        Raises:
            CheckpointError: There is no such state, it is damaged or foreign, or it does not fit
                the configuration. With ``on_missing_state: restart`` a missing one is a warning.
        """
        if self._mixture is None:
            return
        self._refuse_closed()
        self._snapshots.finish_writing()  # so that it can be found
        if rollout_id is not None and rollout_id != -1:
            if not _is_whole(rollout_id):
                raise ConfigurationError(
                    f"load: rollout_id is {rollout_id!r}; it must be a whole number >= -1, or None",
                    key="rollout_id",
                    value=rollout_id,
                )
            rollout_id = int(rollout_id)
        resumes = rollout_id is not None and rollout_id >= 0
        if self.config.load is None and not resumes:
            return
        state = self._find_state(rollout_id)
        with self._lock:
            self.load_state_dict(self._fresh if state is None else state)
            if state is not None:
                rollout_id = state["rollout_id"]
                logger.info("the data source goes on at rollout step %d", self.rollout_step)
            elif rollout_id is not None and resumes:
                self._draws.clock.rollout_logged(rollout_id)
            if rollout_id is not None:
                self._snapshots.resumed_after(rollout_id)

    # The rest of slime's protocol

    def __len__(self) -> int:
        """Rows of all sources, those over the length limit left out."""
        return len(self._mixture) if self._mixture is not None else 0

    @property
    def dataset(self) -> Mixture | None:
        """Something whose length is the number of rows; None without prompts of our own."""
        return self._mixture

    def get_buffer_length(self) -> int:
        """Groups waiting in all buffers."""
        with self._lock:
            return len(self._groups.buffers)

    def get_metadata(self) -> dict[str, Any]:
        """A copy of what ``update_metadata`` has stored."""
        return dict(self._metadata)

    def update_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Store values with the state; they must be what a checkpoint can hold."""
        try:
            encode(dict(metadata))
        except CannotStoreError as error:
            raise ConfigurationError(
                f"update_metadata: {error}", key="metadata", value=metadata
            ) from None
        with self._lock:
            self._metadata.update(metadata)

    def close(self) -> None:
        """Release the prompt files and finish autosaves; asking for samples is an error then."""
        self._snapshots.finish_writing()
        with self._lock:
            self._closed = True
            for prompts in self._prompts.values():
                prompts.close()


registry: Registry[MultipleWeightedRolloutDataSourceWithBuffer] = Registry()


def find_data_source(args: Any) -> MultipleWeightedRolloutDataSourceWithBuffer | None:
    """The data source made last from this very ``args`` object in this process, or None."""
    return registry.find(args)


def _source(config: SourceConfig, prompts: Prompts, mix: Config) -> RowSource:
    if config.curriculum is None:
        return Source(config.name, len(prompts), seed=mix.seed, shuffle=mix.shuffle)
    scores = prompts.scores(config.complexity_key)
    if isinstance(config.curriculum, RewardConfig):
        opened = config.curriculum.curriculum(scores)
        return config.curriculum.source(config.name, opened, seed=mix.seed, shuffle=mix.shuffle)
    by_step = config.curriculum.curriculum(scores)
    return config.curriculum.source(config.name, by_step, seed=mix.seed, shuffle=mix.shuffle)


def _identity_of(source: SourceConfig) -> dict[str, Any] | None:
    """What decides which rows a level of its curriculum means; None where there are no levels."""
    if not isinstance(source.curriculum, RewardConfig):
        return None
    keys = (
        "initial_complexity_percentile",
        "final_complexity_percentile",
        "num_intervals",
        "focus_new_intervals",
    )
    identity = {key: getattr(source.curriculum, key) for key in keys}
    return {**identity, "complexity_key": source.complexity_key}


def _state_of(part: Feedback | Replacements | None) -> dict[str, Any] | None:
    return None if part is None else part.state_dict()


def _is_whole(value: object) -> bool:
    """Whether it is a whole number >= 0, numpy's included."""
    if type(value) is int:  # by far the most frequent
        return value >= 0
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 0


def _refuses(dynamic_filter: Any, args: Any, group: Group) -> bool:
    verdict = dynamic_filter(args, list(flatten(group)))
    return not getattr(verdict, "keep", verdict)


def slime_rollout() -> int | None:
    """The rollout that slime is in, where its module is loaded and says so."""
    rollout = getattr(sys.modules.get("slime.rollout.sample_hooks"), "_current_rollout_id", None)
    return rollout if isinstance(rollout, int) else None
