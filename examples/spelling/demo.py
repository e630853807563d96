"""The demo: a curriculum and uniform mixing side by side, then a table and a picture.

python -m examples.spelling.demo [--out DIR] [--resume]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from statistics import fmean

import yaml
from tqdm import tqdm

from examples.spelling import report
from examples.spelling.prompts import SOURCES, Spelling
from examples.spelling.records import Metrics, MetricsReader, remove_run

CONFIGS = {
    "curriculum": Path("configs/demo.yaml"),
    "uniform": Path("configs/demo_uniform.yaml"),
}
LOG_FILE = "train.log"
POLL_SECONDS = 0.2
SHOWN_ROLLOUTS = 10
"""The rewards that the progress bar shows are means over so many rollouts."""


class RunFailedError(RuntimeError):
    """A training process ended with an error."""


class Training:
    """One training process and its progress bar.

    Args:
        name: Of the run; a key of ``CONFIGS``.
        folder: What it writes to.
        line: Where its progress bar is on the screen, counted from the top.
        resume: Continue what is in the folder.
    """

    def __init__(self, name: str, folder: Path, line: int, *, resume: bool) -> None:
        self.name = name
        self.folder = folder
        self._metrics = MetricsReader(folder)
        self._rewards: dict[str, deque[float]] = {
            source: deque(maxlen=SHOWN_ROLLOUTS) for source in SOURCES
        }
        total = yaml.safe_load(CONFIGS[name].read_text(encoding="utf-8"))["num_rollout"]
        self._bar = tqdm(total=total, desc=f"{name:>10}", position=line, dynamic_ncols=True)
        self._bar.set_postfix_str("warm start")
        folder.mkdir(parents=True, exist_ok=True)
        if not resume:
            remove_run(folder)
        command = [sys.executable, "-m", "examples.spelling.train", "--end-with-stdin"]
        command += ["--config", str(CONFIGS[name]), "--out", str(folder)]
        if resume:
            command.append("--resume")
        with open(folder / LOG_FILE, "ab" if resume else "wb") as log:
            self.process = subprocess.Popen(
                command,
                # The process holds the other end of this pipe, and so ends when we do.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # One thread each, and none that waits by computing: there are two processes.
                env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"},
            )

    def is_over(self) -> bool:
        """Bring the progress bar up to date; whether the run has ended well.

        Raises:
            RunFailedError: It has ended otherwise.
        """
        code = self.process.poll()
        for line in self._metrics.new():
            self._show(line)
        if code:
            log = self.folder / LOG_FILE
            last = "".join(log.read_text(encoding="utf-8").splitlines(keepends=True)[-20:])
            raise RunFailedError(f"the {self.name} run ended with status {code}; {log}:\n{last}")
        return code == 0

    def _show(self, line: Metrics) -> None:
        parts = []
        for source, rewards in self._rewards.items():
            reward = line.get(f"rollout/{source}/raw_reward/mean")
            if reward is not None:
                rewards.append(reward)
            shown = f"{fmean(rewards):.2f}" if rewards else "-"
            parts.append(f"{source} {line[f'rollout/{source}/weight']:.2f}/{shown}")
        self._bar.set_postfix_str("weight/reward " + ", ".join(parts), refresh=False)
        self._bar.update()

    def close(self) -> None:
        """End the process if it is still there."""
        self._bar.close()
        self.process.kill()
        self.process.wait()


def run(out: Path, *, resume: bool) -> None:
    """Train what ``CONFIGS`` names, at the same time, in folders of their names in ``out``."""
    for config in CONFIGS.values():
        Spelling().write_prompts(yaml.safe_load(config.read_text(encoding="utf-8"))["prompt_data"])
    with contextlib.ExitStack() as stack:
        trainings = []
        for line, name in enumerate(CONFIGS):
            training = Training(name, out / name, line, resume=resume)
            stack.callback(training.close)
            trainings.append(training)
        running = trainings
        while running:
            time.sleep(POLL_SECONDS)
            running = [training for training in running if not training.is_over()]


def finish(out: Path, seconds: float) -> None:
    """Write ``table.txt`` and ``curves.png`` to ``out``, and show the table."""
    runs = [report.read_run(name, out / name) for name in CONFIGS]
    text = report.table(runs)
    (out / "table.txt").write_text(text + "\n", encoding="utf-8")
    report.draw(runs, out / "curves.png")
    print(f"\n{text}\n")
    print("Accuracy: one answer each to 1,000 held-out words per source, temperature 1.")
    print("These are two single runs, and runs vary with the seed: see examples/README.md.")
    print(f"{seconds:.0f} s. Table: {out / 'table.txt'}   Curves: {out / 'curves.png'}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="A curriculum against uniform mixing.")
    parser.add_argument(
        "--out", type=Path, default=Path("demo_output"), help="default: %(default)s"
    )
    parser.add_argument("--resume", action="store_true", help="continue what was interrupted")
    options = parser.parse_args()
    began = time.perf_counter()
    try:
        run(options.out, resume=options.resume)
    except KeyboardInterrupt:
        print("\ninterrupted; continue with --resume", file=sys.stderr)
        return 130
    except RunFailedError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    finish(options.out, time.perf_counter() - began)
    return 0


if __name__ == "__main__":
    sys.exit(main())
