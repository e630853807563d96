"""What miles, a fork of slime, is asked and told. Only a process that miles has loaded asks it.

miles does not name the rollout that it is in: schedules follow the rollouts that it logs.
"""

from __future__ import annotations

import copy
import logging
import sys
from typing import Any

logger = logging.getLogger(__name__)


def is_loaded() -> bool:
    """Whether miles runs in this process."""
    return "miles.utils.types" in sys.modules


def sample_class() -> type[Any]:
    """Returns miles' ``Sample``."""
    from miles.utils.types import Sample

    return Sample  # type: ignore[no-any-return]  # miles ships no types


def filter_output_class() -> type[Any]:
    """Returns miles' ``DynamicFilterOutput``."""
    from miles.rollout.filter_hub.base_types import DynamicFilterOutput

    return DynamicFilterOutput  # type: ignore[no-any-return]  # miles ships no types


def log_rollout(
    rollout_id: int, args: Any, samples: list[Any], metrics: dict[str, Any], seconds: float
) -> None:
    """Logs miles' default metrics of a rollout and ``metrics`` to miles' trackers."""
    from miles.ray.rollout.metrics import log_rollout_data
    from miles.utils.metric_utils import compute_rollout_step
    from miles.utils.tracking_utils import tracking

    by_default = copy.copy(args)
    by_default.custom_rollout_log_function_path = None
    try:
        log_rollout_data(rollout_id, by_default, samples, metrics, seconds)
    except Exception:
        # A sample without a reward breaks miles' statistics; it must not break the run.
        logger.exception("miles' own metrics failed in rollout %d", rollout_id)
        step = {"rollout/step": compute_rollout_step(args, rollout_id)}
        tracking.log(args, {**metrics, **step}, step_key="rollout/step")
