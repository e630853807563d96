"""The softmax that source rules share."""

from __future__ import annotations

import math
from collections.abc import Mapping


def softmax(weights: Mapping[str, float], logits: Mapping[str, float]) -> dict[str, float]:
    """Returns shares proportional to ``weight * exp(logit)``, of sum 1; weight 0 stays at 0.

    Args:
        weights: The configured weight of each source, >= 0, at least one above 0.
        logits: A finite number for each source of positive weight.
    """
    exponents = {name: math.log(w) + logits[name] for name, w in weights.items() if w > 0}
    top = max(exponents.values())
    parts = {name: math.exp(exponent - top) for name, exponent in exponents.items()}
    total = math.fsum(parts.values())
    return {name: parts.get(name, 0.0) / total for name in weights}
