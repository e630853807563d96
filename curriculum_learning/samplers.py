"""The samplers for verl and any DataLoader, by the names that configurations give."""

from curriculum_learning.engines.curriculum_samplers import (
    RewardCurriculumSampler,
    TimeCurriculumSampler,
)
from curriculum_learning.engines.multi_source_sampler import MultiSourceSampler

# The names they had before.
CurriculumMultiSourceSampler = TimeCurriculumSampler
RewardGatedCurriculumSampler = RewardCurriculumSampler

__all__ = [
    "CurriculumMultiSourceSampler",
    "MultiSourceSampler",
    "RewardCurriculumSampler",
    "RewardGatedCurriculumSampler",
    "TimeCurriculumSampler",
]
