"""The samplers with a curriculum: harder rows of one source open by time or by reward."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.config.samplers import RewardSamplerConfig, TimeSamplerConfig
from curriculum_learning.engines import sampler_lines as sampler_log
from curriculum_learning.engines.multi_source_sampler import MultiSourceSampler, array_hash
from curriculum_learning.engines.sampler_lines import Lines
from curriculum_learning.errors import ConfigurationError
from curriculum_learning.mixing.mixture import Changes
from curriculum_learning.mixing.source import RowSource
from curriculum_learning.prompts.columns import read_scores


class _ComplexitySampler(MultiSourceSampler):
    """What the samplers with a curriculum on one source have in common."""

    config: TimeSamplerConfig | RewardSamplerConfig

    def _make_source(self, data_source: Any, name: str) -> RowSource:
        source = self.config.complexity_source
        if source not in self._rows:
            raise ConfigurationError(
                f"complexity_source is '{source}', none of the sources of the data; set it "
                f"to one of {list(self._rows)}",
                source=source,
                key="complexity_source",
                value=source,
            )
        if name != source:
            return super()._make_source(data_source, name)
        rows = self._rows[name]
        return self._make_complex_source(name, read_scores(data_source, rows, name))

    def _make_complex_source(self, name: str, scores: NDArray[np.float64]) -> RowSource:
        raise AssertionError("a subclass does this")

    def _identity(self) -> dict[str, Any]:
        (rank,) = (s.curriculum.rank for s in self._mixture.sources if s.curriculum is not None)
        return {**super()._identity(), "complexity_scores": array_hash(rank)}


class TimeCurriculumSampler(_ComplexitySampler):
    """Starts with the easiest rows of one source and opens the others in a straight line."""

    config_type = TimeSamplerConfig
    config: TimeSamplerConfig

    def _make_complex_source(self, name: str, scores: NDArray[np.float64]) -> RowSource:
        self._curriculum = self.config.curriculum(scores)
        return self.config.source(name, self._curriculum, seed=self.config.seed, shuffle=True)

    def get_stats(self) -> dict[str, float]:
        """See ``MultiSourceSampler``; adds the open percentile."""
        percentile = self._curriculum.percentile(self._updates)
        return {**super().get_stats(), "complexity_percentile": percentile}

    def _start_lines(self) -> Lines:
        return super()._start_lines() + sampler_log.time_start(self._name, self.config)

    def _change_lines(self, changes: Changes) -> Lines:
        progress = sampler_log.time_progress(self._name, self._curriculum, self._updates)
        return super()._change_lines(changes) + progress


class RewardCurriculumSampler(_ComplexitySampler):
    """Opens harder rows of one source when the average reward is good enough."""

    config_type = RewardSamplerConfig
    config: RewardSamplerConfig

    def _make_complex_source(self, name: str, scores: NDArray[np.float64]) -> RowSource:
        self._scores = np.sort(scores)
        self._curriculum = self.config.curriculum(scores)
        return self.config.source(name, self._curriculum, seed=self.config.seed, shuffle=True)

    def _identity(self) -> dict[str, Any]:
        return {
            **super()._identity(),
            "sampler.initial_complexity_percentile": self._curriculum.percentiles[0],
            "sampler.final_complexity_percentile": self._curriculum.percentiles[-1],
            "sampler.num_intervals": self.config.num_intervals,
            "sampler.focus_new_intervals": self.config.focus_new_intervals,
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
        return super()._start_lines() + sampler_log.reward_start(
            self._name, self.config, self._curriculum, self._scores
        )

    def _change_lines(self, changes: Changes) -> Lines:
        lines = super()._change_lines(changes)
        if changes.opened:
            lines += sampler_log.level_up(self._name, self._curriculum, self._updates)
        return lines
