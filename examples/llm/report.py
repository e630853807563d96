"""The table and the picture of a run on a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.llm.problems import RUNGS, draw

Lines = Sequence[Mapping[str, Any]]
"""The lines of the trainer's log, one a step."""


def mean_reward(lines: Lines, rung: str) -> float | None:
    """Returns the mean reward of a rung over the steps in which it came."""
    name = f"curriculum/reward/{rung}"
    rewards = [line[name] for line in lines if line.get(name) is not None]
    return sum(rewards) / len(rewards) if rewards else None


def table(
    lines: Lines,
    drawn: Mapping[str, int],
    before: Mapping[str, float],
    after: Mapping[str, float],
) -> str:
    """Returns the table.

    Args:
        lines: The log of the run.
        drawn: The prompts drawn of each rung.
        before: Accuracy on held-out problems before training.
        after: The same after it.
    """
    part = max(len(lines) // 4, 1)
    rewards = ("reward: first quarter", "last quarter")
    rows: list[tuple[str, ...]] = [
        ("rung", "such as", "prompts", *rewards, "held out: before", "after")
    ]
    for rung in RUNGS:
        means = [mean_reward(span, rung.name) for span in (lines[:part], lines[-part:])]
        shown = ["-" if mean is None else f"{mean:.2f}" for mean in means]
        example = draw(rung, 1, seed=1)[0][0]
        rows.append(
            (
                *(rung.name, example, str(drawn[rung.name]), *shown),
                *(f"{before[rung.name]:.2f}", f"{after[rung.name]:.2f}"),
            )
        )
    text = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([text[0], "|" + "---|" * len(rows[0]), *text[1:]])


def picture(lines: Lines, path: Path) -> None:
    """Draws weight and reward of each rung over the steps."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (weights, rewards) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for rung in RUNGS:
        steps = [line["step"] for line in lines]
        shares = [line[f"curriculum/weight/{rung.name}"] for line in lines]
        weights.step(steps, shares, label=rung.name, where="post")
        name, mean, points = f"curriculum/reward/{rung.name}", None, []
        for line in lines:
            if line.get(name) is not None:
                mean = line[name] if mean is None else 0.8 * mean + 0.2 * line[name]
                points.append((line["step"], mean))
        rewards.plot(*zip(*points, strict=True), label=rung.name) if points else None
    weights.set(title="Share of prompts", xlabel="step", ylim=(0, 1))
    rewards.set(title="Reward, moving average", xlabel="step", ylim=(0, 1))
    rewards.legend(frameon=False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
