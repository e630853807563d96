"""Curricula: which rows of a source are open, and how much of each source is drawn.

One file per curriculum. The keyword-only arguments of a curriculum's constructor are the keys that
configure it; their annotations say what a value must be.
"""

from curriculum_learning.curricula.reward import RewardCurriculum
from curriculum_learning.curricula.time import TimeCurriculum

CURRICULA = {"time": TimeCurriculum, "reward": RewardCurriculum}
"""The curricula that a configuration can name, by ``type``."""
