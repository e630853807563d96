"""A curriculum and a rule of a user's, by dotted path and from an installed package."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from curriculum_learning import ConfigurationError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.__main__ import main
from curriculum_learning.config.curricula import read_curriculum
from curriculum_learning.config.dotted_path import importing_nothing
from tests.curricula.faces import again, data_source, rollout, rows_of_data, sampler, update
from tests.curricula.own import OWN, OWN_RULE, Unusable, UnusableRule
from tests.engines.sampler_data import Rows
from tests.harness import check_resume, name_of, row_of

INSTALLED = Path(__file__).parent / "installed"
CURRICULA = {"math": {"type": OWN, "floor": 0.0, "bound": 0.6}, "code": {"type": "odd_rows"}}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package in tests/curricula/installed is installed."""
    monkeypatch.syspath_prepend(INSTALLED)


def odd_share(rows: list[int]) -> float:
    """The part of odd rows."""
    return sum(row % 2 for row in rows) / len(rows)


@pytest.mark.usefixtures("installed")
def test_in_the_data_source(tmp_path: Path) -> None:
    """An engine's rollouts follow both, and the figures of the user's classes are among all."""
    rule = {"type": OWN_RULE}
    source = data_source(tmp_path, drop=0.0, data_source_curricula=CURRICULA, data_source_rule=rule)
    for number in range(8):
        rollout(source, number)
    status = source.source_status()
    assert status["math"]["own_updates"] == 8
    lowest = min(status, key=lambda name: status[name]["rule_mean"])
    assert status[lowest]["weight"] == pytest.approx(2 / 3)
    rows: dict[str, list[int]] = {"math": [], "code": []}
    for group in source.get_samples(300):
        rows[name_of(group)].append(row_of(group)[2])
    assert odd_share(rows["code"]) == pytest.approx(4 * 2 / (4 * 2 + 5), abs=0.03)
    means = source.dataset.sources[0].curriculum.rows.statistics.means  # type: ignore
    solved = {row for row in range(14) if means[row] >= 0.6}
    assert solved
    assert set(rows["math"]) == set(range(14)) - solved


@pytest.mark.usefixtures("installed")
def test_in_a_sampler() -> None:
    """The rows of batches follow both, and so do the figures."""
    dataset = rows_of_data()
    made = sampler(
        dataset, source_weights={"math": 1, "code": 1}, source_curricula=CURRICULA,
        source_rule={"type": "last_source"},
    )  # fmt: skip
    for number in range(8):
        batch, stats = update(dataset, made, number)
        assert Counter(dataset.names(batch)) == {"math": 2, "code": 6}
    assert stats["own_updates/math"] == 8
    assert stats["weight/code"] == 0.75
    code = [place for place, row in enumerate(dataset.rows) if row["data_source"] == "code"]
    drawn = [row for _ in range(50) for row in itertools.islice(made, 8)]
    rows = [code.index(row) for row in drawn if row in code]
    assert odd_share(rows) == pytest.approx(4 * 2 / (4 * 2 + 5), abs=0.03)


@pytest.mark.usefixtures("installed")
def test_a_run_is_resumed_exactly(tmp_path: Path) -> None:
    """Cut at every rollout, in the data source; at every update, in a sampler."""
    rule = {"type": OWN_RULE}
    source = data_source(tmp_path, data_source_curricula=CURRICULA, data_source_rule=rule)
    check_resume(lambda: again(source), rollout, 6, tmp_path)
    dataset = rows_of_data()

    def advance(part: Any, number: int) -> Any:
        return update(dataset, part, number)

    keys = {"source_curricula": CURRICULA, "source_rule": rule}
    check_resume(lambda: sampler(dataset, **keys), advance, 8, tmp_path)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("value", "piece"),
    [
        ({"type": "odd_row"}, r"\.type of source 'math' \('odd_row'\).*did you mean odd_rows"),
        ({"type": "learnabilty"}, "did you mean learnability"),
        ({"type": 5}, r"\(5\) is not a curriculum"),
        ({"floor": 0.1}, "must be a mapping with type, one of time.*or a dotted path"),
        ({"type": "learnability", "flor": 0.1}, r"flor of source 'math' .*did you mean floor"),
        ({"type": "learnability", "floor": 0}, "floor of source 'math' .0. must be"),
        ({"type": "learnability", "fade": 2}, "fade of source 'math' .2. must be"),
        ({"type": "learnability", "prior_key": 2}, "prior_key of source 'math' .2. must be"),
        ({"type": "pass_rate_gaussian"}, "steps of source 'math' is required"),
        ({"type": "pools", "hard_up_to": 0.9}, "hard_up_to of source 'math'=0.9 must be less"),
        ({"type": OWN, "bund": 1}, "did you mean bound"),
        ({"type": OWN, "bound": 1.5}, "bound of source 'math' .1.5. must be"),
        ({"type": OWN_RULE}, "is not a class derived from RowCurriculum"),
        ({"type": "math.sin"}, "is not a class derived from RowCurriculum"),
        ({"type": "tests.curricula.own.Unsolvd"}, "did you mean Unsolved"),
        ({"type": "no_such_module.Curriculum"}, "there is no module no_such_module"),
        ({"type": "broken"}, "'broken'. cannot be used"),
    ],
)
def test_a_curriculum_that_cannot_be_used(tmp_path: Path, value: Any, piece: str) -> None:
    """The error names the source, the value, and what was meant; the sampler's is the same."""
    with pytest.raises(ConfigurationError, match=piece) as raised:
        data_source(tmp_path, data_source_curricula={"math": value})
    assert raised.value.source == "math"
    with pytest.raises(ConfigurationError, match=piece.replace(" of source 'math'", "")):
        sampler(Rows({"math": 9, "code": 9}), source_curricula={"math": value})


@pytest.mark.usefixtures("installed")
def test_what_is_installed_is_in_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """Editors accept the names that packages ship, and dotted paths, but no others."""
    assert main(["schema"]) == 0
    schema = jsonschema.Draft202012Validator(json.loads(capsys.readouterr().out))
    for kind, valid in (("odd_rows", True), (OWN, True), ("odd_row", False)):
        assert schema.is_valid({"data_source_curricula": {"math": {"type": kind}}}) == valid
    for kind, valid in (("last_source", True), (OWN_RULE, True), ("odd_rows", False)):
        assert schema.is_valid({"data_source_rule": {"type": kind}}) == valid


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", [OWN, "odd_rows"])
def test_nothing_is_imported_for_an_untrusted_configuration(kind: str) -> None:
    """Neither by dotted path nor from a package; what is shipped with the library may be named."""
    with importing_nothing():
        _, (problem,) = read_curriculum({"type": kind})
        assert "--untrusted imports nothing" in problem.text
        assert read_curriculum({"type": "learnability"})[1] == []


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("value", "piece"),
    [
        ({"type": "dum"}, "did you mean dump"),
        ({"type": "last_sourc"}, "did you mean last_source"),
        ("sec", "must be a mapping with type, one of adaptive, sec,"),
        ({"type": "sec", "alpha": 0}, r"rule\.alpha .0. must be"),
        ({"type": "sec", "tau": 1}, r"rule\.tau .1. is not a known key"),
        ({"type": "easy_to_hard"}, r"rule\.steps is required"),
        ({"type": "easy_to_hard", "steps": 5, "floor": 0.6}, "0.5, 1 over the number of sources"),
        ({"type": OWN}, "is not a class derived from SourceRule"),
    ],
)
def test_a_rule_that_cannot_be_used(tmp_path: Path, value: Any, piece: str) -> None:
    """The error names the value and what was meant; the sampler's is the same."""
    with pytest.raises(ConfigurationError, match=piece):
        data_source(tmp_path, data_source_rule=value)
    with pytest.raises(ConfigurationError, match=piece):
        sampler(Rows({"math": 9, "code": 9}), source_rule=value)


def test_two_rules_are_one_too_many(tmp_path: Path) -> None:
    """Adaptive weights are a rule themselves; and a sampler's own curriculum is one, too."""
    with pytest.raises(ConfigurationError, match="data_source_adaptive are both set"):
        data_source(tmp_path, data_source_rule={"type": "sec"}, data_source_adaptive=True)
    with pytest.raises(ConfigurationError, match="source_rule and adaptive_weights are both set"):
        sampler(rows_of_data(), source_rule={"type": "sec"}, adaptive_weights=True)


UNUSABLE = [
    ([1.0] * 13 + [float("nan")], "row 13 has weight nan"),
    ([1.0] * 13 + [-1.0], "row 13 has weight -1"),
    ([0.0] * 14, "all rows have weight 0"),
    ([1.0] * 13, r"the weights have shape \(13,\); there are 14 rows"),
    ("many", "could not convert"),
]


@pytest.mark.parametrize(("answer", "piece"), UNUSABLE)
@pytest.mark.parametrize("target", ["served", "trained"])
def test_unusable_weights_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any, piece: str, target: str
) -> None:
    """One error names source and curriculum, at every call; mended, the run goes on."""
    changes: dict[str, Any] = {
        "data_source_curricula": {"math": {"type": f"{Unusable.__module__}.Unusable"}},
        "mixture_target": target,
    }
    source, twin = data_source(tmp_path, **changes), data_source(tmp_path, **changes)
    for each in (source, twin):
        rollout(each, 0)
    before = source.state_dict()
    with monkeypatch.context() as patch:
        patch.setattr(Unusable, "answer", answer)
        for _ in range(2):
            error = rf"source 'math': Unusable\.weights\(1\) cannot be used: {piece}"
            with pytest.raises(ConfigurationError, match=error):
                source.get_samples(30)
        assert source.state_dict() == before
    assert [rollout(source, n) for n in (1, 2)] == [rollout(twin, n) for n in (1, 2)]


@pytest.mark.parametrize(
    "answer", [{"math": float("nan"), "code": 1}, {"math": -1, "code": 2}, {"code": 0}, None, "x"]
)
def test_unusable_shares_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    """One error names the rule; mended, the run goes on."""
    source = data_source(tmp_path, data_source_rule={"type": f"{UnusableRule.__module__}.UnusableRule"})  # fmt: skip  # noqa: E501 - one thought
    before = source.state_dict()
    monkeypatch.setattr(UnusableRule, "answer", staticmethod(lambda: answer))
    with pytest.raises(ConfigurationError, match=r"UnusableRule\.shares\(0\) cannot be used"):
        source.get_samples(5)
    assert source.state_dict() == before
    monkeypatch.setattr(UnusableRule, "answer", None)
    assert len(source.get_samples(5)) == 5


def test_a_rule_cannot_open_a_source_of_weight_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it answers, weight 0 is weight 0."""
    monkeypatch.setattr(UnusableRule, "answer", staticmethod(lambda: {"math": 1, "code": 1}))
    path = f"{UnusableRule.__module__}.UnusableRule"
    source = data_source(tmp_path, data_source_weights=[0, 1], data_source_rule={"type": path})
    assert {name_of(group) for group in source.get_samples(9)} == {"code"}


def test_scores_that_are_missing_are_an_error(tmp_path: Path) -> None:
    """Only where the curriculum needs them; the error names the source and the key."""
    args = data_source(tmp_path).args
    wanted = {"type": "difficulty_target", "complexity_key": "level"}
    with pytest.raises(ValueError, match="'math': 14 of its 14 rows have no usable 'level'"):
        DataSource({**vars(args), "data_source_curricula": {"math": wanted}})
    with pytest.raises(ValueError, match=r"'math': 14 of its 14 rows .* extra_info\.level"):
        sampler(rows_of_data(), source_curricula={"math": wanted})
    unneeded = {"type": "learnability", "complexity_key": "level"}
    DataSource({**vars(args), "data_source_curricula": {"math": unneeded}})
    sampler(rows_of_data(), source_curricula={"math": unneeded})


def test_a_curriculum_of_no_source(tmp_path: Path) -> None:
    """Names of sources are checked, in both faces."""
    curricula = {"maths": {"type": "learnability"}}
    with pytest.raises(ConfigurationError, match="names 'maths', which is no source; did you mean"):
        data_source(tmp_path, data_source_curricula=curricula)
    with pytest.raises(ConfigurationError, match="source_curricula names 'maths', none of"):
        sampler(rows_of_data(), source_curricula=curricula)
