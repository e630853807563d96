"""What verl asks of a sampler: a base class up to 0.7, and log lines that it does not hide."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from curriculum_learning.config.visible import LogLines

if TYPE_CHECKING:
    SamplerBase = object
else:
    try:
        # verl up to 0.7 asks that samplers are of its class; later ones have none.
        from verl.experimental.dataset.sampler import AbstractCurriculumSampler as SamplerBase
    except ImportError:
        SamplerBase = object

REPORTS_AFTER_SAVE = None if SamplerBase is object else True
"""Whether the trainer saves its checkpoint before it reports the rewards of the step, as verl does
up to 0.7; None if that is not known."""


def show_log() -> None:
    """Shows our INFO lines if nobody has set up logging for them, as in verl's processes."""
    ours = logging.getLogger("curriculum_learning")
    if not ours.hasHandlers():
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(LogLines("%(message)s"))
        # If somebody sets up logging later, that is enough.
        handler.addFilter(lambda record: not logging.getLogger().handlers)
        ours.addHandler(handler)
    if ours.level == logging.NOTSET:
        # verl sets the root logger to WARNING, which would hide them.
        ours.setLevel(logging.INFO)
