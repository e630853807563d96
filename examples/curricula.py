"""What each curriculum and source rule does for a learner without a model: a table in Markdown.

python -m examples.curricula [--seeds N]

Three sources, of 400, 200 and 100 rows, from easy to hard; rollouts of 32 groups of 8 samples. The
complexity scores of rows are right. All settings are the defaults, but for those in ``RUNS``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from curriculum_learning.commands.arguments import PRESETS
from curriculum_learning.commands.learner import preset
from curriculum_learning.commands.simulated_engine import EngineSettings
from curriculum_learning.commands.simulation import Result, simulate
from curriculum_learning.config.plan import ALL_SAMPLES_FUNCTION, LOG_FUNCTION

SIZES = {"easy": 400, "medium": 200, "hard": 100}
BATCH = 32
ROLLOUTS = 300
_LENGTH = {"steps": 150}
"""Of a run, where a curriculum must know it."""

CURRICULA: Mapping[str, Mapping[str, Any]] = {
    "time": {},
    "reward": {"reward_threshold": 0.7, "min_batches_per_level": 2, "check_frequency": 1},
    "difficulty_target": {},
    "learnability": {},
    "thompson": {},
    "pools": {},
    "replay": {},
    "pass_rate_gaussian": _LENGTH,
}
RULES: Mapping[str, Mapping[str, Any]] = {
    "adaptive": {},
    "sec": {},
    "dump": {},
    "easy_to_hard": _LENGTH,
    "learning_progress": {},
    "temperature": {"temperature": 3.33},
    "unimax": {"budget": BATCH * 150, "max_epochs": 10},
}
RUNS: Mapping[str, Mapping[str, Any]] = {
    "nothing": {},
    **{n: {"data_source_curricula": {"type": n, **keys}} for n, keys in CURRICULA.items()},
    **{n: {"data_source_rule": {"type": n, **keys}} for n, keys in RULES.items()},
}


def prompts(folder: Path) -> dict[str, Any]:
    """Writes prompt files with complexity scores; returns the configuration of all runs."""
    for name, size in SIZES.items():
        rows = (
            f'{{"input": "{name} {row}", "metadata": {{"complexity_score": {row}}}}}\n'
            for row in range(size)
        )
        (folder / f"{name}.jsonl").write_text("".join(rows))
    return {
        "prompt_data": [str(folder / f"{name}.jsonl") for name in SIZES],
        "data_source_weights": dict.fromkeys(SIZES, 1.0),
        "rollout_batch_size": BATCH,
        "n_samples_per_prompt": 8,
        "num_rollout": ROLLOUTS,
        "rollout_shuffle": True,
        "custom_rollout_log_function_path": LOG_FUNCTION,
        "rollout_all_samples_process_path": ALL_SAMPLES_FUNCTION,
    }


def run(values: Mapping[str, Any], learner: str, seed: int, *, to_the_end: bool = False) -> Result:
    """Runs a configuration until all is mastered, or to the end."""
    engine = EngineSettings(
        batch=BATCH, request=None, latency=dict.fromkeys(SIZES, 1.0), spread=0.5,
        drop=dict.fromkeys(SIZES, 0.0), reward=dict.fromkeys(SIZES, 0.0), seed=seed,
    )  # fmt: skip
    settings = preset(learner, list(SIZES))
    changed = {**values, "rollout_seed": seed}
    return simulate(changed, engine, ROLLOUTS, settings, until_mastered=not to_the_end)


def cell(results: Sequence[Result]) -> str:
    """The medians of trained groups to mastery, and of the share of groups without signal."""
    groups = [result.groups_to_mastery or BATCH * ROLLOUTS + 1 for result in results]
    dull = median(result.no_signal_share or 0.0 for result in results)
    middle = int(median(groups))
    shown = f"> {BATCH * ROLLOUTS}" if middle > BATCH * ROLLOUTS else str(middle)
    return f"{shown} ({dull:.0%})"


def main() -> None:
    """Prints the table, a line when it is known."""
    parser = argparse.ArgumentParser(prog="python -m examples.curricula")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each; default: 5")
    seeds = range(parser.parse_args().seeds)
    sys.stdout.write(f"| | {' | '.join(PRESETS)} |\n|{'---|' * (len(PRESETS) + 1)}\n")
    with tempfile.TemporaryDirectory() as folder:
        values = prompts(Path(folder))
        for name, changes in RUNS.items():
            cells = [
                cell([run({**values, **changes}, learner, seed) for seed in seeds])
                for learner in PRESETS
            ]
            sys.stdout.write(f"| {name} | {' | '.join(cells)} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
