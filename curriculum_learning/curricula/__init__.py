"""Curricula: which rows of a source come, and how much of each source, as results come in.

``rows/`` has the row curricula, ``rules/`` the source rules, one file each. The keyword-only
arguments of a constructor are the keys that configure it; their annotations say what a value must
be.
"""

from curriculum_learning.curricula.base import RowCurriculum, SourceRows, SourceRule
from curriculum_learning.curricula.results import Result
from curriculum_learning.curricula.rows.difficulty_target import DifficultyTarget
from curriculum_learning.curricula.rows.learnability import Learnability
from curriculum_learning.curricula.rows.pass_rate_gaussian import PassRateGaussian
from curriculum_learning.curricula.rows.pools import Pools
from curriculum_learning.curricula.rows.replay import Replay
from curriculum_learning.curricula.rows.reward import RewardCurriculum
from curriculum_learning.curricula.rows.thompson import Thompson
from curriculum_learning.curricula.rows.time import TimeCurriculum
from curriculum_learning.curricula.rules.adaptive import AdaptiveWeights
from curriculum_learning.curricula.rules.dump import Dump
from curriculum_learning.curricula.rules.easy_to_hard import EasyToHard
from curriculum_learning.curricula.rules.learning_progress import LearningProgress
from curriculum_learning.curricula.rules.sec import Sec
from curriculum_learning.curricula.rules.temperature import Temperature
from curriculum_learning.curricula.rules.unimax import Unimax

__all__ = ["CURRICULA", "RULES", "Result", "RowCurriculum", "SourceRows", "SourceRule"]

CURRICULA: dict[str, type[RowCurriculum]] = {
    "time": TimeCurriculum,
    "reward": RewardCurriculum,
    "difficulty_target": DifficultyTarget,
    "learnability": Learnability,
    "thompson": Thompson,
    "pools": Pools,
    "replay": Replay,
    "pass_rate_gaussian": PassRateGaussian,
}
"""The row curricula that a configuration can name, by ``type``."""

RULES: dict[str, type[SourceRule]] = {
    "adaptive": AdaptiveWeights,
    "sec": Sec,
    "dump": Dump,
    "easy_to_hard": EasyToHard,
    "temperature": Temperature,
    "unimax": Unimax,
    "learning_progress": LearningProgress,
}
"""The source rules that a configuration can name, by ``type``."""
