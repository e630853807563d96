"""A preview of a long run: what it reports stays true, in bounded time and memory."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning.commands import outlook, picture
from tests.commands.test_preview import preview, write_config

WEIGHTS = ["lambda step: 1 + step / 100", "lambda step: 3 - 2 * (step > 150)"]
CURRICULA = [
    {},
    {"data_source_curricula": [None, {"type": "time", "complexity_warmup_steps": 100}]},
    {"data_source_adaptive": {"alpha": 0.5, "max_source_ratio": 100}},
    {"data_source_rule": {"type": "temperature", "temperature": 0.7}},
]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The steps that a user's weight in the working directory is asked for."""
    (tmp_path / "users_weights.py").write_text(
        "asked = []\ndef weight(step):\n    asked.append(step)\n    return 1.0 + step\n"
    )
    monkeypatch.chdir(tmp_path)
    import importlib

    monkeypatch.syspath_prepend(str(tmp_path))
    module: Any = importlib.import_module("users_weights")
    yield module.asked
    sys.modules.pop("users_weights")


def asked(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What is said of each source."""
    sources: list[dict[str, Any]] = result["sources"]
    return sources


@pytest.mark.parametrize("changes", CURRICULA)
def test_groups_that_are_not_drawn_are_reckoned_within_the_bound(
    changes: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Curves and warnings are the same, groups and epochs as near as the preview says."""
    path = write_config(
        tmp_path, data_source_weights=WEIGHTS, num_rollout=300, rollout_batch_size=5, **changes
    )
    drawn = preview(capsys, path, "--rows", "a=40,b=60")
    monkeypatch.setattr(outlook, "MOST_DRAWN", 100)
    reckoned = preview(capsys, path, "--rows", "a=40,b=60")
    assert "less than 4 groups off" in reckoned["assumptions"][-1]
    assert sum(source["groups"] for source in asked(reckoned)) == 1500
    for exact, near in zip(asked(drawn), asked(reckoned), strict=True):
        assert abs(exact["groups"] - near["groups"]) < 4
        assert near["shares"] == pytest.approx(exact["shares"])
        for key in ("weights", "open_shares", "largest_weight"):
            assert near[key] == exact[key]
        assert abs(exact["epochs"] - near["epochs"]) <= 1
        for end, near_end in zip(exact["epoch_ends"], near["epoch_ends"], strict=False):
            assert abs(end - near_end) <= 8  # of the 20 to 60 that an epoch takes
    texts = [[w.split(": ", 2)[1][:20] for w in r["warnings"]] for r in (drawn, reckoned)]
    assert texts[0] == texts[1]


def test_warnings_look_at_every_step_and_curves_at_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dip of one step and the last change are found between the points of the curves."""
    dip = "lambda step: 0.001 if step == 7777 else 1"
    path = write_config(tmp_path, data_source_weights=[dip, 1], num_rollout=20_000)
    whole = preview(capsys, path)
    monkeypatch.setattr(outlook, "MOST_SHOWN", 101)
    result = preview(capsys, path)
    assert "in 1 steps (7777 to 7777" in result["warnings"][0]
    assert result["notes"] == ["from step 7778 of 20000 on the weight of 'a' is constant"]
    assert (result["warnings"], result["notes"]) == (whole["warnings"], whole["notes"])
    steps = result["curve_steps"]
    assert (len(steps), steps[0], steps[-1]) == (101, 0, 19_999)
    some, every = asked(result)[0], asked(whole)[0]
    assert every["epochs"] == some["epochs"] > 101
    assert some["epoch_ends"] == every["epoch_ends"][:101]


def test_a_users_function_is_asked_a_bounded_number_of_times(
    calls: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once to try it, once to look ahead, and up to twice the run to see whether it ends."""
    path = write_config(
        tmp_path, data_source_weights=["users_weights.weight", 1], num_rollout=20_000,
        rollout_batch_size=100,
    )  # fmt: skip
    preview(capsys, path)
    assert max(calls) == 40_999
    assert len(calls) < 4 * 20_000 + 1100


def test_memory_does_not_grow_with_the_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The peak of 160,000 steps is about that of 40,000."""
    path = write_config(tmp_path, data_source_weights=["lambda step: 1 + step", 2])
    peaks = []
    for steps in (20_000, 40_000, 160_000):  # the first one imports what is needed
        tracemalloc.start()
        preview(capsys, path, "--steps", str(steps), "rollout_batch_size=100")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.3 * peaks[1]


def test_a_curve_has_no_more_points_than_the_picture_has_pixels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step and the last one are among them."""
    drawn: list[Any] = []
    monkeypatch.setattr(picture, "_draw", lambda *args, **keys: drawn.append((args, keys)))
    path = write_config(tmp_path, num_rollout=3000)
    preview(capsys, path, "--picture", str(tmp_path / "x.png"))
    (columns, *_), keys = drawn[0]
    panels, steps = columns["run.yaml"], keys["steps"]
    assert (len(steps), steps[0], steps[-1]) == (700, 0, 2999)
    assert {len(curve) for curves in panels.values() for curve in curves.values()} == {700}
