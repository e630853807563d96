"""The demo on a language model: python -m examples.llm.demo [--steps N] [--out DIR] [--resume]."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import time
import warnings
from pathlib import Path

import torch

from examples.llm import report, train
from examples.llm.model import write_model

STEPS, STEPS_ON_GPU = 60, 400


def run(out: Path, steps: int, *, resume: bool, uniform: bool) -> None:
    """Measures, trains, measures again, and writes ``table.txt`` and ``curves.png``."""
    checkpoints = out / "run"
    if not resume and checkpoints.exists():
        shutil.rmtree(checkpoints)
    print("Loading SmolLM2-135M-Instruct ...", flush=True)
    folder = write_model(out / "model")
    model, tokenizer = train.load(folder)
    done = max((int(path.name.split("-")[1]) for path in checkpoints.glob("checkpoint-*")), default=0)
    seconds = train.seconds_of_a_step(model, tokenizer)
    print(
        f"{steps - done} steps of {train.PROMPTS} prompts x {train.COMPLETIONS} completions, "
        f"{seconds:.0f} s each: about {(steps - done) * seconds / 60 + 1:.0f} minutes on "
        f"{torch.cuda.get_device_name() if torch.cuda.is_available() else 'the processor'}. "
        f"Interrupt it at any time, --resume goes on.",
        flush=True,
    )
    before = _before(out / "before.json", model, tokenizer)
    del model
    began = time.perf_counter()
    trainer = train.make_trainer(folder, checkpoints, steps, uniform=uniform)
    trainer.train(resume_from_checkpoint=done > 0)
    after = train.accuracy(trainer.model, tokenizer)
    lines = train.lines_of(trainer.state.log_history)
    mixture = trainer.curriculum.mixture
    drawn = dict(zip(mixture.names, mixture.drawn, strict=True))
    text = report.table(lines, drawn, before, after)
    (out / "table.txt").write_text(text + "\n", encoding="utf-8")
    report.picture(lines, out / "curves.png")
    print(f"\n{text}\n\nReward: of samples at temperature 1. Held out: 64 problems a rung, the")
    print(f"likeliest answer. {time.perf_counter() - began:.0f} s. A single run of one seed.")
    print(f"Table: {out / 'table.txt'}   Curves: {out / 'curves.png'}")


def _before(path: Path, model: object, tokenizer: object) -> dict[str, float]:
    """Returns the accuracy before training, measured once."""
    if not path.exists():
        path.write_text(json.dumps(train.accuracy(model, tokenizer)), encoding="utf-8")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def main() -> int:
    """The command line."""
    default = STEPS_ON_GPU if torch.cuda.is_available() else STEPS
    parser = argparse.ArgumentParser(description="A curriculum for a real language model.")
    parser.add_argument("--steps", type=int, default=default, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("demo_output/llm"), help="%(default)s")
    parser.add_argument("--resume", action="store_true", help="continue what was interrupted")
    parser.add_argument("--uniform", action="store_true", help="equal parts of all rungs")
    options = parser.parse_args()
    logging.getLogger("curriculum_learning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")
    try:
        run(options.out, options.steps, resume=options.resume, uniform=options.uniform)
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
