"""The face for slime, and for any loop that asks for groups of samples."""

from __future__ import annotations

import contextlib
import copy
import logging
import numbers
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from curriculum_learning.buffer import Buffers
from curriculum_learning.clock import RolloutClock
from curriculum_learning.codec import CannotStoreError, decode, decode_group, encode, encode_group
from curriculum_learning.config import read_config
from curriculum_learning.errors import (
    CheckpointError,
    ConfigurationError,
    CurriculumLearningError,
)
from curriculum_learning.group_maker import GroupMaker
from curriculum_learning.groups import NO_SOURCE, GroupLedger, Served
from curriculum_learning.mixture import Draw, Mixture
from curriculum_learning.prompts import open_prompts
from curriculum_learning.registry import Registry
from curriculum_learning.resume import check_fit, find_state, save_state
from curriculum_learning.returned import ReturnCheck
from curriculum_learning.sample import (
    Group,
    flatten,
    sample_class,
)
from curriculum_learning.settlement import Settlement
from curriculum_learning.source import Source

logger = logging.getLogger(__name__)

Fate = Literal["trained", "finished", "dropped"]

_ENDED_KEPT = 3


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
        config = self.config = read_config(args)
        self._sample_type = sample_class()
        self._prompts = open_prompts(config)
        names = list(self._prompts) or [NO_SOURCE]
        # An engine with its own prompts still gets ids from us, and buffers what it returns.
        mixture: Mixture | None = None
        if config.sources:
            mixture = Mixture(
                [
                    Source(name, len(prompts), seed=config.seed, shuffle=config.shuffle)
                    for name, prompts in self._prompts.items()
                ],
                {source.name: source.weight for source in config.sources},
            )
        self._mixture = mixture
        choose = config.buffer_filter
        self._buffers = Buffers(
            names, choose and (lambda groups, room: choose(args, None, groups, room))
        )
        self._maker = GroupMaker(
            self._sample_type,
            config.n_samples_per_prompt,
            self._prompts,
            lambda source, step: mixture.shares(step)[source] if mixture is not None else 1.0,
        )
        self._groups = GroupLedger(config.n_samples_per_prompt, accounting=config.accounting)
        refuses = config.dynamic_filter
        self._settlement = Settlement(refuses and (lambda group: _refuses(refuses, args, group)))
        self._clock = RolloutClock(
            config.rollout_batch_size,
            _slime_rollout,
            logged=config.accounting,
            weights_vary=config.weights_vary,
        )
        self._metadata: dict[str, Any] = {}
        self._logged: int | None = None
        """The rollout that was logged, as long as the next one has not begun."""
        self._ended: dict[int, dict[str, Any]] = {}
        """The states at the end of the latest rollouts: engines may save them later than that."""
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._swallowed: Exception | None = None
        self._closed = False
        self._told_no_save = False
        _registry.register(args, self)
        for name, prompts in self._prompts.items():
            logger.info("source '%s': %d prompts of %s", name, len(prompts), prompts.config.path)

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
        with self._serving():
            self._end_rollout()
            step = self.rollout_step
            taken, dropped = self._buffers.take(num_samples)
            try:
                fresh = self._draw(num_samples - len(taken))
            except BaseException:
                self._buffers.restore((*taken, *dropped))
                raise
            for waiting in taken:
                served = waiting.served._replace(step=step)
                self._groups.serve(waiting.group_index, served)
                self._maker.tag_again(waiting.group, served)
            self._groups.drop_waiting(len(dropped))
            self._groups.presume(step, self.config.max_in_flight_rollouts)
            return [*(waiting.group for waiting in taken), *fresh]

    def _draw(self, count: int) -> list[Group]:
        """``count`` groups of fresh rows; undoes everything if one of them cannot be made."""
        mixture = self._mixture
        draws: list[Draw] = []
        opened: list[tuple[int, Served]] = []
        try:
            for _ in range(count):
                if mixture is None:
                    opened.append(self._groups.open(NO_SOURCE, 0, 0, self.rollout_step))
                    continue
                draw = mixture.draw(self._clock.step(mixture.total_drawn))
                draws.append(draw)
                opened.append(self._groups.open(draw.source, draw.row, draw.epoch, draw.step))
            return self._maker.make(opened)
        except BaseException:
            for group_index, _ in reversed(opened):
                self._groups.unopen(group_index)
            for draw in reversed(draws):
                assert mixture is not None
                mixture.undo(draw)
            raise

    def add_samples(self, samples: Sequence[Group]) -> None:
        """Give back groups that are not finished; they are served again first.

        A group is ``n_samples_per_prompt`` samples, or after a fan-out rollout lists of samples
        in their place. If it raises, nothing of the call has been taken in.

        Raises:
            GroupError: A group was never served, is not in flight, has another length, mixes or
                lacks source tags, or holds what a checkpoint cannot.
        """
        with self._serving():
            check = ReturnCheck(
                self._sample_type, self._groups, self._buffers, self._prompts or None
            )
            for returned in check.accept(samples):
                self._groups.give_back(returned.group_index)
                self._buffers.add(*returned)

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
            self._end_rollout(but=rollout_id)
            ids = {getattr(sample, "group_index", None) for sample in flatten(samples)}
            groups = {group_index for group_index in ids if isinstance(group_index, int)}
            if fate != "finished":
                # Whatever has been settled need not be served again.
                for waiting in self._buffers.remove(groups):
                    self._groups.in_flight[waiting.group_index] = waiting.served
                self._groups.settle(groups, fate)
            if fate == "trained" and rollout_id is not None:
                self._settle_the_rest()
                self._clock.rollout_logged(rollout_id)
                self._logged = rollout_id

    def rollout_finished(self, groups: Sequence[Group]) -> None:
        """Show all groups that were finished in a rollout, before it is logged.

        With it every group of the rollout is accounted for when the rollout is logged: a finished
        one that was not trained is dropped if the engine's filter refuses it, else it is surplus;
        one that was neither finished nor given back was discarded, and its prompt is served again.
        Synchronous rollouts only: in others, groups may rightly be in flight when one ends.
        """
        with self._lock:
            self._end_rollout()
            self._settlement.finished(list(groups), self._groups.in_flight)

    def _settle_the_rest(self) -> None:
        """Decide on the groups of the rollout that were neither trained nor given back."""
        outcome = self._settlement.settle(self._groups.in_flight)
        self._groups.settle(outcome.dropped, "dropped")
        self._groups.counts["surplus"] += len(outcome.surplus)
        if self.config.surplus == "drop":
            self._groups.settle(outcome.surplus, "dropped")
        else:
            for group_index, group in outcome.surplus.items():
                self._serve_again(group_index, group if self.config.surplus == "keep" else None)
        for group_index in outcome.discarded:
            self._serve_again(group_index, None)

    def _serve_again(self, group_index: int, group: Group | None) -> None:
        """Put a group in flight into its buffer: as it is, or None for afresh."""
        served = self._groups.in_flight[group_index]
        if group is not None:
            try:
                data = encode_group(group)
            except CannotStoreError as error:
                logger.warning(
                    "group %d of source '%s' is generated again: %s",
                    group_index, served.source, error,
                )  # fmt: skip
                group = None
        if group is None:
            (group,) = self._maker.make([(group_index, served)])
            data = encode_group(group)
        self._groups.give_back(group_index)
        self._buffers.add(group_index, served, group, data)

    def _end_rollout(self, but: int | None = None) -> None:
        """Another rollout than ``but`` begins: keep the state at the end of the logged one."""
        if self._logged is not None and self._logged != but:
            self._ended[self._logged] = self.state_dict()
            self._logged = None
            for old in list(self._ended)[:-_ENDED_KEPT]:
                del self._ended[old]

    @property
    def rollout_step(self) -> int:
        """The step at which the weights are evaluated now."""
        with self._lock:
            return self._clock.step(self._mixture.total_drawn if self._mixture else 0)

    def set_rollout_step(self, step: int) -> None:
        """Set the step, a whole number >= 0, until the next rollout is logged."""
        if not _is_whole(step):
            raise ConfigurationError(
                f"set_rollout_step: step is {step!r}; it must be a whole number >= 0",
                key="rollout_step",
                value=step,
            )
        with self._lock:
            self._clock.override(int(step))

    def source_status(self) -> dict[str, dict[str, float]]:
        """Per source and at one moment: weight (share), configured_weight, buffer_length, epoch."""
        with self._lock:
            if self._mixture is None:
                return {}
            step = self.rollout_step
            shares, weights = self._mixture.shares(step), self._mixture.weights(step)
            return {
                source.name: {
                    "weight": shares[source.name],
                    "configured_weight": weights[source.name],
                    "buffer_length": self._buffers.length(source.name),
                    "epoch": source.epoch,
                }
                for source in self._mixture.sources
            }

    @contextlib.contextmanager
    def _serving(self) -> Iterator[None]:
        """Hold the lock; remember an error that the engine's thread may swallow."""
        with self._lock:
            try:
                if self._closed:
                    raise ConfigurationError("the data source is closed")
                yield
            except Exception as error:
                if threading.current_thread() is not threading.main_thread():
                    self._swallowed = self._swallowed or error  # the first one is the cause
                raise

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
                "mixture": self._mixture.state_dict() if self._mixture else {},
                "clock": self._clock.state_dict(),
                "groups": self._groups.state_dict(),
                "waiting": [
                    [waiting.arrival, waiting.group_index, [*waiting.served], waiting.data]
                    for waiting in self._buffers
                ],
                "metadata": encode(self._metadata),
            }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the state that ``state_dict`` gave; sources are matched by name, in any order.

        Groups that were in flight then are served again first, with their ids; if the engine
        had never reported which groups it trained they are not, as it may have trained them.

        Raises:
            CheckpointError: The state is of other sources, rows, order or group size, or is no
                state; nothing has changed then.
        """
        with self._lock:
            try:
                check_fit(state["identity"], self._identity())
                self._restore(state)
            except CurriculumLearningError:
                raise
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise CheckpointError(f"this is no state of a data source: {error!r}") from error

    def _identity(self) -> dict[str, Any]:
        """What decides which prompt a position means."""
        return {
            "sources": {name: prompts.fingerprint for name, prompts in self._prompts.items()},
            "rollout_seed": self.config.seed,
            "rollout_shuffle": self.config.shuffle,
            "n_samples_per_prompt": self._groups.size,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        buffers = Buffers(list(self._prompts) or [NO_SOURCE], self._buffers.choose)
        groups = GroupLedger(self._groups.size, accounting=self.config.accounting)
        groups.load_state_dict(state["groups"])
        in_flight = sorted(groups.in_flight.items())
        groups.in_flight.clear()
        if state["groups"]["accounting"]:
            made = self._maker.make(in_flight)
            for (group_index, served), group in zip(in_flight, made, strict=True):
                buffers.add(group_index, served, group, encode_group(group))
            if in_flight:
                logger.info("%d groups were in flight and will be served again", len(in_flight))
        elif in_flight:
            logger.warning(
                "%d groups were in flight when the state was saved. They are not served again, "
                "because the engine never reported which groups it trained: set "
                "custom_rollout_log_function_path to "
                "curriculum_learning.custom_log.custom_rollout_log_function",
                len(in_flight),
            )
        for _, group_index, served, data in sorted(state["waiting"], key=lambda item: item[0]):
            group = decode_group(data, self._sample_type)
            buffers.add(group_index, Served(*served), group, data)
        metadata = decode(state["metadata"])
        clock = copy.copy(self._clock)
        clock.load_state_dict(state["clock"])
        # The last thing that can fail, and it changes nothing then; so does all before it.
        if self._mixture is not None:
            self._mixture.load_state_dict(state["mixture"])
        self._buffers, self._groups, self._clock = buffers, groups, clock
        self._metadata = metadata
        self._settlement.settle(())  # what it knew is of another time
        self._logged, self._ended = None, {}
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
            if not self._told_no_save:
                self._told_no_save = True
                logger.warning("save is not set: the state of the data source is not saved")
            return
        with self._writing:
            with self._lock:
                ended = self._ended.get(rollout_id) or self.state_dict()
                state = {**ended, "metadata": encode(self._metadata)}
            save_state(self.config.save, rollout_id, state)

    def load(self, rollout_id: int | None = None) -> None:
        """Go to the state saved under ``rollout_id`` in ``{load}/rollout/`` (or ``{save}``).

        None is the newest state there is, or a fresh start; -1 is a fresh start.

        Raises:
            CheckpointError: There is no such state, it is damaged or foreign, or it does not fit
                the configuration. With ``on_missing_state: restart`` a missing one is a warning.
        """
        if self._mixture is None:
            return
        if self._closed:
            raise ConfigurationError("the data source is closed")
        resumes = rollout_id is not None and rollout_id >= 0
        if self.config.load is None and not resumes:
            return
        state = find_state(self.config.load, rollout_id, self.config.on_missing_state)
        if state is not None:
            self.load_state_dict(state)
            logger.info("the data source goes on at rollout step %d", self.rollout_step)
        elif rollout_id is not None and resumes:
            with self._lock:
                self._clock.rollout_logged(rollout_id)

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
            return len(self._buffers)

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
        """Release the prompt files; asking for samples after it is an error."""
        with self._lock:
            self._closed = True
            for prompts in self._prompts.values():
                prompts.close()


_registry: Registry[MultipleWeightedRolloutDataSourceWithBuffer] = Registry()


def find_data_source(args: Any) -> MultipleWeightedRolloutDataSourceWithBuffer | None:
    """The data source made last from this very ``args`` object in this process, or None."""
    return _registry.find(args)


def _is_whole(value: object) -> bool:
    """Whether it is a whole number >= 0, numpy's included."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 0


def _refuses(dynamic_filter: Any, args: Any, group: Group) -> bool:
    verdict = dynamic_filter(args, list(flatten(group)))
    return not getattr(verdict, "keep", verdict)


def _slime_rollout() -> int | None:
    """The rollout that slime is in, where its module is loaded and says so."""
    rollout = getattr(sys.modules.get("slime.rollout.sample_hooks"), "_current_rollout_id", None)
    return rollout if isinstance(rollout, int) else None
