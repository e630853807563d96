"""The example engine: it can be interrupted, killed and resumed without a trace."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from curriculum_learning.samples.sample import Sample
from curriculum_learning.state.files import saved_rollouts
from examples.spelling import grpo, report
from examples.spelling.engine import collect_batch, generate
from examples.spelling.policy import Policy, new_policy
from examples.spelling.prompts import Spelling
from examples.spelling.state import saved_states
from examples.spelling.task import held_out_file, read_rows
from examples.spelling.train import train

ROOT = Path(__file__).parents[1]
TASK = Spelling()
TEXT = TASK.text
WORDS = ["sun", "moon", "planet", "comet", "asteroids", "sky"]


def groups_of(words: Sequence[str], size: int = 2) -> list[list[Any]]:
    """Fresh groups, as a data source serves them."""
    return [
        [Sample(prompt=TEXT.beginning + word, label=word[::-1], metadata={}) for _ in range(size)]
        for word in words
    ]


def policy_of(seed: int) -> Policy:
    """An untrained policy."""
    return new_policy(TEXT, 128, seed)


def generator(seed: int = 0) -> torch.Generator:
    """A source of random numbers."""
    return torch.Generator().manual_seed(seed)


class Waiting:
    """A data source that serves what it was given back first, then new words."""

    def __init__(self) -> None:
        self.buffer: list[list[Any]] = []

    def get_samples(self, num_samples: int) -> list[list[Any]]:
        groups = self.buffer + groups_of(WORDS)
        self.buffer = []
        return groups[:num_samples]

    def add_samples(self, samples: list[list[Any]]) -> None:
        self.buffer += samples


def test_a_batch_is_exactly_full_and_the_rest_is_given_back_half_written() -> None:
    """A batch has the wanted number of complete groups; every other group is given back."""
    source = Waiting()

    batch = collect_batch(policy_of(0), TASK, source, 4, 6, generator())

    assert len(batch) == 4
    assert len(source.buffer) == 2
    assert {s.status for group in batch for s in group} <= {
        Sample.Status.COMPLETED,
        Sample.Status.TRUNCATED,
    }
    assert all(s.reward in (0.0, 1.0) for group in batch for s in group)
    for group in source.buffer:
        assert Sample.Status.ABORTED in {s.status for s in group}


def test_a_half_written_sample_is_continued_and_not_begun_again() -> None:
    """Tokens and log-probabilities of an interrupted sample are the beginning of its final ones."""
    source = Waiting()
    first, second = policy_of(1), policy_of(2)
    collect_batch(first, TASK, source, 1, 6, generator())
    samples = [sample for group in source.buffer for sample in group]
    before = [(list(s.tokens), list(s.rollout_log_probs)) for s in samples]
    assert any(log_probs for _, log_probs in before)

    generate(second, source.buffer, len(source.buffer), generator())

    for sample, (tokens, log_probs) in zip(samples, before, strict=True):
        assert sample.tokens[: len(tokens)] == tokens
        assert sample.rollout_log_probs[: len(log_probs)] == log_probs
        assert len(sample.rollout_log_probs) == sample.response_length <= TEXT.longest_answer
        assert sample.response == TEXT.decode(sample.tokens[-sample.response_length :])


def test_recorded_log_probabilities_are_those_of_the_policy() -> None:
    """Token by token with a cache, interrupted or not, gives what one look at the whole gives."""
    policy = policy_of(0)
    groups = groups_of(WORDS)
    generate(policy, groups, 2, generator())
    generate(policy, groups, len(groups), generator())
    for group in groups:
        group[0].reward, group[1].reward = 0.0, 1.0

    batch = grpo.make_batch(TEXT, groups)

    answers = batch.rows[:, -batch.mask.shape[1] :, None]
    recomputed = policy(batch.rows).log_softmax(-1).gather(2, answers)[:, :, 0] * batch.mask
    torch.testing.assert_close(recomputed, batch.old_log_probs, atol=1e-5, rtol=1e-5)


def test_groups_with_equal_rewards_have_no_advantage() -> None:
    """Rewards count relative to their group: where all are equal none is better than another."""
    advantages = grpo.advantages(torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 1.0]]))

    assert advantages[0].tolist() == [0.0, 0.0, 0.0]
    assert advantages[1][2] > 0 > advantages[1][0]


@pytest.mark.parametrize("word", ["sun", "comets", "planets", "asteroids", "telescopes"])
def test_only_the_exact_answer_is_rewarded(word: str) -> None:
    """The reward is 1 for the word spelled backward and 0 for anything longer or shorter."""
    label = word[::-1]

    rewards = [TASK.score(text, label) for text in (label, label + "x", label[:-1], "", "?")]

    assert rewards == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_held_out_words_are_not_trained_on(tmp_path: Path) -> None:
    """No word of a held-out file is in the training file of its source."""
    path = tmp_path / "easy.jsonl"

    TASK.write_prompts([str(path)])

    words = [
        {tuple(TEXT.encode(row["metadata"]["word"])) for row in read_rows(file)}
        for file in (path, held_out_file(path))
    ]
    assert all(words)
    assert not words[0] & words[1]


def start(config: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    """A training process."""
    command = [sys.executable, "-m", "examples.spelling.train", "--config", str(config)]
    return subprocess.Popen([*command, "--out", str(out), *options], cwd=ROOT)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch as the training process sets it up."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_killed_run_is_resumed_exactly(tmp_path: Path) -> None:
    """SIGKILL in the middle, then --resume: metrics and weights are those of a run left alone."""
    config = yaml.safe_load((ROOT / "configs/demo.yaml").read_text(encoding="utf-8"))
    config |= {
        "prompt_data": [str(tmp_path / f"{name}.jsonl") for name in ("easy", "medium", "hard")],
        "num_rollout": 24,
        "rollout_batch_size": 4,
        "over_sampling_batch_size": 6,
        "n_samples_per_prompt": 4,
        "save_interval": 4,
        "warm_start_mix": [1, 0, 0],
        "warm_start_steps": 36,
        "held_out_rows": 20,
    }
    config_file = tmp_path / "config.yaml"
    config_file.write_text(yaml.safe_dump(config), encoding="utf-8")
    alone, killed = tmp_path / "alone", tmp_path / "killed"

    process = start(config_file, killed)
    metrics = killed / "metrics.jsonl"
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < 10:
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert metrics.read_bytes().count(b"\n") < 24
    # As if the kill had come between the two halves of the newest checkpoint:
    (killed / "rollout" / f"curriculum_learning_{saved_rollouts(killed)[-1]}.state").unlink()
    process = start(config_file, killed, "--resume")
    train(config, alone, TASK)
    assert process.wait() == 0

    expected = (alone / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    actual = metrics.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["rollout_id"] for line in expected] == list(range(24))
    assert any(json.loads(line)["train/mixed_reward_groups"] > 0 for line in expected)
    assert expected == actual
    assert (alone / "held_out.json").read_text() == (killed / "held_out.json").read_text()
    expected_state, actual_state = (
        torch.load(folder / f"policy_{saved_states(folder)[-1]}.pt", weights_only=True)
        for folder in (alone, killed)
    )
    torch.testing.assert_close(expected_state, actual_state, rtol=0, atol=0)

    # What a finished run has written is all that the demo's report needs.
    runs = [report.read_run(name, alone) for name in ("curriculum", "uniform")]
    report.draw(runs, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    lines = report.table(runs).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["easy", "medium", "hard", "all", "answer"]
    assert lines[-2].split()[-1] == f"{24 * 4 * 4:,}"
