"""Whole processes of ``verl.trainer.main_ppo``, killed or not, and what they left behind."""

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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.with_verl_0_9 import inputs

SOURCES = ("easy", "hard")

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
    groups: dict[int, dict[int, str]]
    """The number and the prompt of each group, by step."""
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


def two_lives(folder: Path, settings: Sequence[str], killed: int) -> tuple[Life, Life]:
    """A run that is killed after the end of a step, and the same run started again."""
    inputs.write_model(folder)
    for source in SOURCES:
        inputs.write_rows(folder / f"{source}.parquet", source)
    return _live(folder, "first", settings, until=killed), _live(folder, "second", settings)


def _live(folder: Path, name: str, settings: Sequence[str], until: int | None = None) -> Life:
    """Run verl to its end, or to the end of a step and kill it there."""
    record = folder / name
    with _running(folder, record, settings) as process:
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
def _running(
    folder: Path, record: Path, settings: Sequence[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of verl with a process group of its own, which does not outlive the block."""
    record.mkdir()
    # Ray makes sockets there, whose names must be short.
    ray_folder = tempfile.mkdtemp(prefix="ray")
    command = [
        *(sys.executable, "-m", "verl.trainer.main_ppo"),
        *inputs.settings(folder, *(folder / f"{source}.parquet" for source in SOURCES)),
        *settings,
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
    groups = {
        step: {int(row["uid"].split("_")[0]): row["input"] for row in of_step if row["input"]}
        for step, of_step in rows.items()
    }
    padding = sum(map(len, rows.values())) - sum(map(len, samples.values()))
    return Life(_metrics(record), samples, groups, padding, _log(record))


def source_of(prompt: str) -> str:
    """The source of a row."""
    return prompt.split()[1]
