"""The import path that existing configurations name; all logic is in curriculum_learning."""

from verl_extensions.multi_source_sampler import *  # noqa: F403 - exactly its __all__
