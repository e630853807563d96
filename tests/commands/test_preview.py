from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.__main__ import WELL, WRONG, main
from curriculum_learning.config.files import read_run_config
from curriculum_learning.samplers import TimeCurriculumSampler
from tests.harness import name_of, prompt_files

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def preview(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What the command gives as JSON; its errors too."""
    code = main(["preview", *arguments, "--json"])
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == (WRONG if result["errors"] else WELL)
    return result


def write_config(folder: Path, **changes: Any) -> str:
    """A configuration over a (40 rows) and b (60 rows)."""
    values: dict[str, Any] = {
        "prompt_data": prompt_files(folder, {"a": 40, "b": 60}),
        "data_source_weights": [0.25, 0.75],
        "rollout_batch_size": 8,
        "num_rollout": 30,
        "rollout_shuffle": True,
        "custom_rollout_log_function_path": "curriculum_learning.custom_log."
        "custom_rollout_log_function",
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}, sort_keys=False), encoding="utf-8")
    return str(path)


def test_the_groups_are_those_that_a_run_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The expected groups of each source, and the ends of its epochs, are a real run's."""
    weights = ["lambda step: 1 + step", 3]
    path = write_config(tmp_path, data_source_weights=weights)
    result = preview(capsys, path)
    config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    source = DataSource({**config, "custom_rollout_log_function_path": None})
    drawn: dict[str, int] = {"a": 0, "b": 0}
    ends: dict[str, list[int]] = {"a": [], "b": []}
    for step in range(30):
        source.set_rollout_step(step)
        for group in source.get_samples(8):
            drawn[name_of(group)] += 1
        for name, status in source.source_status().items():
            ends[name] += [step] * (int(status["epoch"]) - len(ends[name]))
    sources = {item["name"]: item for item in result["sources"]}
    assert {name: item["groups"] for name, item in sources.items()} == drawn
    assert {name: item["epoch_ends"] for name, item in sources.items()} == ends
    assert sources["a"]["shares"][3] == pytest.approx(4 / 7)
    assert (sources["b"]["rows"], sources["b"]["served_rows"]) == (60, 60)


def test_sizes_may_be_given_instead_of_files(capsys: pytest.CaptureFixture[str]) -> None:
    """With --rows no configured file is opened."""
    result = preview(
        capsys, str(ROOT / "configs" / "mixed_weights.yaml"), "--rows", "easy=500,medium=70,hard=9"
    )
    assert [item["rows"] for item in result["sources"]] == [500, 70, 9]
    assert sum(item["groups"] for item in result["sources"]) == 200 * 10


def test_every_configuration_of_the_repository_can_be_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of configs/, the demo's among them, are previewed without a file being written."""
    monkeypatch.chdir(tmp_path)
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = [Path(file).stem for file in config["prompt_data"]]
        rows = ",".join(f"{name}=5000" for name in names)
        result = preview(capsys, str(path), "--rows", rows)
        assert [item["name"] for item in result["sources"]] == names
    assert list(tmp_path.iterdir()) == []


def test_every_example_for_verl_can_be_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each document of verl_extensions/example_config.yaml; no journal is written."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "verl_extensions" / "example_config.yaml").read_text(encoding="utf-8")
    documents = text.split("\n---\n")
    assert len(documents) == 5
    for document in documents:
        path = tmp_path / "sampler.yaml"
        path.write_text(document, encoding="utf-8")
        result = preview(
            capsys, str(path), "--rows", "iftrain=400,logicif=300", "--steps", "50", "--batch", "16"
        )
        assert [item["groups"] for item in result["sources"]] == [400, 400]
    assert list(tmp_path.iterdir()) == [tmp_path / "sampler.yaml"]


def test_overrides_in_a_launch_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script's overrides are read as verl reads them, and draw what the sampler draws."""
    rows = [
        {"data_source": name, "prompt": "p", "extra_info": {"complexity_score": float(i % 7)}}
        for i, name in enumerate(["iftrain", "logicif"] * 100)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    script = tmp_path / "launch.sh"
    script.write_text(
        "# a comment with data.seed=5\n"
        "python3 -m verl.trainer.main_ppo \\\n"
        f"    data.train_files={tmp_path / 'train.parquet'} data.train_batch_size=10 \\\n"
        "    data.sampler.class_name=TimeCurriculumSampler \\\n"
        "    '+data.sampler.source_weights={iftrain:3,logicif:1}' \\\n"
        "    +data.sampler.complexity_warmup_steps=20 trainer.total_epochs=2\n",
        encoding="utf-8",
    )
    result = preview(capsys, str(script))
    assert result["steps"] == 40
    logicif = result["sources"][1]
    assert logicif["open_shares"][0] == pytest.approx(0.3)
    assert logicif["open_shares"][20] == 1.0
    assert logicif["groups"] == 100
    changed = preview(capsys, str(script), "data.sampler.complexity_warmup_steps=10")
    assert changed["sources"][1]["open_shares"][10] == 1.0
    sampler = TimeCurriculumSampler(rows, {"train_batch_size": 10, "sampler": {}})
    assert len(sampler) == 200


def test_a_script_that_launches_slime(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its options are read, and the YAML file that it names replaces them, as in slime."""
    config = yaml.safe_load(Path(write_config(tmp_path)).read_text(encoding="utf-8"))
    for key in ("rollout_batch_size", "num_rollout", "n_samples_per_prompt"):
        config.pop(key, None)
    sources = tmp_path / "sources.yaml"
    sources.write_text(yaml.safe_dump({**config, "n_samples_per_prompt": 4}), encoding="utf-8")
    script = tmp_path / "launch.sh"
    script.write_text(
        f"FOLDER={tmp_path}\n"
        "ROLLOUT_ARGS=(\n"
        "   --num-rollout 7  # a comment with --rollout-batch-size 3\n"
        "   --rollout-batch-size=16 --n-samples-per-prompt 2 --rollout-top-p 0.9\n"
        ")\n"
        'ENVIRONMENT="{\n  \\"env_vars\\": {}\n}"  # does not end in its first line\n'
        'python3 train.py --custom-config-path "${FOLDER}/sources.yaml" ${ROLLOUT_ARGS[@]} \\\n'
        "   --rollout-shuffle --disable-rollout-global-dataset 2>&1 | tee log\n",
        encoding="utf-8",
    )
    read = read_run_config([str(script)])
    assert read.values["n_samples_per_prompt"] == 4
    assert read.values["rollout_shuffle"] is True
    assert read.values["rollout_global_dataset"] is False
    assert "rollout_top_p" not in read.values
    assert read.places["num_rollout"] == f"{script}:3"
    assert read.places["rollout_global_dataset"] == f"{script}:10"
    assert read.places["n_samples_per_prompt"].startswith(f"{sources}:")
    result = preview(capsys, str(script), "rollout_global_dataset=true")
    assert (result["steps"], result["batch"]) == (7, 16)

    script.write_text("python3 train.py --custom-config-path $NOBODY/sources.yaml\n")
    (error,) = preview(capsys, str(script))["errors"]
    assert error["message"].startswith(f"{script}:1 --custom-config-path cannot be read")
    assert error["message"].endswith("neither the script nor the environment sets NOBODY")


def test_what_a_length_needs_is_told_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the number of rollouts nor the groups of one are known: both are said."""
    path = write_config(tmp_path, num_rollout=None, rollout_batch_size=None)
    (error,) = preview(capsys, path)["errors"]
    assert "num_rollout is None" in error["message"]
    assert "rollout_batch_size is not set" in error["message"]


def test_a_saved_state_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether the run can continue from it is found out, and what is shown begins at step 0."""
    path = write_config(tmp_path, save=str(tmp_path / "saved"))
    fresh = preview(capsys, path)
    source = DataSource(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    source.get_samples(3)
    source.save(0)
    source.close()
    result = preview(capsys, path)
    assert result["sources"] == fresh["sources"]
    assert result["notes"] == [
        *fresh["notes"],
        "a state of rollout 0 is saved: load() continues at step 1, not at 0",
    ]
    path = write_config(tmp_path, save=str(tmp_path / "saved"), rollout_seed=7)
    (warning,) = preview(capsys, path)["warnings"]
    assert f"{tmp_path / 'saved'} cannot be resumed: " in warning


def test_all_errors_at_once_each_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mistakes in keys, weights and data files are all told, and where they are."""
    (good,) = prompt_files(tmp_path, {"a": 4})
    path = tmp_path / "run.yaml"
    path.write_text(
        f"prompt_data:\n  - {good}\n  - {tmp_path}/nowhere.jsonl\n"
        "data_source_weights:\n  - 'lambda step: 1 / 0'\n  - 'lambda step: 1 / 0'\n"
        "rollout_shuffle: 1\nn_samples_per_prompt: 0\ndata_source_wieghts: [1, 2]\n"
        "on_source_change: maybe\nnum_rollout: 5\n",
        encoding="utf-8",
    )
    result = preview(capsys, str(path))
    places = {error["place"].rpartition(":")[2]: error["key"] for error in result["errors"]}
    assert places == {
        "3": "prompt_data",
        "5": "data_source_weights",
        "6": "data_source_weights",
        "7": "rollout_shuffle",
        "8": "n_samples_per_prompt",
        "9": "data_source_wieghts",
        "10": "on_source_change",
    }


def test_a_level_that_nobody_can_foresee_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """What waits for rewards stays as it is, and the preview says so."""
    result = preview(
        capsys, "data.sampler.class_name=RewardCurriculumSampler", "data.sampler.alpha=0.2",
        "data.sampler.reward_threshold=0.5", "data.sampler.adaptive_weights=true",
        "--rows", "logicif=400,iftrain=400", "--steps", "20", "--batch", "8",
    )  # fmt: skip
    assert len(result["assumptions"]) == 2
    assert set(result["sources"][0]["open_shares"]) == {0.3}


def test_without_the_optional_libraries(tmp_path: Path) -> None:
    """Plain text, and no picture unless one is asked for; then it says what to install."""
    path = write_config(tmp_path)
    program = (
        "import sys; sys.modules['rich'] = sys.modules['matplotlib'] = None\n"
        "from curriculum_learning.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "preview", path]
    plain = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT)
    assert plain.returncode == WELL
    assert "note: no picture, as it needs matplotlib: pip install" in plain.stdout
    asked = subprocess.run(
        [*command, "--picture", "a.png"], cwd=tmp_path, capture_output=True, text=True,
        env=ENVIRONMENT,
    )  # fmt: skip
    assert asked.returncode == WRONG
    assert "pip install 'curriculum_learning[cli]'" in asked.stderr


def test_on_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With rich and somebody who looks, the same cells are in a drawn table."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["preview", write_config(tmp_path), "--no-picture"]) == WELL
    text = capsys.readouterr().out
    assert "─" in text
    assert "0.25 > 0.25 > 0.25" in text


def test_the_picture_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A PNG, where it is asked for."""
    path = write_config(tmp_path)
    picture = tmp_path / "curves.png"
    assert main(["preview", path, "--picture", str(picture)]) == WELL
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in capsys.readouterr().out


def test_nothing_of_the_run_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking ahead writes nothing to the folders that the run saves to."""
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path, save="saved", dump_details="details")
    before = sorted(tmp_path.iterdir())
    preview(capsys, path)
    assert main(["simulate", path]) == WELL
    assert sorted(tmp_path.iterdir()) == before


def test_a_bad_list_of_files_hides_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights and keys are looked at although it is not known which files there are."""
    path = tmp_path / "run.yaml"
    for files in ("", "prompt_data: [a.jsonl, 5]\n"):
        path.write_text(
            files + "data_source_weights: [1, -1]\nrollout_shuffle: 1\n", encoding="utf-8"
        )
        keys = [error["key"] for error in preview(capsys, str(path))["errors"]]
        assert sorted(keys) == ["data_source_weights", "prompt_data", "rollout_shuffle"]
        named = "data_source_weights={a: 1, b: -1}"
        keys = [error["key"] for error in preview(capsys, str(path), named)["errors"]]
        assert sorted(keys) == ["data_source_weights", "prompt_data", "rollout_shuffle"]


def test_what_goes_wrong_outside_of_the_configuration_is_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files that hold themselves, words that are too long, pictures that are folders."""
    (tmp_path / "itself.yaml").write_text("prompt_data: &a [*a]\n")
    (tmp_path / "ok.yaml").write_text("data_source_weights: {math: 1, code: 1}\n")
    ok = [str(tmp_path / "ok.yaml"), "rollout_batch_size=8", "--rows", "math=20,code=20"]
    for arguments in (
        ["preview", str(tmp_path / "itself.yaml")],
        ["preview", f"data_source_weights=[{'1,' * 300}1]"],
        ["preview", *ok, "--steps", "3", "--picture", str(tmp_path)],
        ["simulate", *ok, "--steps", "3", "over_sampling_batch_size=foo"],
    ):
        assert main(arguments) == 2
        assert "Traceback" not in capsys.readouterr().err


def test_all_curricula_are_looked_at_with_their_places(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A curriculum that cannot be used has a line, and hides no error of another key."""
    (tmp_path / "nest.yaml").write_text(
        "data_source_weights: {math: 1, code: 1}\n"
        "rollout_batch_size: 8\n"
        "num_rollout: 5\n"
        "data_source_curricula:\n"
        "  math: {type: time, complexity_warmup_steps: 0}\n"
        "  code: null\n"
        "max_oversampling: 0\n"
    )
    path = str(tmp_path / "nest.yaml")
    assert main(["preview", path, "--rows", "math=20,code=20", "--no-picture"]) == 2
    errors = capsys.readouterr().err
    assert f"{path}:5: data_source_curricula.complexity_warmup_steps of source 'math'" in errors
    assert f"{path}:7: max_oversampling" in errors


def test_a_thousand_sources_are_previewed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The work grows with the sources, not with their square."""
    names = [f"s{number}" for number in range(1000)]
    weights = "\n".join(f"  {name}: 1" for name in names)
    (tmp_path / "many.yaml").write_text(
        f"rollout_batch_size: 8\nnum_rollout: 2\ndata_source_weights:\n{weights}\n"
    )
    rows = ",".join(f"{name}=5" for name in names)
    arguments = [str(tmp_path / "many.yaml"), "--rows", rows, "--no-picture", "--json"]
    assert main(["preview", *arguments]) == 0
    assert len(json.loads(capsys.readouterr().out)["sources"]) == 1000


def test_a_folder_that_cannot_be_written_to_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the run's own machine it may be otherwise; nothing is made there by looking."""
    (tmp_path / "file").write_text("x")
    config = write_config(tmp_path, save=str(tmp_path / "file" / "states"))
    (warning,) = (w for w in preview(capsys, config)["warnings"] if w.startswith("save"))
    assert "cannot be written to" in warning
    (tmp_path / "file").unlink()
    assert not any(w.startswith("save") for w in preview(capsys, config)["warnings"])
    assert not (tmp_path / "file").exists()
