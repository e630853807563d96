"""One process of a run that is killed and started again: python -m tests.with_trl.life FOLDER ...

It writes each call of its reward function to ``calls-RANK.jsonl`` in the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from pathlib import Path
from typing import Any

from tests.with_trl import inputs

CURRICULUM: dict[str, Any] = {
    "class_name": "RewardCurriculumSampler",
    "complexity_source": "hard",
    "initial_complexity_percentile": 30,
    "num_intervals": 3,
    "reward_threshold": 0.5,
    "min_batches_per_level": 2,
    "check_frequency": 1,
    "adaptive_weights": True,
    "alpha": 0.5,
    "update_frequency": 1,
    "temperature": 0.3,
}
STEPS = 8
SAVED = 4


class Life(inputs.Rewards):
    """Writes its calls to a file, and ends the process at a step.

    Args:
        copies: Completions of each prompt.
        path: The file.
        killed: The step at which the process ends with SIGKILL.
    """

    def __init__(self, copies: int, path: Path, killed: int | None) -> None:
        super().__init__(copies)
        self._path, self._killed = path, killed

    def __call__(self, prompts: list[str], *args: Any, **others: Any) -> list[float]:
        """A reward for each sample."""
        rewards = super().__call__(prompts, *args, **others)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(self.calls[-1]) + "\n")
        if self.calls[-1][0] == self._killed:
            os.kill(os.getpid(), signal.SIGKILL)
        return rewards


def main() -> None:
    """Train, from the last checkpoint if there is one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--killed", type=int)
    options = parser.parse_args()
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    arguments = inputs.settings(
        options.out,
        per_device_train_batch_size=16 // processes,
        max_steps=STEPS,
        save_strategy="steps",
        save_steps=SAVED,
        ddp_backend="gloo" if processes > 1 else None,
    )
    rewards = Life(2, options.out / f"calls-{rank}.jsonl", options.killed)
    trainer = inputs.Trainer(
        model=str(options.model),
        reward_funcs=rewards,
        args=arguments,
        train_dataset=inputs.rows(),
        curriculum=CURRICULUM,
    )
    trainer.train(resume_from_checkpoint=any((options.out / "run").glob("checkpoint-*")))
    if rank == 0:
        log = json.dumps(trainer.state.log_history)
        (options.out / "log.json").write_text(log, encoding="utf-8")


if __name__ == "__main__":
    main()
