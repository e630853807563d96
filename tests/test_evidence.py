"""The experiment that compares curricula: its tasks and methods, a grid that goes on, its page."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks.evidence.__main__ import main
from benchmarks.evidence.methods import (
    SETTINGS_FILE,
    UNIFORM,
    Method,
    read_methods,
    read_search,
    read_settings,
)
from benchmarks.evidence.results import Results, read_results
from benchmarks.evidence.runs import Line, make_run, perform
from benchmarks.evidence.tasks import TASKS
from benchmarks.evidence.tuning import tuning_runs
from curriculum_learning.config.data_source import read_config
from curriculum_learning.curricula import CURRICULA, RULES
from examples.spelling.task import HELD_OUT_SET

ROOT = Path(__file__).parent.parent
METHODS = read_methods()
TINY = ["--tasks", "rows", "--seeds", "1", "--rollouts", "2", "--workers", "1"]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch as a worker of the grid sets it up."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def without_time(line: Line) -> Line:
    """A line without the one figure that differs each time."""
    return {key: value for key, value in line.items() if key != "seconds"}


@pytest.mark.usefixtures("one_thread")
def test_a_killed_grid_continues_and_repeats_bit_for_bit(tmp_path: Path) -> None:
    """After SIGKILL the same command makes the missing runs, equal to runs made anywhere."""
    file = tmp_path / "results.jsonl.gz"
    command = ["run", *TINY, "--curricula", "uniform", "thompson", "--results", str(file)]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.evidence", *command], cwd=ROOT)
    while not file.exists() or not read_results(file):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = read_results(file)
    with open(file, "ab") as open_file:  # as if the kill had come in the middle of a line
        open_file.write(file.read_bytes()[:40])

    assert main(command) == 0

    lines = read_results(file)
    assert lines[: len(before)] == before
    assert [line["method"] for line in lines] == ["uniform", "thompson"]
    settings = read_settings(SETTINGS_FILE)["rows"]["thompson"]
    again = perform(
        make_run("rows", METHODS["thompson"], read_search().first_reported, settings, 2), tmp_path
    )
    assert without_time(again) == without_time(lines[1])
    assert lines[0]["held_out"] != lines[1]["held_out"] or lines[0]["tokens"] != lines[1]["tokens"]
    assert lines[1]["samples"] == [0, 2 * 16 * 8]
    assert set(lines[1]["held_out"]) == {"short", "middle", "long"}

    content = file.read_bytes()
    assert main(command) == 0
    assert file.read_bytes() == content


def test_only_one_process_appends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second grid on the same file is refused, and says why."""
    file = tmp_path / "results.jsonl.gz"
    with Results(file):
        assert main(["run", *TINY, "--results", str(file)]) == 1
    assert "another process appends" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--rollouts", "3"], "give --results"),
        (["run", "--seeds", "701"], "must be from 1 to 700"),
        (["report", "--results", "nowhere.gz"], "make evidence"),
    ],
)
def test_wrong_use_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Short runs are not mixed with whole ones, and no seed of the search is reported."""
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


def test_every_shipped_curriculum_and_rule_is_compared() -> None:
    """Each has a file of its own name, and a task where it runs beside uniform mixing."""
    types = {
        next(iter(method.config.values()))["type"]
        for method in METHODS.values()
        if {"data_source_rule", "data_source_curricula"} & set(method.config)
    }
    assert {*CURRICULA, *RULES} <= types & set(METHODS)
    for method in METHODS.values():
        assert any(method.fits(task) for task in TASKS.values()), method.name
    assert all(METHODS[UNIFORM].fits(task) for task in TASKS.values())


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_all_settings_of_the_search_can_be_used(method: Method) -> None:
    """Every method is tried with the same settings of the policy, the first with its defaults."""
    everybody = read_search().everybody
    candidates = method.candidates(everybody)
    for common, settings in zip(everybody, candidates, strict=True):
        assert settings == settings | common
        assert set(settings) == {*common, *method.search}
        assert all(settings[key] in values for key, values in method.search.items())
    defaults = {key: values[0] for key, values in method.search.items()}
    assert candidates[0] == everybody[0] | defaults
    task = next(name for name, task in TASKS.items() if method.fits(task))
    for settings in candidates:
        config = make_run(task, method, 1, settings).config
        read_config({**config, "prompt_data": config["prompt_data_source_names"]})


@pytest.mark.parametrize("name", TASKS)
def test_held_out_questions_are_not_trained(name: str) -> None:
    """Questions of training, of held-out sets and of the warm start do not overlap."""
    task = TASKS[name]
    of_sources = [task.rows(source) for source in task.sources]
    trained = [row["input"] for training, _ in of_sources for row in training]
    held_out = {row["input"] for _, rows in of_sources for row in rows}
    assert [len(rows) for rows, _ in of_sources] == list(task.sources.values())
    assert not held_out & set(trained)
    sets = {
        row["metadata"].get(HELD_OUT_SET, source)
        for source, (_, rows) in zip(task.sources, of_sources, strict=True)
        for row in rows
    }
    assert task.hardest in sets
    if task.offers & {"rows", "scores"}:
        for rows in task.warm_start_rows([]):
            assert not {row["input"] for row in rows} & (held_out | set(trained))


def test_scores_are_right_wrong_or_missing() -> None:
    """The three tasks of one source have the same rows, and differ in what is known of them."""
    rows = {name: TASKS[name].rows("letters")[0] for name in ("rows", "rows_scored", "rows_wrong")}
    texts = {name: [(row["input"], row["label"]) for row in of] for name, of in rows.items()}
    assert texts["rows"] == texts["rows_scored"] == texts["rows_wrong"]
    assert not any(row["metadata"] for row in rows["rows"])
    lengths = [len(row["input"]) for row in rows["rows"]]
    right, wrong = (
        [row["metadata"]["complexity_score"] for row in rows[name]]
        for name in ("rows_scored", "rows_wrong")
    )
    assert right == lengths
    assert sum(map(int.__eq__, wrong, lengths)) < len(lengths) / 2
    misled = [label != text[::-1] for text, label in texts["rows"]]
    assert sum(misled) == pytest.approx(len(misled) / 4, abs=2)


def line(method: str, seed: int, end: float, **changes: object) -> Line:
    """A line of results of a run whose accuracy rises in a straight line."""
    return {
        "id": f"{method}{seed}", "task": "ladder", "method": method, "seed": seed,
        "settings": {"learning_rate": 0.001}, "hardest": "long",
        "held_out": {"short": [1.0, 1.0, 1.0], "long": [0.0, end / 2, end]},
        "samples": [0, 100, 200], "tokens": [0, 400, 800], "samples_of": {"long": 200},
        "no_signal": 0.25, "seconds": 36.0, "cpu": "one", "python": "3", "torch": "2",
        "numpy": "2", "commit": "c0ffee", **changes,
    }  # fmt: skip


def written(path: Path, lines: list[Line]) -> Path:
    """A file of results."""
    with Results(path) as results:
        for each in lines:
            results.append(each)
    return path


def test_the_page_comes_from_the_results_alone(tmp_path: Path) -> None:
    """Tables and pictures are replaced, prose is kept, losses are shown as wins are."""
    lines = [line("uniform", seed, 0.4 + seed / 100) for seed in range(1, 6)]
    lines += [line("good", seed, 0.92 + seed / 100) for seed in range(1, 6)]
    lines += [line("bad", seed, 0.05) for seed in range(1, 4)]
    results = written(tmp_path / "results.jsonl.gz", lines)
    page = tmp_path / "page.md"
    template = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    page.write_text(template + "\nKept.\n", encoding="utf-8")
    command = ["report", "--results", str(results), "--page", str(page)]

    assert main(command) == 0
    text = page.read_text(encoding="utf-8")
    assert main(command) == 0

    assert text == page.read_text(encoding="utf-8")
    assert text.startswith("# Evidence\n")
    assert text.endswith("\nKept.\n")
    assert "3 to 5 seeds stand behind each line" in text
    assert "13 runs, 0.1 hours of one core (one)" in text
    cells = {
        row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:-1]]
        for row in text.splitlines()
        if row.count("|") == 12
    }
    assert list(cells)[-3:] == ["uniform", "good", "bad"]  # the largest difference first
    assert cells["good"][:2] == ["5", "0.475 [0.469, 0.481]"]
    assert cells["good"][2].startswith("+0.260 [0.260, 0.260]")
    assert cells["bad"][2].startswith("-0.185")
    assert cells["bad"][5] == "3"
    assert cells["good"][7:] == ["200 (5)", "800 (5)", "25%"]
    assert cells["uniform"][7] == "- (0)"
    for name in ("evidence", "evidence_ladder"):
        assert (tmp_path / "pictures" / f"{name}.png").stat().st_size > 5_000


@pytest.mark.parametrize("changes", [{"settings": {"learning_rate": 1.0}}, {"samples": [0, 1, 2]}])
def test_runs_that_cannot_be_compared_are_refused(
    changes: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page never mixes runs of different lengths, or of different settings of a method."""
    lines = [line("uniform", 1, 0.5), line("uniform", 2, 0.5, **changes)]
    results = written(tmp_path / "results.jsonl.gz", lines)
    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs" / "evidence.md").read_text(encoding="utf-8"), encoding="utf-8")

    assert main(["report", "--results", str(results), "--page", str(page)]) == 1
    assert "cannot be compared" in capsys.readouterr().err


def test_the_search_takes_the_best_settings_and_is_as_long_for_all(tmp_path: Path) -> None:
    """The settings with the best mean over the seeds are written; all others stay."""
    search = read_search()
    runs = tuning_runs(["ladder", "chains"], ["uniform", "dump"])
    assert len(runs) == 2 * 2 * len(search.everybody) * len(search.seeds)
    assert len({run.id for run in runs}) == len(runs)
    best = {"ladder": METHODS["dump"].candidates(search.everybody)[3]}
    best["chains"] = METHODS["dump"].candidates(search.everybody)[1]
    lines = [
        line(run.method, run.seed, 0.8 if run.settings == best[run.task] else 0.3)
        | {"id": run.id, "task": run.task, "settings": run.settings}
        for run in runs
    ]
    results = written(tmp_path / "tuning.jsonl.gz", lines)
    settings = tmp_path / "settings.yaml"
    former = {"rows": {"replay": {"learning_rate": 0.5}}}
    settings.write_text(yaml.safe_dump(former), encoding="utf-8")
    command = ["tune", "--tasks", "ladder", "chains", "--curricula", "uniform", "dump"]

    assert main([*command, "--results", str(results), "--settings", str(settings)]) == 0

    chosen = read_settings(settings)
    assert {task: chosen[task]["dump"] for task in best} == best
    assert chosen["ladder"]["uniform"] == METHODS[UNIFORM].candidates(search.everybody)[0]
    assert chosen["rows"]["replay"] == {"learning_rate": 0.5}


def test_settings_name_values_of_the_search() -> None:
    """What is reported was tried: each setting in use is among the candidates of its method."""
    for methods in read_settings(SETTINGS_FILE).values():
        for name, settings in methods.items():
            assert settings in METHODS[name].candidates(read_search().everybody), name
