"""Sampling of several sources: a face for verl's sampler hook and for any DataLoader."""

from __future__ import annotations

import hashlib
import logging
import math
import operator
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.config.samplers import (
    SamplerConfig,
    read_sampler_config,
)
from curriculum_learning.curricula.results import Result
from curriculum_learning.curricula.reward import RewardCurriculum
from curriculum_learning.engines import sampler_lines as sampler_log
from curriculum_learning.engines.sampler_lines import Lines
from curriculum_learning.errors import CheckpointError, ConfigurationError, DataError
from curriculum_learning.mixing.mixture import Changes, Mixture
from curriculum_learning.mixing.order import Permutation, epoch_key
from curriculum_learning.mixing.source import RowSource, Source
from curriculum_learning.prompts.columns import read_sources
from curriculum_learning.state.compare import check_fit
from curriculum_learning.state.journal import Entry, Journal
from curriculum_learning.weights.schedules import Constant

if TYPE_CHECKING:
    Base = object
else:
    try:
        # verl up to 0.7 asks that samplers are of its class; later ones have none.
        from verl.experimental.dataset.sampler import AbstractCurriculumSampler as Base
    except ImportError:
        Base = object

logger = logging.getLogger("curriculum_learning.samplers")


class MultiSourceSampler(Base):
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
        ConfigurationError: A key is unknown, missing or out of range; or sources and weights do
            not match.
        DataError: Rows have no source or, where they need one, no complexity score.
    """

    config_type: type[SamplerConfig] = SamplerConfig

    reports_after_save: bool | None = None if Base is object else True
    """Whether the trainer saves its checkpoint before it reports the rewards of the step, as verl
    does up to 0.7. None: not known, and then a journal is taken to say yes."""

    def __init__(self, data_source: Sized, data_config: Any) -> None:
        _make_visible()
        config = self.config = read_sampler_config(data_config, self.config_type)
        self._name = type(self).__name__
        logger.info("[%s] running from %s", self._name, __file__)
        self._rows = read_sources(data_source)
        weights = _weights(config, self._rows)
        self._rows = {name: self._rows[name] for name in weights}
        sources = [self._make_source(data_source, name) for name in self._rows]
        adaptive = None
        if config.adaptive_weights:
            adaptive = config.adaptive(list(weights))
            adaptive.check(
                weights,
                "source_weights" if config.source_weights else "sampling_strategy: proportional",
            )
        self._mixture = Mixture(sources, {n: Constant(w) for n, w in weights.items()}, adaptive)
        self._length = sum(len(self._rows[name]) for name in weights if weights[name] > 0)
        self._length -= self._length % config.batch_size
        if not self._length:
            raise DataError(
                f"the sources of positive weight have fewer rows than one batch of "
                f"{config.batch_size}; use a smaller train_batch_size",
                key="train_batch_size",
                value=config.batch_size,
            )
        self._journal = None if config.journal is None else Journal(Path(config.journal))
        self._run = secrets.token_hex(8)
        """Tells this run's entries in a journal from those of others."""
        self._updates = 0
        self._batches = 0
        self._pending: list[int] = []
        """What is left of the present batch, the next row last."""
        self._yielded = 0
        """Rows given in the present pass."""
        self._resumed = False
        self._to_warn = True
        _log(self._start_lines())

    def _make_source(self, data_source: Any, name: str) -> RowSource:
        return Source(name, len(self._rows[name]), seed=self.config.seed, shuffle=True)

    @property
    def mixture(self) -> Mixture:
        """The sources together; for looking at."""
        return self._mixture

    # Drawing

    def __len__(self) -> int:
        """Rows of a pass: those of the sources of positive weight, in whole batches."""
        return self._length

    def __iter__(self) -> Iterator[int]:
        """The rows of a pass; after a resume, of the rest of the pass that was interrupted.

        Nothing happens before the first row is asked for: loaders make iterators that they drop.
        """
        if not self._resumed or self._length - self._yielded < self.config.batch_size:
            self._yielded = 0
        self._resumed = False
        while self._yielded < self._length:
            if not self._pending:
                self._pending = self._draw_batch()
            # Counted before it is given: a state taken after it must not give it again.
            self._yielded += 1
            yield self._pending.pop()

    def _draw_batch(self) -> list[int]:
        size = self.config.batch_size
        draw, step = self._mixture.draw, self._updates
        batch = [draw(step) for _ in range(size)]
        rows = np.empty(size, dtype=np.int64)
        places: dict[str, list[int]] = {}
        for place, drawn in enumerate(batch):
            places.setdefault(drawn.source, []).append(place)
        for name, at in places.items():
            rows[at] = self._rows[name][[batch[place].row for place in at]]
        order = Permutation(size, epoch_key(self.config.seed, "\0batch", self._batches))
        self._batches += 1
        shuffled: list[int] = rows[order.rows(0, size)].tolist()
        return shuffled

    # Feedback

    def update(self, batch: Any) -> None:
        """Take in the rewards of a trained batch: verl's ``DataProto``, or its like.

        Args:
            batch: Has ``batch["token_level_scores"]`` of shape (rows, tokens), summed per row,
                and ``non_tensor_batch["data_source"]`` of shape (rows,); rows in any order.
        """
        try:
            scores = batch.batch["token_level_scores"]
            sources = batch.non_tensor_batch["data_source"]
        except (KeyError, AttributeError) as error:
            raise DataError(
                f"[{self._name}] update needs batch['token_level_scores'] and "
                f"non_tensor_batch['data_source']; missing: {error}",
                key="batch",
                value=type(batch).__name__,
            ) from error
        if getattr(scores, "is_nested", False):  # rows of different lengths
            rewards = np.array([_as_array(row).sum() for row in scores.unbind()])
        else:
            rewards = _as_array(scores).sum(axis=-1)
        self.observe(sources, rewards)

    def observe(self, sources: Sequence[str], rewards: Any) -> None:
        """Take in the rewards of one update.

        Args:
            sources: The source of each row.
            rewards: The reward of each row. What is not a finite number is skipped, and counted.
        """
        values = _as_array(rewards)
        names = np.empty(len(sources), dtype=object)
        names[:] = list(sources)
        if values.shape != names.shape or values.ndim != 1:
            raise DataError(
                f"[{self._name}] observe got {names.shape} sources and {values.shape} rewards; "
                f"one reward per row is needed",
                key="rewards",
                value=values.shape,
            )
        unknown = sorted(map(repr, set(names.tolist()) - set(self._rows)))
        if unknown:
            raise DataError(
                f"[{self._name}] observe got rewards of {unknown}; the sources are "
                f"{list(self._rows)}",
                source=unknown[0],
                key="data_source",
                value=unknown,
            )
        finite = np.isfinite(values)
        if not finite.all():
            logger.warning(
                "[%s] %d of %d rewards are no finite numbers and are skipped",
                self._name, len(values) - int(finite.sum()), len(values),
            )  # fmt: skip
        means = {}
        for name in self._rows:
            own = values[finite & (names == name)]
            if len(own):
                # An exact sum: trainers report the same rows in any order.
                means[name] = math.fsum((own / len(own)).tolist())
        if self._uses_feedback():
            self._warn_of_prefetching()
        if self._journal is not None:
            self._journal.append(Entry(self._run, self._updates + 1, means))
        self._apply(means)

    def _warn_of_prefetching(self) -> None:
        # verl takes several batches for a step where it fills one up; that is no accident.
        known = self.reports_after_save is not None
        if self._batches - self._updates > 1 and not known and self._to_warn:
            self._to_warn = False
            logger.warning(
                "[%s] %d batches were drawn before the rewards of the first of them were reported, "
                "so these had no influence on the others. If a loader draws ahead, use "
                "num_workers=0: a resume is not exact otherwise",
                self._name, self._batches - self._updates,
            )  # fmt: skip

    def _apply(self, means: Mapping[str, float]) -> None:
        self._updates += 1
        results = [Result(name, None, self._updates, [mean]) for name, mean in means.items()]
        changes = self._mixture.observe(results, self._updates, self._updates)
        _log(self._change_lines(changes))

    def _open_rows(self, source: RowSource) -> int:
        if source.curriculum is None:
            return source.size
        return source.curriculum.open_rows(self._updates)

    # State

    def state_dict(self) -> dict[str, Any]:
        """The whole state, as plain data: what follows it is decided by it and the feedback."""
        return {
            "identity": self._identity(),
            "mixture": self._mixture.state_dict(),
            "updates": self._updates,
            "batches": self._batches,
            "pending": list(self._pending),
            "yielded": self._yielded,
            "run": self._run,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to the state that ``state_dict`` gave, and take in what the journal has beyond it.

        Raises:
            CheckpointError: The state is of another data set or configuration, or is no state.
        """
        try:
            check_fit(state_dict["identity"], self._identity())
            updates, batches, yielded = (
                operator.index(state_dict[key]) for key in ("updates", "batches", "yielded")
            )
            pending = list(state_dict["pending"])
            run = str(state_dict["run"])
            self._mixture.load_state_dict(state_dict["mixture"])
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"[{self._name}] this is no state of it: {error!r}") from error
        self._updates, self._batches, self._yielded = updates, batches, yielded
        self._pending, self._run = pending, run
        self._resumed = True
        self._catch_up()

    def _catch_up(self) -> None:
        """Take in the update that a trainer reports only after it has saved: one at most."""
        # A batch of which some rows are still to come has not been trained.
        missing = self._batches - bool(self._pending) - self._updates
        late = self.reports_after_save
        if missing < 1 or not (self._journal is not None if late is None else late):
            return
        update = self._updates + 1
        entry = None if self._journal is None else self._journal.find(self._run, update)
        if entry is None and self._uses_rewards():
            logger.warning(
                "[%s] the state was saved before update %d, whose rewards are lost: %s",
                self._name,
                update,
                "data.sampler.journal names no file that keeps them"
                if self._journal is None
                else "the journal does not have it, the run ended between the two",
            )
        if entry is not None:
            self._apply(entry.rewards)
        elif missing == 1:
            # Counted without its rewards; where more are missing nobody reports after each batch.
            self._apply({})

    def _uses_feedback(self) -> bool:
        return self._uses_rewards() or any(s.curriculum is not None for s in self._mixture.sources)

    def _uses_rewards(self) -> bool:
        return self._mixture.adaptive is not None or any(
            isinstance(source.curriculum, RewardCurriculum) for source in self._mixture.sources
        )

    def _identity(self) -> dict[str, Any]:
        return {
            "sources": {
                name: {"rows": len(rows), "hash": array_hash(rows)}
                for name, rows in self._rows.items()
            },
            "sampler.class_name": self._name,
            "sampler.seed": self.config.seed,
            "sampler.adaptive_weights": self.config.adaptive_weights,
            "train_batch_size": self.config.batch_size,
        }

    def get_stats(self) -> dict[str, float]:
        """Figures for a tracker: weights (shares), rewards, updates, and what is open."""
        stats = {f"weight/{n}": share for n, share in self._mixture.shares(self._updates).items()}
        if self._mixture.adaptive is not None:
            emas = self._mixture.adaptive.emas.items()
            stats |= {f"reward_ema/{name}": ema for name, ema in emas if ema is not None}
        for source in self._mixture.sources:
            stats[f"epoch/{source.name}"] = source.epoch
            if source.curriculum is not None:
                stats[f"open_share/{source.name}"] = self._open_rows(source) / source.size
        return {**stats, "updates": self._updates, "batches": self._batches}

    # The log

    def _start_lines(self) -> Lines:
        sizes = {name: len(rows) for name, rows in self._rows.items()}
        lines = sampler_log.start(self._name, self.config, sizes, self._mixture.shares(0))
        if self.reports_after_save and self._uses_rewards() and self._journal is None:
            lines += sampler_log.no_journal(self._name)
        return lines

    def _change_lines(self, changes: Changes) -> Lines:
        """What there is to say after an update."""
        adaptive = self._mixture.adaptive
        if adaptive is None or not changes.adapted:
            return []
        shares = self._mixture.shares(self._updates)
        return sampler_log.adaptation(self._name, self._updates, adaptive.emas, shares)


def _weights(config: SamplerConfig, rows: Mapping[str, NDArray[np.int64]]) -> dict[str, float]:
    """The configured weight of each source of the data."""
    if config.sampling_strategy == "proportional":
        return {name: float(len(at)) for name, at in rows.items()}
    if not config.source_weights:
        return dict.fromkeys(rows, 1.0)
    if set(config.source_weights) != set(rows):
        raise ConfigurationError(
            f"source_weights has {sorted(config.source_weights)}, the data has the sources "
            f"{sorted(rows)}; name each of them, with weight 0 to leave one out",
            key="source_weights",
            value=dict(config.source_weights),
        )
    return dict(config.source_weights)


def _as_array(values: Any) -> NDArray[np.float64]:
    if hasattr(values, "detach"):  # a tensor of any type, on any device
        values = values.detach().float().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


def array_hash(array: NDArray[np.int64]) -> str:
    """A short digest of an array's content."""
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest()


def _log(lines: Lines) -> None:
    for line in lines:
        logger.info("%s", line)


def _make_visible() -> None:
    """Show our INFO lines where nobody has decided about them, as in verl's processes."""
    ours = logging.getLogger("curriculum_learning")
    if not ours.hasHandlers():
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        # If somebody sets up logging later, that is enough.
        handler.addFilter(lambda record: not logging.getLogger().handlers)
        ours.addHandler(handler)
    if ours.level == logging.NOTSET:
        # verl sets the root logger to WARNING, which would hide them.
        ours.setLevel(logging.INFO)
