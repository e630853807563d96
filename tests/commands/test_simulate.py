from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning.__main__ import main

ROOT = Path(__file__).parents[2]
DEMO = str(ROOT / "configs" / "demo.yaml")

LOGGED = {
    "easy": [427, 254, 105, 37, 17, 17, 16, 16, 16, 16, 16, 16],
    "medium": [195, 343, 408, 320, 177, 132, 133, 134, 133, 133, 133, 133],
    "hard": [18, 43, 127, 283, 446, 491, 491, 490, 491, 491, 491, 491],
}
"""Trained groups that ``make demo`` logged (seed 1), in each 40 of its 480 rollouts."""


def simulate(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What the command gives, sources by name."""
    assert main(["simulate", *arguments, "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return {**result, "sources": {item["name"]: item for item in result["sources"]}}


MIX = ("data_source_weights=[1,1]", "--rows", "a=500,b=500", "--steps", "100", "--batch", "8")


def test_the_demo_is_reproduced(capsys: pytest.CaptureFixture[str]) -> None:
    """The trained shares are those that the real demo logged, from beginning to end."""
    result = simulate(
        capsys, DEMO, "--rows", "easy=5000,medium=5000,hard=5000",
        "--latency", "easy=4.8,medium=7.3,hard=10", "--spread", "0.1",
    )  # fmt: skip
    for name, logged in LOGGED.items():
        trained = result["sources"][name]["trained_by_rollout"]
        windows = [sum(trained[start : start + 40]) for start in range(0, 480, 40)]
        assert windows == pytest.approx(logged, abs=3)
        assert sum(windows) == sum(logged)
    assert result["notes"] == []


def test_the_same_seed_gives_the_same_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A simulation depends on its seed alone."""
    runs = [simulate(capsys, *MIX, "--drop", "a=0.4", "--seed", seed) for seed in "112"]
    assert runs[0] == runs[1] != runs[2]


def test_dropped_groups_pull_the_trained_mixture_away(capsys: pytest.CaptureFixture[str]) -> None:
    """A source whose groups are refused is trained less than it is drawn, and this is said."""
    result = simulate(capsys, *MIX, "--drop", "a=0.5")
    a, b = result["sources"]["a"], result["sources"]["b"]
    assert a["drawn_share"] == pytest.approx(0.5, abs=0.01)
    assert a["trained_share"] < 0.4
    assert a["dropped"] / (a["dropped"] + a["trained"]) == pytest.approx(0.5, abs=0.06)
    assert b["dropped"] == 0
    (note,) = result["notes"]
    assert note.startswith("trained shares depart from the weights: 'a' 0.3")
    assert note.endswith("\nmixture_target: trained")


def test_discarded_groups_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Without partial rollouts the slow groups of a request are let go of; with them, returned."""
    slow = ("--latency", "a=1,b=5", "--over-sampling", "12", "--spread", "0.3")
    discarded = simulate(capsys, *MIX, *slow)["sources"]["b"]
    returned = simulate(capsys, *MIX, *slow, "partial_rollout=true")["sources"]["b"]
    assert discarded["discarded"] > 0 == discarded["returned"]
    assert returned["returned"] > 0 == returned["discarded"]
    assert returned["mean_age"] > 0
    assert returned["mean_buffer"] > 0


def test_fully_asynchronous(capsys: pytest.CaptureFixture[str]) -> None:
    """Groups are generated across rollouts: slow ones are older, and time is not wasted."""
    slow = ("--latency", "a=1,b=8", "--spread", "1")
    waiting = simulate(capsys, *MIX, *slow)
    asynchronous = simulate(capsys, *MIX, *slow, "--fully-async")
    assert asynchronous["groups_per_time"] > 1.5 * waiting["groups_per_time"]
    assert asynchronous["sources"]["b"]["mean_age"] > asynchronous["sources"]["a"]["mean_age"]
    assert sum(item["trained"] for item in asynchronous["sources"].values()) == 800
