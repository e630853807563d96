"""The errors of the library: each is a ValueError that carries source, key and value."""

from __future__ import annotations


class CurriculumLearningError(ValueError):
    """Base of all errors raised here.

    Attributes:
        source: Name of the prompt source concerned, or None where it concerns no single one.
        key: Configuration key, column or state field concerned, or None.
        value: The offending value, or None.
        path: Where it is in the value of ``key``: keys and indices.
    """

    def __init__(
        self,
        message: str,
        *,
        source: str | None = None,
        key: str | None = None,
        value: object = None,
        path: tuple[str | int, ...] = (),
    ) -> None:
        super().__init__(message)
        self.source = source
        self.key = key
        self.value = value
        self.path = path


class ConfigurationError(CurriculumLearningError):
    """The configuration cannot be what the user meant."""


class ScheduleError(ConfigurationError):
    """A weight schedule cannot be read, or gives no usable weight at some step."""


class DataError(CurriculumLearningError):
    """A prompt file holds something that cannot be served."""


class GroupError(CurriculumLearningError):
    """A group handed back, or picked by a buffer filter, does not fit what was served."""


class CheckpointError(CurriculumLearningError):
    """A saved state is missing, damaged, foreign, or of another configuration."""
