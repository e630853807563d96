"""The line of each rollout and the table at the end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning import progress
from curriculum_learning.custom_log import custom_rollout_log_function
from tests.harness import interrupt, prompt_files


def test_a_run_talks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line per rollout has weight, share, trained share and reward; the table has the counts."""
    config = {
        "prompt_data": prompt_files(tmp_path, {"a": 40, "b": 9}),
        "data_source_weights": {"a": 3, "b": 1},
        "data_source_metrics_callback": "curriculum_learning.progress.line",
    }
    source = DataSource(config)
    for rollout_id in range(2):
        groups = source.get_samples(8)
        for sample in (sample for group in groups for sample in group):
            sample.reward = 1.0 if sample.metadata["data_source"] == "a" else 0.25
        source.add_samples([interrupt(groups.pop())])
        only_a = [group for group in groups if group[0].metadata["data_source"] == "a"]
        custom_rollout_log_function(
            rollout_id, config, groups if rollout_id == 0 else only_a, {}, 1.0
        )
    first, second = capsys.readouterr().out.splitlines()
    shares = re.findall(r"trained (\d\.\d\d)", first)
    assert sum(map(float, shares)) == pytest.approx(1)
    assert first.startswith(f"rollout   0  |  a weight 3.00 share 0.75 trained {shares[0]} reward")
    assert first.split("  |  ")[1].endswith("reward 1.00")
    assert first.endswith("reward 0.25")
    assert second.endswith("b weight 1.00 share 0.25 trained 0.00 reward    -")
    header, *rows = progress.table(source).splitlines()
    assert header.split("  ")[0] == "source"
    assert [row.split()[0] for row in rows] == ["a", "b"]
    drawn = [int(row.split()[2]) for row in rows]
    assert drawn == [int(counts["drawn"]) for counts in source.source_counts().values()]
    assert len({len(row) for row in (header, *rows)}) == 1
