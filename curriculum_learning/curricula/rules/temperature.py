"""Temperature: shares between those of the sizes and equal ones.

::

    share ~ weight * rows ** (1 / temperature)

A temperature of 1 draws all rows equally often, a high one all sources.

Source: multilingual pretraining, with 1.43 in mBERT (Devlin et al. 2019, arXiv 1810.04805) and 3.33
in mT5 (Xue et al. 2021, arXiv 2010.11934), as Chung et al. 2023, arXiv 2304.09151, section 3, say.

It needs nothing but the number of rows.
Use it when some sources are much larger than others and none should be forgotten.
Do not use it when a small source would then repeat too often: see ``unimax``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

from annotated_types import Ge

from curriculum_learning.curricula.base import SourceRule
from curriculum_learning.curricula.softmax import softmax


class Temperature(SourceRule):
    """Gives sources shares by a power of their number of rows.

    Args:
        rows: The number of rows of each source.
        temperature: 1 for shares by size; the higher the more equal.
    """

    learns = False

    def __init__(
        self, rows: Mapping[str, int], *, temperature: Annotated[float, Ge(0.01)] = 1.0
    ) -> None:
        super().__init__(rows)
        self._logits = {name: math.log(size) / temperature for name, size in self.rows.items()}

    def shares(self, step: int, weights: Mapping[str, float]) -> Mapping[str, float]:
        """See ``SourceRule``."""
        return softmax(weights, self._logits)
