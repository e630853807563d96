"""The learner of the simulations, and the command that trains it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curriculum_learning import ConfigurationError
from curriculum_learning.__main__ import WELL, WRONG, main
from curriculum_learning.commands.learner import Learner, LearnerSettings, preset

HOOKS = """
custom_rollout_log_function_path: curriculum_learning.custom_log.custom_rollout_log_function
rollout_all_samples_process_path: curriculum_learning.custom_log.process_all_samples
"""
ROWS = ("--rows", "easy=60,hard=60")


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A configuration of two sources that learns."""
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(
        "prompt_data: [easy.jsonl, hard.jsonl]\ndata_source_weights: [1, 1]\nnum_rollout: 60\n"
        f"rollout_batch_size: 16\nn_samples_per_prompt: 8\nrollout_shuffle: true\n{HOOKS}"
    )
    return "base.yaml"


def simulate(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What the command gives as JSON."""
    assert main(["simulate", *arguments, *ROWS, "--json"]) == WELL
    return json.loads(capsys.readouterr().out)


# The learner


def one_row(skill: float = 0.0, **settings: Any) -> Learner:
    """A learner of one source with one row of difficulty 0."""
    learner = Learner(LearnerSettings({"a": 0.0}, **settings), {"a": 1}, seed=0)
    learner.skills["a"] = skill
    return learner


@pytest.mark.parametrize(
    ("skill", "rate"), [(0.0, 0.5), (1.0, 0.8175745), (-1.0, 0.1824255), (1e9, 1.0), (-1e9, 0.0)]
)
def test_the_pass_rate_is_logistic(skill: float, rate: float) -> None:
    """1 / (1 + exp(-1.5 * (skill - difficulty)))."""
    assert one_row(skill).pass_rate("a", 0) == pytest.approx(rate)


def test_only_groups_with_signal_teach() -> None:
    """By gain * 4 p (1 - p); a group of equal rewards teaches nothing."""
    learner = one_row(gain=0.1)
    learner.train([("a", [1.0, 1.0]), ("a", [0.0, 0.0])])
    assert learner.skills == {"a": 0.0}
    learner.train([("a", [0.0, 1.0]), ("a", [0.0, 0.0, 0.0, 1.0])])
    assert learner.skills["a"] == pytest.approx(0.1 * 1 + 0.1 * 0.75)


def test_skills_are_passed_on_and_forgotten() -> None:
    """Other sources gain a part; a source that is not trained loses one."""
    settings = LearnerSettings({"a": 0.0, "b": 0.0}, gain=1.0, transfer=0.25, forgetting=0.5)
    learner = Learner(settings, {"a": 1, "b": 1}, seed=0)
    learner.train([("a", [0.0, 1.0])])
    assert learner.skills == {"a": 1.0, "b": 0.25}
    learner.train([("a", [1.0, 1.0])])
    assert learner.skills == {"a": 1.0, "b": 0.125}


def test_difficulty_follows_the_scores() -> None:
    """With scores the row of the highest one is the hardest; without, chance deals them out."""
    settings = LearnerSettings({"a": 0.0, "b": 0.0})
    learner = Learner(settings, {"a": np.array([3.0, 1.0, 2.0]), "b": 100}, seed=1)
    rates = [learner.pass_rate("a", row) for row in range(3)]
    assert sorted(range(3), key=lambda row: rates[row]) == [0, 2, 1]
    dealt = [learner.pass_rate("b", row) for row in range(100)]
    assert sorted(dealt) != dealt
    again = Learner(settings, {"b": 100}, seed=1)
    assert [again.pass_rate("b", row) for row in range(100)] == dealt
    assert learner.accuracies()["a"] == pytest.approx(0.5)


def test_presets() -> None:
    """A ladder, one with an impossible source, and one of which 80 % is mastered."""
    names = ["a", "b", "c"]
    assert preset("ladder", names).difficulty == {"a": 0.0, "b": 1.5, "c": 3.0}
    impossible = Learner(preset("impossible", names), dict.fromkeys(names, 10), seed=0)
    assert impossible.learnable == ["a", "b"]
    impossible.skills["c"] = 1e9
    assert impossible.accuracies()["c"] == 0
    known = Learner(preset("mastered", names), dict.fromkeys(names, 10), seed=0)
    for name in names:
        assert sum(known.pass_rate(name, row) > 0.99 for row in range(10)) == 8
    assert known.accuracies()["a"] == pytest.approx(0.5)  # of the others


@pytest.mark.parametrize(
    "wrong",
    [{"gain": 0.0}, {"forgetting": 1.5}, {"spread": -1.0}, {"known": 1.0}, {"slope": math.inf}],
)
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        LearnerSettings({"a": 0.0}, **wrong)


# The command


def test_a_learner_is_trained(base: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Pass rates rise, the easy source first, and waste and mastery are told."""
    result = simulate(capsys, base, "--learner", "ladder", "--gain", "0.03")
    easy, hard = (source["learned"] for source in result["sources"])
    assert len(easy["pass_rates"]) == 60
    assert easy["pass_rates"][0] < 0.6 < 0.95 < easy["pass_rates"][-1]
    assert easy["mastered_after"] < hard["mastered_after"]
    assert result["groups_to_mastery"] == 16 * hard["mastered_after"]
    shares = [learned["no_signal_share"] for learned in (easy, hard)]
    assert min(shares) < result["no_signal_share"] < max(shares)
    assert result == simulate(capsys, base, "--learner", "ladder", "--gain", "0.03")
    assert result != simulate(capsys, base, "--learner", "ladder", "--gain", "0.03", "--seed", "1")


def test_difficulties_are_given(base: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By name; inf is never learned, and a number below 0 is easy."""
    result = simulate(capsys, base, "--difficulty", "easy=-3,hard=inf")
    easy, hard = (source["learned"] for source in result["sources"])
    assert easy["pass_rates"][0] > 0.8
    assert set(hard["pass_rates"]) == {0}
    assert hard["no_signal_share"] == 1


def test_a_source_that_is_not_trained_is_forgotten(
    base: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where its weight falls to 0 the pass rate falls."""
    weights = 'data_source_weights=["lambda step: 1 - min(step // 20, 1)", 1]'
    learner = ("--difficulty", "easy=0,hard=inf", "--gain", "0.05")
    kept = simulate(capsys, base, weights, *learner)["sources"][0]["learned"]["pass_rates"]
    lost = simulate(capsys, base, weights, *learner, "--forgetting", "0.1")
    forgotten = lost["sources"][0]["learned"]["pass_rates"]
    assert kept[-1] >= kept[21]
    assert forgotten[-1] < forgotten[21] - 0.2


def test_curricula_are_compared(base: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In one table, one picture, and as JSON by name; the curriculum sees the rewards."""
    Path("plain.yaml").write_text("data_source_rule: null\n")
    Path("sec.yaml").write_text("data_source_rule: {type: sec, temperature: 0.1}\n")
    compare = ("--learner", "impossible", "--compare", "plain.yaml", "sec.yaml")
    found = simulate(capsys, base, *compare)
    assert list(found) == ["plain", "sec"]
    trained = {name: [s["trained"] for s in result["sources"]] for name, result in found.items()}
    assert trained["plain"] == [480, 480]
    assert trained["sec"][0] > 600
    assert not Path("compare.png").exists()
    assert main(["simulate", base, *compare, *ROWS]) == WELL
    text = capsys.readouterr().out
    assert "picture: compare.png" in text
    assert text.count("sec ") == 2
    assert "plain: " in text
    assert Path("compare.png").stat().st_size > 10_000
    assert main(["simulate", "--compare", base, base, *ROWS, "--picture", "two.png"]) == WELL
    assert Path("two.png").exists()


@pytest.mark.parametrize(
    ("arguments", "piece"),
    [
        (
            ["base.yaml", "--learner", "ladder", "n_samples_per_prompt=1"],
            "n_samples_per_prompt is 1",
        ),
        (["base.yaml", "--difficulty", "easy=hard"], "a number, or inf"),
        (["base.yaml", "--difficulty", "esay=1"], "['esay'] are no sources"),
        (["base.yaml", "--learner", "ladder", "--gain", "0"], "--gain"),
        (["base.yaml", "--learner", "ladder", "--forgetting", "2"], "--forgetting"),
        (["--learner", "ladder"], "needs a CONFIG"),
        (["base.yaml", "--compare", "base.yaml", "gone.yaml"], "gone.yaml"),
    ],
)
@pytest.mark.usefixtures("base")
def test_what_cannot_be_simulated(
    arguments: list[str], piece: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the option or the key."""
    assert main(["simulate", *arguments, *ROWS]) == WRONG
    assert piece in capsys.readouterr().err


def test_without_hooks_nothing_is_learned_from_rewards(
    base: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A note says why a curriculum stands still."""
    result = simulate(
        capsys, base, "--learner", "ladder", "custom_rollout_log_function_path=null",
        "data_source_rule={type: sec}",
    )  # fmt: skip
    assert any("nothing reports rewards" in note for note in result["notes"])
