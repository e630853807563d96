"""The face for slime, and for any loop that asks for groups of samples."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NoReturn

from curriculum_learning.config.data_source import read_config
from curriculum_learning.config.numbers import whole_number
from curriculum_learning.config.plan import DataSourcePlan
from curriculum_learning.engines.registry import Registry
from curriculum_learning.engines.slime import SlimeRollout, is_running, sample_class
from curriculum_learning.engines.swallowed import SwallowedErrors
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.groups.returns import encode_groups
from curriculum_learning.groups.run import Report, Run
from curriculum_learning.groups.status import source_counts, source_status
from curriculum_learning.mixing.mixture import Mixture
from curriculum_learning.prompts.prompts import open_prompts
from curriculum_learning.samples.ids import group_id, in_lists
from curriculum_learning.samples.rewards import group_rewards
from curriculum_learning.samples.sample import Group
from curriculum_learning.state.files import Found, find_state
from curriculum_learning.state.forks import ForkLock
from curriculum_learning.state.states import States

logger = logging.getLogger(__name__)

Fate = Literal["trained", "finished", "dropped"]


class MultipleWeightedRolloutDataSourceWithBuffer:
    """Serves groups of samples from several prompt sources, mixed by scheduled weights.

    It implements slime's data source protocol; ``--data-source-path`` names it. All methods may be
    called from any thread.

    Args:
        args: The engine's arguments: a namespace, a mapping, or an object with some of them.
            ``docs/slime.md`` lists the keys.

    Raises:
        ConfigurationError: A value cannot be used, or a weight schedule fails during the run.
        DataError: A prompt file cannot be read, or one of its rows lacks a configured column.
    """

    rank, world_size = 0, 1
    """Ranks share the sequence of groups; ``ShardedDataSource`` has several."""

    def __init__(self, args: Any) -> None:
        self.args = args
        config = self.config = self._read_config(args)
        self._prompts = open_prompts(config, is_running(args))
        self._run = Run(
            config,
            self._prompts,
            sample_class(),
            # Nothing below this face knows args.
            _bound(config.buffer_filter, args, None),
            _bound(config.dynamic_filter, args),
            rank=self.rank,
            world_size=self.world_size,
        )
        self._states = States(config, self._run, self._prompts)
        self._lock = ForkLock("data source")
        self._swallowed = SwallowedErrors()
        self._slime, self._closed = SlimeRollout(), False
        registry.register(args, self)
        for name, prompts in self._prompts.items():
            size = "endless" if prompts.size is None else prompts.size
            logger.info("source '%s': %s prompts of %s", name, size, prompts.config.path)

    # ``ShardedDataSource`` overrides these two.

    def _read_config(self, args: Any) -> DataSourcePlan:
        return read_config(args)

    def _find_state(self, rollout_id: int | None) -> Found | None:
        load, on_missing = self.config.load, self.config.on_missing_state
        return find_state(load, rollout_id, on_missing, expected=load != self.config.save)

    # Serving

    def get_samples(self, num_samples: int) -> list[Group]:
        """Returns the next ``num_samples`` groups, each a list of ``n_samples_per_prompt`` samples.

        Returned groups that wait in a buffer come first, oldest first; then fresh rows, their
        sources interleaved in exact proportion to the weights in force. If it raises, it has
        taken nothing.

        Raises:
            DataError: A row cannot be read.
            GroupError: The buffer filter broke its contract.
        """
        count = whole_number(num_samples, "get_samples", "num_samples")
        with self._lock, self._swallowed:
            self._refuse_closed()
            self._run.begin_rollout()
            self._states.begin_rollout()
            self._slime.tell(self._run.clock)
            return self._run.serve(count)

    def add_samples(self, samples: Sequence[Group]) -> None:
        """Gives back unfinished groups; they are served again first.

        A group is ``n_samples_per_prompt`` samples; after a fan-out rollout each of them may be a
        list of samples. If it raises, it has taken none of the groups.

        Raises:
            GroupError: A group was never served, is not in flight, has another length, mixes or
                lacks source tags, or holds a value that a checkpoint cannot.
        """
        encoded = encode_groups(samples)
        with self._lock, self._swallowed:
            self._refuse_closed()
            self._run.groups.give_back(samples, encoded)
            self._states.changed()

    def give_up(self, group_indices: Sequence[int]) -> int:
        """Serves groups in flight again, before all others, because their holder is gone.

        They keep their ids, and the tokens they had when they last came back.

        Returns:
            How many of the groups were in flight; others are ignored.

        Raises:
            DataError: A row cannot be read; nothing has changed then.
        """
        with self._lock:
            count = self._run.groups.give_up(group_indices)
            self._states.changed()
            return count

    # Feedback

    def observe(self, samples: Any, *, rollout_id: int | None = None, fate: Fate) -> None:
        """Reports the fate of samples.

        Args:
            samples: Samples, flat or in groups, in any iterable; the samples of a group share
                their fate.
            rollout_id: The rollout that this report ends, if it ends one: with ``trained`` the
                schedules move on to the next rollout.
            fate: ``trained`` and ``dropped`` settle the groups; ``finished`` says only that they
                were generated and scored.
        """
        report = Report.checked(samples, fate, rollout_id)
        with self._lock:
            self._states.report(report)

    def rollout_finished(self, groups: Iterable[Iterable[Any]]) -> None:
        """Reports all groups that a rollout finished, before the rollout is logged.

        With it every group of the rollout is settled when the rollout is logged: a finished group
        that was not trained is dropped if the engine's filter refuses it, else it is surplus; a
        group that was neither finished nor given back was aborted, and its prompt is served
        again. If rollouts are never logged, a finished group counts as done. For synchronous
        rollouts only: in others, groups may rightly be in flight when a rollout ends.
        """
        report = Report(in_lists(groups), "finished", is_all=True)
        with self._lock:
            self._states.report(report)

    def reward_cap_verdict(self, samples: Sequence[Any], source: str) -> str | None:
        """Says why the reward cap drops a group: ``all_zero``, ``reward_cap``, or None."""
        rewards = group_rewards(samples, self.config.reward_key)
        with self._lock:
            step = self.rollout_step
            return self._run.caps.verdict(group_id(samples[0]), source, rewards, step)

    @property
    def rollout_step(self) -> int:
        """The step at which the weights are evaluated now."""
        with self._lock:
            self._slime.tell(self._run.clock)
            return self._run.step

    def set_rollout_step(self, step: int) -> None:
        """Sets the step, a whole number >= 0, until the next rollout is logged."""
        step = whole_number(step, "set_rollout_step", "step")
        with self._lock:
            self._run.clock.override(step)

    def rollout_begun(self, rollout: int) -> None:
        """Tells which rollout the engine is in, where the engine runs in another process."""
        with self._lock:
            self._run.clock.begun(rollout)

    def source_status(self) -> dict[str, dict[str, float]]:
        """Returns the figures in force for each source; ``docs/slime.md`` lists them."""
        with self._lock:
            return source_status(self._run, self.rollout_step)

    def source_counts(self) -> dict[str, dict[str, float]]:
        """Counts the groups of each source since the run began, by fate."""
        with self._lock:
            return source_counts(self._run)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ConfigurationError("the data source is closed")

    def raise_swallowed_error(self) -> None:
        """Raises an error again, once, that was raised on a worker thread of the engine."""
        self._swallowed.raise_first()

    # State

    def state_dict(self) -> dict[str, Any]:
        """Returns the whole state at one moment, as numbers, text, bytes, lists and mappings."""
        with self._lock:
            return self._states.state_dict()

    def load_state_dict(self, state: Mapping[str, Any], *, held: bool = False) -> None:
        """Loads what ``state_dict`` returned; sources are matched by name, in any order.

        Args:
            state: The state. Groups that were in flight are served again first, with their ids;
                but if the engine never reported which groups it trained they are not, since it
                may have trained them.
            held: The holders of those groups are still there: the groups stay in flight.

        Raises:
            CheckpointError: The state is of other sources, rows, order or group size, or it is
                no state; nothing has changed then.
        """
        with self._lock:
            self._states.load_state_dict(state, held=held)
            self._swallowed.forget()

    def save(self, rollout_id: int) -> None:
        """Writes the state at the end of a rollout to ``{save}/rollout/``.

        A rollout ends when it has been logged and the next one begins, with a request or a report
        of its own. The engine may be in the next rollout already: what was drawn for it is drawn
        again on resume. A rollout that was not logged is saved as it is now.

        Raises:
            CheckpointError: The file cannot be written; earlier states are untouched.
            CurriculumLearningError: An engine has swallowed an error on a worker thread; the
                state is written all the same.
        """
        rollout_id = whole_number(rollout_id, "save", "rollout_id")
        with self._states.writing:
            with self._lock:
                state = self._states.at_end_of(rollout_id)
            self._states.write(rollout_id, state)
        self.raise_swallowed_error()

    def load(self, rollout_id: int | None = None) -> None:
        """Loads the state saved under ``rollout_id`` from ``{load}/rollout/`` (or ``{save}``).

        None is the state that was saved last, or a fresh start; -1 is a fresh start.

        Raises:
            CheckpointError: The state is missing, damaged or foreign, or does not fit the
                configuration. With ``on_missing_state: restart`` a missing one is a warning.
        """
        self._refuse_closed()
        if rollout_id not in (None, -1):
            allowed = "a whole number >= -1, or None"
            rollout_id = whole_number(rollout_id, "load", "rollout_id", allowed)
        if self.config.load is None and (rollout_id in (None, -1) or not self.config.sources):
            return
        self._states.finish_writing()  # so that load finds what autosave writes
        found = self._find_state(rollout_id)
        with self._lock:
            self._states.resume(found, rollout_id)
            self._swallowed.forget()
            if found is not None:
                logger.info("the data source resumes at rollout step %d", self.rollout_step)

    # Several data sources, and several processes

    def tell_apart(self) -> None:
        """Remembers what it serves from now on: there are other data sources of these args."""
        with self._lock:
            self._run.tell_apart()

    def recognises(self, sample: Any) -> int:
        """Says how surely a sample was served here: 2 is certain, 0 is not at all."""
        with self._lock:
            return self._run.recognises(sample)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a data source cannot be pickled or copied: both would serve the same groups. Send "
            "args and make it where it is used, share one with ray_service, or take state_dict()"
        )

    # The rest of slime's protocol

    def __len__(self) -> int:
        """Rows of all sources, without those over the length limit.

        Raises:
            ConfigurationError: The rows of a source have no end.
        """
        return 0 if self._run.mixture is None else len(self._run.mixture)

    def __bool__(self) -> bool:
        return True  # also where there is no number of rows

    @property
    def dataset(self) -> Mixture | None:
        """The mixture, whose length is the number of rows; None without prompts of our own."""
        return self._run.mixture

    def get_buffer_length(self) -> int:
        """Groups waiting in all buffers."""
        with self._lock:
            return len(self._run.groups.buffers)

    def get_metadata(self) -> dict[str, Any]:
        """Returns a copy of the values that ``update_metadata`` stored."""
        return dict(self._states.metadata)

    def update_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Stores values with the state; a checkpoint must be able to hold them."""
        with self._lock:
            self._states.update_metadata(metadata)

    def close(self) -> None:
        """Finishes autosaves and closes the prompt files; ``get_samples`` raises from then on."""
        self._states.close()
        with self._lock:
            self._closed = True
            registry.forget(self)
            for prompts in self._prompts.values():
                prompts.close()


registry: Registry[MultipleWeightedRolloutDataSourceWithBuffer] = Registry()


def find_data_source(
    args: Any, samples: Sequence[Any] = ()
) -> MultipleWeightedRolloutDataSourceWithBuffer | None:
    """Returns the data source made from ``args``, or a copy of them, in this process, or None.

    Of several it is the one that served most of ``samples``, or the one made last.
    """
    return next(iter(registry.split(args, samples)), None)


def _bound(function: Callable[..., Any] | None, *args: Any) -> Callable[..., Any] | None:
    return None if function is None else functools.partial(function, *args)
