"""The tasks, one file each."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.evidence.tasks.base import EvidenceTask
from benchmarks.evidence.tasks.chains import Chains
from benchmarks.evidence.tasks.ladder import Ladder
from benchmarks.evidence.tasks.rows import Rows
from benchmarks.evidence.tasks.rows_scored import RowsScored
from benchmarks.evidence.tasks.rows_wrong import RowsWrong
from benchmarks.evidence.tasks.swamp import Swamp

TASKS: Mapping[str, EvidenceTask] = {
    "ladder": Ladder(),
    "chains": Chains(),
    "swamp": Swamp(),
    "rows": Rows(),
    "rows_scored": RowsScored(),
    "rows_wrong": RowsWrong(),
}
