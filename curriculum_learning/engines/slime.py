"""What slime says of its rollouts, and its own log of them."""

from __future__ import annotations

import logging
import sys
from typing import Any

from curriculum_learning.mixing.clock import RolloutClock

logger = logging.getLogger(__name__)


class SlimeRollout:
    """The rollout that slime is in, where its module is loaded and says so.

    What it says when this is made is left over from an earlier run, until it says something else.
    """

    def __init__(self) -> None:
        self._stale = _said()

    def current(self) -> int | None:
        """Returns the rollout; None if slime does not say it."""
        rollout = _said()
        if rollout == self._stale:
            return None
        self._stale = None
        return rollout

    def tell(self, clock: RolloutClock) -> None:
        """Moves a clock on to the rollout, if slime says it."""
        if (rollout := self.current()) is not None:
            clock.begun(rollout)


def _said() -> int | None:
    rollout = getattr(sys.modules.get("slime.rollout.sample_hooks"), "_current_rollout_id", None)
    return rollout if isinstance(rollout, int) else None


def log_in_slime(
    rollout_id: int, args: Any, samples: list[Any], metrics: dict[str, Any], seconds: float
) -> None:
    """Logs what slime's default does, and ``metrics``, through slime's trackers."""
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
