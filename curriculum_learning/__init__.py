"""Exact mixtures, curricula and resume for the prompts of reinforcement learning runs."""

from curriculum_learning.config.weights import parse_weight
from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer
from curriculum_learning.errors import (
    CheckpointError,
    ConfigurationError,
    CurriculumLearningError,
    DataError,
    GroupError,
    ScheduleError,
)

__all__ = [
    "CheckpointError",
    "ConfigurationError",
    "CurriculumLearningError",
    "DataError",
    "GroupError",
    "MultipleWeightedRolloutDataSourceWithBuffer",
    "ScheduleError",
    "parse_weight",
]
