"""What slime is asked and told; without slime each function falls back to something of ours.

Where miles runs, a fork of slime, it is asked instead.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import sys
from typing import Any

from curriculum_learning.engines import miles
from curriculum_learning.mixing.clock import RolloutClock
from curriculum_learning.samples.sample import Sample

logger = logging.getLogger(__name__)


@functools.cache
def sample_class() -> type[Any]:
    """Returns the ``Sample`` of miles if it runs, of slime if it can be imported, else ours."""
    if miles.is_loaded():
        return miles.sample_class()
    try:
        from slime.utils.types import Sample as SlimeSample
    except ImportError as error:
        if not (isinstance(error, ModuleNotFoundError) and str(error.name).startswith("slime")):
            logger.warning(
                "slime is installed but cannot be imported (%s): using our Sample", error
            )
        return Sample
    return SlimeSample  # type: ignore[no-any-return]  # slime ships no types


class SlimeRollout:
    """The rollout that slime is in, if its module is loaded and knows it.

    The rollout it names when this is made is left over from an earlier run of the process.
    """

    def __init__(self) -> None:
        self._stale = _named_rollout()

    def current(self) -> int | None:
        """Returns the id of the rollout; None if slime does not name one."""
        rollout = _named_rollout()
        if rollout == self._stale:
            return None
        self._stale = None
        return rollout

    def tell(self, clock: RolloutClock) -> None:
        """Moves a clock on to the rollout, if slime names one."""
        if (rollout := self.current()) is not None:
            clock.begun(rollout)


def _named_rollout() -> int | None:
    rollout = getattr(sys.modules.get("slime.rollout.sample_hooks"), "_current_rollout_id", None)
    return rollout if isinstance(rollout, int) else None


@dataclasses.dataclass
class FilterOutput:
    """A filter's verdict where slime is not installed; false if the group is dropped."""

    keep: bool
    reason: str | None = None

    def __bool__(self) -> bool:
        return self.keep


@functools.cache
def filter_output_class() -> type[Any]:
    """Returns the ``DynamicFilterOutput`` of miles or slime, as for ``sample_class``."""
    if miles.is_loaded():
        return miles.filter_output_class()
    try:
        from slime.rollout.filter_hub.base_types import DynamicFilterOutput
    except ImportError:
        return FilterOutput
    return DynamicFilterOutput  # type: ignore[no-any-return]  # slime ships no types


def is_running(args: Any) -> bool:
    """Whether slime or miles is loaded and ``args`` are its own, with its trackers' settings."""
    return ("slime" in sys.modules or miles.is_loaded()) and hasattr(args, "use_wandb")


def log_rollout(
    rollout_id: int, args: Any, samples: list[Any], metrics: dict[str, Any], seconds: float
) -> None:
    """Logs the engine's default metrics of a rollout and ``metrics`` to the engine's trackers."""
    if miles.is_loaded():
        miles.log_rollout(rollout_id, args, samples, metrics, seconds)
        return
    if getattr(args, "load_debug_rollout_data", None):
        return
    try:
        # since August 2026
        from slime.observability import logging_utils, rollout_metrics
        from slime.observability.metric_utils import compute_rollout_step
    except ImportError:
        from slime.ray import rollout as rollout_metrics
        from slime.utils import logging_utils
        from slime.utils.metric_utils import compute_rollout_step

    defaults: dict[str, Any] = {}
    for prefix, compute, extra in (
        ("rollout/", rollout_metrics.compute_metrics_from_samples, ()),
        ("perf/", rollout_metrics.compute_perf_metrics_from_samples, (seconds,)),
    ):
        try:
            computed = compute(args, samples, *extra)
        except Exception:
            # A sample without a reward breaks slime's statistics; it must not break the run.
            logger.exception("slime's own metrics (%s) failed in rollout %d", prefix, rollout_id)
            continue
        defaults |= {prefix + key: value for key, value in computed.items()}
    log = {**defaults, **metrics}
    logger.info("rollout %d: %s", rollout_id, log)
    log["rollout/step"] = compute_rollout_step(args, rollout_id)
    logging_utils.log(args, log, step_key="rollout/step")
