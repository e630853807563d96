"""A whole ``verl.trainer.main_ppo`` on curricula: trained, killed, and resumed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.with_verl_0_9 import inputs

SOURCES = ("easy", "hard")
STEPS = 8
SAVED = 4
"""The step of the checkpoint that the second life starts from; the next one is that of the end."""
KILLED = 6
"""The first life is killed after this step, and long before the end."""

ALPHA = 0.5
UPDATES_PER_LEVEL = 3
SAMPLER = [
    "+data.sampler.class_name=RewardCurriculumSampler",
    "+data.sampler.complexity_source=hard",
    "+data.sampler.initial_complexity_percentile=30",
    "+data.sampler.num_intervals=3",
    "+data.sampler.reward_threshold=0.5",
    f"+data.sampler.min_batches_per_level={UPDATES_PER_LEVEL}",
    "+data.sampler.check_frequency=1",
    "+data.sampler.adaptive_weights=true",
    f"+data.sampler.alpha={ALPHA}",
    "+data.sampler.update_frequency=1",
    "+data.sampler.temperature=0.3",
]
OPEN_ROWS = [rows * inputs.ROWS // 90 for rows in (27, 48, 69, 90)]
"""Hard rows that are open at each level: 30 %, and then a third of the rest at a time."""

_HANGS_AFTER = 400
"""Seconds after which a run is given up."""
_EXTERNAL = ",".join(
    (
        "tests.with_verl_0_9.cpu_platform",
        "tests.with_verl_0_9.cpu_rollout",
        "curriculum_learning.verl_trainer",
    )
)


class Life(NamedTuple):
    """What one process left behind."""

    metrics: dict[int, dict[str, Any]]
    samples: dict[int, list[tuple[str, float]]]
    """The prompt and the score of each sample, by step; without padding."""
    padding: int
    log: str

    def prompts(self, step: int) -> list[str]:
        """The prompts of a step, in no order of verl's."""
        return sorted({prompt for prompt, _ in self.samples[step]})

    def stats(self, step: int) -> dict[str, float]:
        """What the sampler said after a step."""
        prefix = "curriculum/"
        return {
            name.removeprefix(prefix): value
            for name, value in self.metrics[step].items()
            if name.startswith(prefix)
        }


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Life, Life]:
    """A run that is killed after some steps beyond a checkpoint, and the same run started again."""
    folder = inputs.write_model(tmp_path_factory.mktemp("run"))
    for source in SOURCES:
        inputs.write_rows(folder / f"{source}.parquet", source)
    return _live(folder, "first", until=KILLED), _live(folder, "second")


def _live(folder: Path, name: str, until: int | None = None) -> Life:
    """Run verl to its end, or to the end of a step and kill it there."""
    record = folder / name
    with _running(folder, record) as process:
        deadline = time.monotonic() + _HANGS_AFTER
        while process.poll() is None and (until is None or not _is_recorded(record, until)):
            assert time.monotonic() < deadline, f"no end in sight:\n{_log(record)}"
            time.sleep(0.05)
        if until is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
    assert status == (0 if until is None else -signal.SIGKILL), _log(record)
    return _read(record)


@contextlib.contextmanager
def _running(folder: Path, record: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of verl with a process group of its own, which does not outlive the block."""
    record.mkdir()
    # Ray makes sockets there, whose names must be short.
    ray_folder = tempfile.mkdtemp(prefix="ray")
    command = [
        *(sys.executable, "-m", "verl.trainer.main_ppo"),
        *inputs.settings(folder, *(folder / f"{source}.parquet" for source in SOURCES)),
        *SAMPLER,
        f"trainer.total_training_steps={STEPS}",
        f"trainer.save_freq={SAVED}",
        f"trainer.default_local_dir={folder}/checkpoints",
        f"trainer.rollout_data_dir={record}/samples",
        f"+ray_kwargs.ray_init._temp_dir={ray_folder}",
        f"hydra.run.dir={record}",
        "hydra.output_subdir=null",
    ]
    environment = {
        **os.environ,
        "VERL_USE_EXTERNAL_MODULES": _EXTERNAL,
        "VERL_PLATFORM": "cpu",
        "VERL_FILE_LOGGER_PATH": str(record / "metrics.jsonl"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "datasets"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_prestart_worker_first_driver": "0",
    }
    with (record / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            shutil.rmtree(ray_folder, ignore_errors=True)


def _is_recorded(record: Path, step: int) -> bool:
    """Whether both files that verl writes of a step are there, the last one in full."""
    samples = record / "samples" / f"{step}.jsonl"
    return samples.is_file() and samples.read_bytes().endswith(b"\n") and step in _metrics(record)


def _entries(path: Path) -> list[Any]:
    """What a file of JSON lines holds, without a line that is being written."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def _metrics(record: Path) -> dict[int, dict[str, Any]]:
    return {entry["step"]: entry["data"] for entry in _entries(record / "metrics.jsonl")}


def _log(record: Path) -> str:
    return (record / "log").read_text(errors="replace")


def _read(record: Path) -> Life:
    rows = {int(path.stem): _entries(path) for path in (record / "samples").iterdir()}
    samples = {
        step: [(row["input"], row["score"]) for row in of_step if row["input"]]
        for step, of_step in rows.items()
    }
    padding = sum(map(len, rows.values())) - sum(map(len, samples.values()))
    return Life(_metrics(record), samples, padding, _log(record))


def _source(prompt: str) -> str:
    return prompt.split()[1]


def test_start_line_tells_mode_and_sampler(lives: tuple[Life, Life]) -> None:
    """One log line says that the mode is active, with which sampler, from which files."""
    (line,) = [line for line in lives[0].log.splitlines() if "Trainer mode" in line]
    assert "'curriculum'" in line
    assert "RewardCurriculumSampler" in line
    assert "verl_trainer.py" in line
    assert "samplers.py" in line


def test_policy_is_trained(lives: tuple[Life, Life]) -> None:
    """The weights of the policy change in every step."""
    assert all(metrics["actor/grad_norm"] > 0 for metrics in lives[0].metrics.values())


def test_rewards_move_the_weights(lives: tuple[Life, Life]) -> None:
    """The source of lower reward gets the higher weight as soon as there are rewards."""
    first = lives[0]
    assert [_source(prompt) for prompt in first.prompts(1)] == ["easy", "easy", "hard", "hard"]
    for step in first.metrics:
        assert first.stats(step)["weight/hard"] > 0.6
    chosen = [_source(prompt) for step in range(2, KILLED + 1) for prompt in first.prompts(step)]
    assert chosen.count("hard") > 0.6 * len(chosen)


def test_sampler_sees_every_sample_and_no_padding(lives: tuple[Life, Life]) -> None:
    """The averages of the sampler are those of the samples that verl wrote down."""
    first = lives[0]
    assert first.padding > 0
    averages: dict[str, float] = {}
    for step in range(1, KILLED + 1):
        for source in SOURCES:
            scores = [score for prompt, score in first.samples[step] if _source(prompt) == source]
            if scores:
                mean = float(np.mean(scores))
                averages[source] = ALPHA * mean + (1 - ALPHA) * averages.get(source, mean)
        stats = first.stats(step)
        assert {source: stats[f"reward_ema/{source}"] for source in averages} == pytest.approx(
            averages
        )


def test_levels_open(lives: tuple[Life, Life]) -> None:
    """Levels open with the updates, and prompts come from what was open when they were chosen."""
    first = lives[0]
    levels = [0, *(first.stats(step)["level"] for step in range(1, KILLED + 1))]
    assert levels == [step // UPDATES_PER_LEVEL for step in range(KILLED + 1)]
    for step in range(1, KILLED + 1):
        hard = [int(prompt.split()[2]) for prompt in first.prompts(step) if "hard" in prompt]
        assert max(hard) < OPEN_ROWS[int(levels[step - 1])]


def test_resumed_run_repeats_the_killed_one(lives: tuple[Life, Life]) -> None:
    """After a kill the steps beyond the checkpoint have the same prompts, weights and levels."""
    first, second = lives
    assert STEPS not in first.metrics
    assert sorted(second.metrics) == list(range(SAVED + 1, STEPS + 1))
    for step in range(SAVED + 1, KILLED + 1):
        assert second.prompts(step) == first.prompts(step)
        assert second.stats(step) == first.stats(step)
