"""Measures the figures of the mixture that ``docs/engines.md`` shows, in the engines themselves.

``python -m tests.figures ENGINE [CHECKOUT]`` prints rows of its table. The engine is ``slime`` or
``miles``, with a checkout; ``loop``; or ``trl`` or ``verl``, in the environment of their tests.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

Counts = Mapping[str, float]
Figures = tuple[Counts, Counts]
"""Groups of each source that were drawn, replacements included, and those that were trained."""

LOSSES = ("none", "trained", "served")
"""A run without losses, and those with losses for each target of the mixture."""
ROLLOUTS = 40


def main() -> None:
    """Measure one engine."""
    parser = argparse.ArgumentParser(prog="python -m tests.figures", description=__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("checkout", nargs="?", type=Path)
    options = parser.parse_args()
    if options.checkout is not None:
        sys.path.append(str(options.checkout))
    print("| engine | losses, `mixture_target` | drawn | trained | groups trained | not trained |")
    print("|---|---|---|---|---|---|")
    for mode, losses, (drawn, trained) in ENGINES[options.engine]():
        part = {name: 1 - trained[name] / drawn[name] for name in drawn}
        cells = (mode, losses, _shares(drawn), _shares(trained), f"{sum(trained.values()):,.0f}")
        print(f"| {' | '.join(cells)} | {' / '.join(f'{part[name]:.2f}' for name in drawn)} |")


def _shares(counts: Counts) -> str:
    total = sum(counts.values())
    return " / ".join(f"{count / total:.3f}".removeprefix("0") for count in counts.values())


def _of_counts(counts: Mapping[str, Counts]) -> Figures:
    """Reads ``source_counts``."""
    drawn = {name: of["drawn"] + of.get("replaced", 0) for name, of in counts.items()}
    return drawn, {name: of["trained"] for name, of in counts.items()}


def _keys(losses: str, mode: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a run of slime or miles."""
    if losses == "none":
        return {**mode, "dynamic_sampling_filter_path": None}
    drop_many = "tests.with_slime.prompts.drop_many"
    return {**mode, "dynamic_sampling_filter_path": drop_many, "mixture_target": losses}


def _slime() -> Iterable[tuple[str, str, Figures]]:
    from tests.with_slime import stand_ins

    stand_ins.install()
    from tests.with_slime.engine import CONSTANT, InferenceServer, Run, make_args
    from tests.with_slime.test_curricula import MODES

    for mode, keys in MODES.items():
        for losses in LOSSES if mode == "synchronous" else LOSSES[:1]:
            with tempfile.TemporaryDirectory() as folder:
                own = {"data_source_weights": CONSTANT, "autosave": False, **_keys(losses, keys)}
                server = InferenceServer(seconds_per_token=0.0 if mode == "synchronous" else 0.0005)
                with Run(make_args(Path(folder), **own), server=server) as run:
                    for rollout_id in range(ROLLOUTS):
                        run.generate(rollout_id)
                    counts = run.source.source_counts()
            yield f"slime, {mode}", losses, _of_counts(counts)


def _miles() -> Iterable[tuple[str, str, Figures]]:
    from tests.with_miles import stand_ins

    stand_ins.install()
    from tests.with_miles.engine import Run, make_args
    from tests.with_miles.test_curricula import MODES

    for mode, (rollout_function, keys) in MODES.items():
        for losses in LOSSES:
            own = {"max_in_flight_rollouts": 2, "autosave": False, **_keys(losses, keys)}
            with (
                tempfile.TemporaryDirectory() as folder,
                Run(make_args(Path(folder), **own), rollout_function) as run,
            ):
                for rollout_id in range(ROLLOUTS):
                    run.generate(rollout_id)
                counts = run.source.source_counts()
            yield f"miles, {mode}", losses, _of_counts(counts)


def _loop() -> Iterable[tuple[str, str, Figures]]:
    from tests.groups.test_replacements import DROPS, run_arguments, train

    for losses in LOSSES:
        target = "trained" if losses == "none" else losses
        drops = {} if losses == "none" else DROPS
        with tempfile.TemporaryDirectory() as folder:
            args = run_arguments(Path(folder), drops, mixture_target=target)
            source, _ = train(args, 200)
        yield "your own loop", losses, _of_counts(source.source_counts())


def _trl() -> Iterable[tuple[str, str, Figures]]:
    from tests.with_trl import inputs

    weights = {"a": 0.5, "b": 0.3, "c": 0.2}
    with tempfile.TemporaryDirectory() as folder:
        model, rows = inputs.write_model(Path(folder)), inputs.rows(*weights)
        keys = {"source_weights": weights}
        trainer, rewards = inputs.trainer(model, keys, dataset=rows, max_steps=ROLLOUTS)
        trainer.train()
    sources = Counter(prompt.split()[0] for block in rewards.blocks for prompt in block)
    drawn = {name: sources[name] for name in weights}
    yield "TRL", "none", (drawn, drawn)


def _verl() -> Iterable[tuple[str, str, Figures]]:
    from tests.with_verl_0_9 import modes

    for mode in modes.MODES:
        for losses in LOSSES:
            lossy = (*modes.FILTERED, *modes.REFILLED, *modes.STALE)
            keys = () if losses == "none" else (*lossy, f"+data.sampler.mixture_target={losses}")
            fortunes = modes.SMOOTH if losses == "none" else modes.ROUGH
            with (
                tempfile.TemporaryDirectory() as folder,
                pytest.MonkeyPatch.context() as patch,
            ):
                files = modes.write_inputs(Path(folder))
                life = modes.live(
                    files, Path(folder), patch, mode, *keys, fortunes=fortunes, steps=200
                )
            drawn, trained = (
                Counter(life.engine.rows[uid][0] for uid in groups)
                for groups in (list(life.engine.rows), life.trained())
            )
            names = modes.WEIGHTS
            of_names = (
                {name: drawn[name] for name in names},
                {name: trained[name] for name in names},
            )
            yield f"verl 0.9, `{mode}`", losses, of_names


ENGINES = {"slime": _slime, "miles": _miles, "loop": _loop, "trl": _trl, "verl": _verl}

if __name__ == "__main__":
    main()
