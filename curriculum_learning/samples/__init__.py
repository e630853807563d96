"""The sample, the group, and everything that is known of them without their source.

The wing owns the sample type, the fast construction of groups and the metadata keys that tag them.
It turns groups into bytes and back, and reads their rewards.
It knows no engine, no file and no configuration.
"""

from curriculum_learning.samples.group import Prompt, make_group
from curriculum_learning.samples.sample import Group, Sample, flatten

__all__ = ["Group", "Prompt", "Sample", "flatten", "make_group"]
