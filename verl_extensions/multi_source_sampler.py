"""What ``data.sampler.class_path=pkg://verl_extensions.multi_source_sampler`` finds."""

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
