"""The import path that existing configurations name; all logic is in curriculum_learning."""

from curriculum_learning.samplers import (
    CurriculumMultiSourceSampler,
    MultiSourceSampler,
    RewardCurriculumSampler,
    RewardGatedCurriculumSampler,
    TimeCurriculumSampler,
)

__all__ = [
    "CurriculumMultiSourceSampler",
    "MultiSourceSampler",
    "RewardCurriculumSampler",
    "RewardGatedCurriculumSampler",
    "TimeCurriculumSampler",
]
