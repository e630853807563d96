"""The configurations of the documentation, and the parameters with their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COMMON: Mapping[str, Any] = {
    "sampling_strategy": "weighted",
    "source_weights": {},
    "adaptive_weights": False,
    "alpha": 0.1,
    "update_frequency": 5,
    "temperature": 1.0,
    "max_source_ratio": 3.0,
}
"""Parameters of all samplers."""

COMPLEXITY: Mapping[str, Any] = {
    "complexity_source": "logicif",
    "initial_complexity_percentile": 30,
    "final_complexity_percentile": 100,
}
"""Parameters of both samplers with a curriculum."""

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "MultiSourceSampler": COMMON,
    "TimeCurriculumSampler": {**COMMON, **COMPLEXITY, "complexity_warmup_steps": 100},
    "RewardCurriculumSampler": {
        **COMMON,
        **COMPLEXITY,
        "num_intervals": 10,
        "reward_alpha": 0.1,
        "min_batches_per_level": 10,
        "check_frequency": 3,
        "focus_new_intervals": False,
        "interval_decay": 0.5,
    },
}
"""By class; ``reward_threshold`` has no default."""

YAML: Mapping[str, str] = {
    "MultiSourceSampler": """\
sampler:
  class_name: MultiSourceSampler
  sampling_strategy: weighted
  source_weights:
    source1: 1.0
    source2: 1.0

  # Optional: Enable adaptive weights
  adaptive_weights: true
  alpha: 0.1                # EMA smoothing (0.05-0.2)
  update_frequency: 5       # Update every N batches
  temperature: 0.3          # Lower = more sensitive
  max_source_ratio: 3.0     # Max weight ratio
""",
    "TimeCurriculumSampler": """\
sampler:
  class_name: TimeCurriculumSampler
  sampling_strategy: weighted
  source_weights:
    iftrain: 1.0
    logicif: 1.0

  # Optional: Adaptive weights
  adaptive_weights: true
  alpha: 0.1
  temperature: 0.3
  max_source_ratio: 3.0

  # Curriculum config
  complexity_source: logicif
  initial_complexity_percentile: 30
  final_complexity_percentile: 100
  complexity_warmup_steps: 100
""",
    "RewardCurriculumSampler": """\
sampler:
  class_name: RewardCurriculumSampler
  sampling_strategy: weighted
  source_weights:
    iftrain: 1.0
    logicif: 1.0

  # Optional: Adaptive weights
  adaptive_weights: false

  # Curriculum config
  complexity_source: logicif
  initial_complexity_percentile: 30
  final_complexity_percentile: 100
  num_intervals: 10
  reward_threshold: 0.125
  reward_alpha: 0.1
  min_batches_per_level: 10
  check_frequency: 3
""",
    "Example 1": """\
sampler:
  class_name: MultiSourceSampler
  sampling_strategy: weighted
  source_weights:
    iftrain: 1.0
    logicif: 1.0
""",
    "Example 2": """\
sampler:
  class_name: MultiSourceSampler
  sampling_strategy: weighted
  source_weights:
    iftrain: 1.0
    logicif: 1.0
  adaptive_weights: true
  alpha: 0.1
  temperature: 0.3
  max_source_ratio: 3.0
""",
    "Example 3": """\
sampler:
  class_name: TimeCurriculumSampler
  sampling_strategy: weighted
  source_weights:
    iftrain: 1.0
    logicif: 1.0
  adaptive_weights: true
  alpha: 0.1
  complexity_source: logicif
  initial_complexity_percentile: 30
  final_complexity_percentile: 100
  complexity_warmup_steps: 100
""",
    "Example 4": """\
sampler:
  class_name: RewardCurriculumSampler
  sampling_strategy: weighted
  source_weights:
    iftrain: 1.0
    logicif: 1.0
  complexity_source: logicif
  initial_complexity_percentile: 20
  final_complexity_percentile: 80
  num_intervals: 10
  reward_threshold: 0.125
  reward_alpha: 0.1
  min_batches_per_level: 20
  check_frequency: 5
""",
    "Example 5": """\
sampler:
  class_name: RewardCurriculumSampler
  sampling_strategy: weighted
  source_weights:
    iftrain: 1.0
    logicif: 1.0
  complexity_source: logicif
  initial_complexity_percentile: 20
  final_complexity_percentile: 100
  num_intervals: 10
  reward_threshold: 0.125
  # Focus more on newly unlocked intervals
  focus_new_intervals: true
  interval_decay: 0.5  # Older intervals have 50% less weight per level
""",
}

COMMAND_LINES: Mapping[str, list[str]] = {
    "Quick start 1": [
        "data.sampler.class_name=MultiSourceSampler",
        "+data.sampler.sampling_strategy=weighted",
        "+data.sampler.source_weights.source1=1.0",
        "+data.sampler.source_weights.source2=1.0",
    ],
    "Quick start 2": [
        "data.sampler.class_name=MultiSourceSampler",
        "+data.sampler.adaptive_weights=true",
        "+data.sampler.alpha=0.1",
        "+data.sampler.temperature=0.3",
    ],
    "Quick start 3": [
        "data.sampler.class_name=TimeCurriculumSampler",
        "+data.sampler.complexity_source=logicif",
        "+data.sampler.initial_complexity_percentile=30",
        "+data.sampler.final_complexity_percentile=100",
        "+data.sampler.complexity_warmup_steps=100",
    ],
    "Quick start 4": [
        "data.sampler.class_name=RewardCurriculumSampler",
        "+data.sampler.complexity_source=logicif",
        "+data.sampler.initial_complexity_percentile=30",
        "+data.sampler.num_intervals=10",
        "+data.sampler.reward_threshold=0.125",
    ],
}
