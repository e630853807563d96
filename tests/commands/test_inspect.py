from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.__main__ import WELL, WRONG, main
from curriculum_learning.state.checkpoint import write_state
from tests.harness import arguments, interrupt, name_of, row_of

LOG = "curriculum_learning.custom_log.custom_rollout_log_function"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the states of a run: 12 groups trained, 3 waiting, 5 in flight."""
    args = arguments(tmp_path, {"a": 30, "b": 30}, custom_rollout_log_function_path=LOG)
    source = DataSource(args)
    groups = source.get_samples(20)
    source.observe(groups[:12], rollout_id=4, fate="trained")
    source.add_samples([interrupt(group) for group in groups[12:15]])
    source.update_metadata({"seen": 5})
    source.save(4)
    source.close()
    return tmp_path / "save"


def inspect(capsys: pytest.CaptureFixture[str], path: Path, code: int = WELL) -> dict[str, Any]:
    """What the command gives as JSON."""
    assert main(["inspect", str(path), "--json"]) == code
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_what_is_in_a_state(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rollout, step, and per source where it is and what is out."""
    path = folder / "rollout" / "curriculum_learning_4.state"
    found = inspect(capsys, path)["latest"]
    assert (found["rollout_id"], found["step"]) == (4, 5)
    assert found["groups"] | {"ids": 20, "waiting": 3, "in_flight": 5} == found["groups"]
    assert found["groups"]["trained"] == 12
    assert found["metadata"] == ["seen"]
    assert found["settings"]["n_samples_per_prompt"] == 2
    sources = found["sources"]
    assert sum(source["waiting"] for source in sources.values()) == 3
    assert sum(source["in_flight"] for source in sources.values()) == 5
    assert [sources[name]["drawn"] for name in "ab"] == [10, 10]
    assert sources["a"]["offset"] == 10
    assert sources["a"]["epoch_rows"] == 30


def test_a_folder_of_states(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All files are listed with their integrity; a damaged one is an error, and not the latest."""
    assert len(inspect(capsys, folder)["states"]) == 2
    damaged = folder / "rollout" / "curriculum_learning_5.state"
    damaged.write_bytes((folder / "rollout" / "curriculum_learning_4.state").read_bytes()[:-9])
    found = inspect(capsys, folder, WRONG)
    problems = {Path(state["file"]).name: state["problem"] for state in found["states"]}
    assert "damaged" in problems["curriculum_learning_5.state"]
    assert problems["curriculum_learning_4.state"] is None
    assert found["latest"]["rollout_id"] == 4


def test_as_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json there is a line per file and a table of the sources."""
    assert main(["inspect", str(folder)]) == WELL
    text = capsys.readouterr().out
    assert text.count("intact, format") == 2
    assert "rollout 4, goes on at step 5" in text
    assert "10 of 30" in text


def test_the_statistics_of_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Histogram, the hardest and easiest rows, and the kinds of curriculum and rule."""
    args = arguments(
        tmp_path, {"a": 30, "b": 30}, custom_rollout_log_function_path=LOG,
        data_source_curricula={"a": {"type": "pools"}}, data_source_rule={"type": "sec"},
    )  # fmt: skip
    source = DataSource(args)
    groups = source.get_samples(20)
    rates = {}
    for number, group in enumerate(group for group in groups if name_of(group) == "a"):
        group[0].reward, group[1].reward = float(number > 2), float(number > 6)
        rates[row_of(group)[2]] = (group[0].reward + group[1].reward) / 2
    source.observe(groups, rollout_id=0, fate="trained")
    source.save(0)
    found = inspect(capsys, tmp_path / "save")["latest"]
    statistics = found["sources"]["a"]["statistics"]
    assert statistics["histogram"] == [3, 0, 0, 0, 0, 4, 0, 0, 0, 3]
    assert statistics["rows/unseen"] == 20
    ordered = sorted(rates, key=lambda row: (rates[row], row))
    assert [row["row"] for row in statistics["hardest"]] == ordered[:5]
    assert [row["row"] for row in statistics["easiest"]] == ordered[::-1][:5]
    hardest = {"row": ordered[0], "pass_rate": 0, "results": 1, "last_step": 0}
    assert statistics["hardest"][0] == hardest
    assert found["sources"]["a"]["curriculum"] == "Pools"
    assert found["sources"]["b"]["statistics"] is None
    assert found["rule"]["kind"] == "Sec"
    assert main(["inspect", str(tmp_path / "save")]) == WELL
    text = capsys.readouterr().out
    assert "source rule: Sec" in text
    assert f"hardest rows of a, with pass rate and results: {ordered[0]} (0.00 in 1), " in text


def test_an_intact_file_of_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A state file that no data source wrote is told from one that did."""
    write_state(tmp_path / "other.state", {"loader": 5})
    assert main(["inspect", str(tmp_path / "other.state")]) == WRONG
    assert "this is not a state of a data source" in capsys.readouterr().err


def test_looking_changes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same bytes are there, and a run can still resume from them."""
    path = folder / "rollout" / "curriculum_learning_4.state"
    before = path.read_bytes()
    inspect(capsys, folder)
    assert path.read_bytes() == before
    args = arguments(folder.parent, {"a": 30, "b": 30}, custom_rollout_log_function_path=LOG)
    source = DataSource(args)
    source.load(4)
    assert {name_of(group) for group in source.get_samples(8)} == {"a", "b"}


def test_a_foreign_state_does_not_hide_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is listed with what is wrong with it, and so are the good ones."""
    write_state(folder / "rollout" / "curriculum_learning_9.state", {"x": 1})
    (folder / "rollout" / "curriculum_learning_10.state").symlink_to(folder / "gone")
    found = inspect(capsys, folder, WRONG)
    problems = {state["rollout_id"]: state["problem"] for state in found["states"]}
    assert "not a state of a data source" in problems[9]
    assert problems[4] is None
    assert found["latest"]["rollout_id"] == 4
