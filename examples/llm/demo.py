"""The demo on a language model: measure, train, measure again; a table and a picture.

python -m examples.llm.demo [--steps N] [--out DIR] [--resume] [--uniform] [--seed N]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from examples.llm import problems, report, train
from examples.llm.model import write_model

STEPS, STEPS_ON_GPU = 45, 400


class Options(NamedTuple):
    """What the command line says."""

    out: Path
    steps: int
    prompts: int
    held_out: int
    resume: bool
    uniform: bool
    seed: int


def run(options: Options) -> None:
    """Measures, trains, measures again, and writes ``table.txt`` and ``curves.png``."""
    out, checkpoints = options.out, options.out / "run"
    if not options.resume:
        shutil.rmtree(checkpoints, ignore_errors=True)
        (out / "before.json").unlink(missing_ok=True)
    print("Loading SmolLM2-135M-Instruct ...", flush=True)
    folder = write_model(out / "model")
    model, tokenizer = train.load(folder)
    saved = [int(path.name.split("-")[1]) for path in checkpoints.glob("checkpoint-*")]
    left = options.steps - max(saved, default=0)
    seconds = train.seconds_of_a_step(model, tokenizer, options.prompts)
    print(
        f"{left} steps of {options.prompts} prompts x {train.COMPLETIONS} completions, "
        f"{seconds:.1f} s each: about {1 + left * seconds / 60:.0f} minutes on {_device()}. "
        f"Interrupt it at any time, --resume goes on.",
        flush=True,
    )
    began = time.perf_counter()
    if not (out / "before.json").exists():
        found = train.accuracy(model, tokenizer, options.held_out)
        (out / "before.json").write_text(json.dumps(found), encoding="utf-8")
    before = json.loads((out / "before.json").read_text(encoding="utf-8"))
    del model
    trainer = train.make_trainer(
        folder,
        checkpoints,
        steps=options.steps,
        prompts=options.prompts,
        uniform=options.uniform,
        seed=options.seed,
    )
    trainer.train(resume_from_checkpoint=bool(saved))
    after = train.accuracy(trainer.model, tokenizer, options.held_out)
    finish(out, trainer, before, after)
    print(f"{time.perf_counter() - began:.0f} s. A single run of one seed.")


def finish(
    out: Path, trainer: Any, before: Mapping[str, float], after: Mapping[str, float]
) -> None:
    """Writes the table and the picture, and shows the table."""
    lines = train.lines_of(trainer.state.log_history)
    mixture = trainer.curriculum.mixture
    drawn = dict(zip(mixture.names, mixture.drawn, strict=True))
    text = report.table(lines, drawn, before, after)
    (out / "table.txt").write_text(text + "\n", encoding="utf-8")
    report.picture(lines, out / "curves.png")
    print(f"\n{text}\n\nReward: of samples at temperature 1. Held out: problems that were never")
    print(f"trained on, one greedy answer each. Curves: {out / 'curves.png'}")


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "the processor"


def main() -> int:
    """The command line."""
    default = STEPS_ON_GPU if torch.cuda.is_available() else STEPS
    parser = argparse.ArgumentParser(description="A curriculum for a real language model.")
    parser.add_argument("--steps", type=int, default=default, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("demo_output/llm"), help="%(default)s")
    parser.add_argument("--prompts", type=int, default=8, help="of a step; default: %(default)s")
    parser.add_argument(
        "--held-out",
        type=int,
        default=problems.HELD_OUT,
        choices=range(1, problems.HELD_OUT + 1),
        metavar="N",
        help="problems to measure a rung by, at most %(default)s",
    )
    parser.add_argument("--resume", action="store_true", help="continue what was interrupted")
    parser.add_argument("--uniform", action="store_true", help="equal parts of all rungs")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    options = Options(**vars(parser.parse_args()))
    logging.getLogger("curriculum_learning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")
    try:
        run(options)
    except KeyboardInterrupt:
        print("\ninterrupted; continue with --resume", file=sys.stderr)
        return 130
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    sys.exit(main())
