from __future__ import annotations

import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import verl_extensions.multi_source_sampler
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning import curricula, trackers
from curriculum_learning.__main__ import main
from curriculum_learning.config.data_source import check_config, read_config
from curriculum_learning.config.dotted_path import load_callable
from curriculum_learning.config.keys import keys_of
from curriculum_learning.config.samplers import keys_of_sampler
from curriculum_learning.curricula.rows.reward import RewardCurriculum
from curriculum_learning.curricula.rows.time import TimeCurriculum
from curriculum_learning.state.files import saved_rollouts
from examples.curricula import RUNS, prompts, run
from tests.curricula.faces import CURRICULUM_CASES, RULE_CASES, data_source, rollout
from tests.harness import Group, interrupt, write_rows

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = "README.md") -> list[str]:
    """The code blocks of a page in a language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the prompt files that the README names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    rows = [{"input": f"prompt {i}", "metadata": {}} for i in range(6000)]
    for name in ("math", "code"):
        write_rows(tmp_path / "data" / f"{name}.jsonl", rows)
    pq.write_table(
        pa.Table.from_pylist([{"input": row["input"]} for row in rows]), "data/chat.parquet"
    )
    return tmp_path


def test_the_yaml_of_the_readme_works(folder: Path) -> None:
    """The sources and weights shown for slime give a data source."""
    (text,) = blocks("yaml")
    source = DataSource(yaml.safe_load(text))
    assert len(source) == 6000 + 6000 + 5000
    assert source.source_status()["math"]["weight"] == pytest.approx(0.3 / 0.9)


def test_the_quickstart_shows_its_configuration() -> None:
    """The page has the file that it runs, and all of it."""
    shown, _ = blocks("yaml", "docs/quickstart.md")
    file = (ROOT / "configs" / "quickstart.yaml").read_text(encoding="utf-8")
    assert file.endswith(shown)
    assert file.removesuffix(shown).count("\n") == file.removesuffix(shown).count("#")


def test_the_paths_of_the_readme_exist() -> None:
    """The dotted paths that slime is given can be imported."""
    paths = re.findall(r"[-_]path:? (curriculum_learning\.\S+)", README)
    assert len(paths) == 3
    for path in paths:
        assert callable(load_callable(path))


def test_the_loop_of_the_readme_works(folder: Path) -> None:
    """The plain loop runs as printed, and a second run continues after the last save."""

    def generate(groups: list[Group]) -> tuple[list[Group], list[Group]]:
        return groups[:32], [interrupt(group) for group in groups[32:]]

    trained: list[Group] = []
    (text,) = blocks("python")
    program = text.replace('"num_rollout": 200', '"num_rollout": 6')
    names: dict[str, Any] = {"generate": generate, "train": trained.extend}
    exec(compile(program, "README.md", "exec"), names)
    assert len(trained) == 6 * 32
    assert saved_rollouts(folder / "checkpoints") == [3, 4, 5]
    exec(
        compile(program.replace('"num_rollout": 6', '"num_rollout": 9'), "README.md", "exec"), names
    )
    ids = [group[0].group_index for group in trained]
    assert len(ids) == len(set(ids)) == 9 * 32


def test_the_table_of_weights_is_true() -> None:
    """Every example in the table of weight forms can be read."""
    table = (ROOT / "docs" / "schedules.md").read_text(encoding="utf-8")
    examples = re.findall(r"^\| \w+ \| `(.*?)`", table, flags=re.MULTILINE)
    assert len(examples) == 6
    for example in examples:
        value = yaml.safe_load(example)
        if value != "my_package.my_module.my_schedule":
            read_config({"prompt_data": "a.jsonl", "data_source_weights": [value]})


def anchors(document: Path) -> set[str]:
    """The anchors that a link can name in a document; in a file of tests, its tests."""
    if document.suffix == ".py":
        return set(re.findall(r"^def (test_\w+)", document.read_text("utf-8"), flags=re.MULTILINE))
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_documents_hold() -> None:
    """Relative links in README and docs lead to files and headings that are there."""
    for document in (*ROOT.glob("*.md"), *PAGES, *ROOT.glob("*/README.md")):
        text = document.read_text(encoding="utf-8")
        for link, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", text):
            target = document.parent / link if link else document
            assert target.exists(), f"{document.name}: {link}"
            assert not anchor or anchor in anchors(target), f"{document.name}: {link}#{anchor}"


def test_each_cell_of_the_engines_is_backed_by_a_test() -> None:
    """Each engine has a cell for each feature, which links to a test; ``no`` as well as ``yes``."""
    text = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
    head, _, *rows = re.findall(r"^\|(.*)\|$", text.partition("\n\n1. ")[0], flags=re.MULTILINE)
    assert len(rows) == 12
    for row in rows:
        engine, *cells = row.split(" | ")
        assert len(cells) == len(head.split("|")) - 1, engine
        for cell in cells:
            assert re.fullmatch(r" ?\[.+\]\(\.\./tests/[\w/]+\.py#test_\w+\) ?", cell), cell


def test_every_page_is_linked() -> None:
    """The README links to each page, or the README of the benchmarks does."""
    benchmarks = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert f"](docs/{page.name})" in README + benchmarks.replace("../", ""), page.name
    for name in ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md", "examples/README.md"):
        assert f"]({name})" in README, name


@pytest.fixture
def workplace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with the configurations and prompt files that the pages use."""
    shutil.copytree(ROOT / "configs", folder / "configs")
    shutil.copytree(ROOT / "examples" / "data", folder / "examples" / "data")
    mixed = [{"input": f"prompt {i}", "data_source": ("math", "code")[i % 2]} for i in range(200)]
    write_rows(folder / "data" / "mixed.jsonl", mixed)
    pq.write_table(pa.Table.from_pylist(mixed), folder / "data" / "train.parquet")
    rows = [{"input": f"prompt {i}", "label": str(i), "metadata": {}} for i in range(5000)]
    for name in ("chat", "wide", "deep", "odd", "own"):
        write_rows(folder / "data" / f"{name}.jsonl", rows)
    (folder / "demo_output" / "prompts").mkdir(parents=True)
    for name in ("easy", "medium", "hard"):
        write_rows(folder / "demo_output" / "prompts" / f"{name}.jsonl", rows)
    monkeypatch.setattr(trackers, "_made", {})
    monkeypatch.setenv("RAY_ADDRESS", "local")  # not a cluster that happens to run here
    # Ray's workers begin in this folder: they import the package under test, not an installed one.
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.startswith("my_"):  # a module that a page has written
            del sys.modules[name]


def test_the_walk_of_the_command_line(workplace: Path) -> None:
    """The change that the page makes to the demo's configuration can be previewed."""
    (walk,) = blocks("bash", "docs/commands.md")
    change, look, again = walk.splitlines()
    subprocess.run(change, shell=True, check=True, cwd=workplace)
    assert yaml.safe_load((workplace / "configs" / "demo.yaml").read_text(encoding="utf-8"))[
        "data_source_weights"
    ]["easy"].startswith("lambda step: 0.6")
    program, *arguments = shlex.split(look, comments=True)
    assert program == ".venv/bin/curriculum-learning"
    assert main(arguments) == 0
    assert (workplace / "preview.png").exists()
    assert again == "make demo"


BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# ([\w.]+\.(?:py|yaml|yml|sh))\n")


def run_commands(text: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The terminal output of the commands in lines that begin with a dollar sign."""
    shown = []
    for line in re.findall(r"^\$ (.*)$", text, flags=re.MULTILINE):
        program, *arguments = shlex.split(line)
        if program == "python":
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            words = [sys.executable, *arguments]
            run = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
            shown.append(f"$ {line}\n{run.stderr}{run.stdout}")
            continue
        assert program == "curriculum-learning"
        main(arguments)
        output = capsys.readouterr()
        shown.append(f"$ {line}\n{output.out}{output.err}")
    return "".join(shown)


def seen(text: str, folder: Path) -> str:
    """Text without the parts that differ from run to run."""
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:+]+", "TIME", text.replace(str(folder), "."))
    return re.sub(r"\d+ bytes|format \d+", "N", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_true(page: Path, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its programs run, its configurations are valid, its commands print what the page shows."""
    names: dict[str, Any] = {}
    for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if (file := FILE.match(text)) is not None:
            (workplace / file[1]).write_text(text, encoding="utf-8")
        if language == "python" and FILE.match(text) is None:
            exec(compile(text, page.name, "exec"), names)
            capsys.readouterr()  # what it prints is no output of the commands below
        if language == "console":
            assert seen(text, workplace) == seen(run_commands(text, capsys), workplace)
    for path in workplace.glob("*.yaml"):
        assert check_config(yaml.safe_load(path.read_text(encoding="utf-8")))[1].errors == []


def test_the_examples_for_verl_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each document of verl_extensions/example_config.yaml gives the sampler that it names."""
    monkeypatch.chdir(tmp_path)  # they write a journal into the working directory
    text = (ROOT / "verl_extensions" / "example_config.yaml").read_text(encoding="utf-8")
    documents = list(yaml.safe_load_all(text))
    assert len(documents) == 5
    rows = [
        {"data_source": name, "extra_info": {"complexity_score": float(i)}}
        for i in range(50)
        for name in ("iftrain", "logicif")
    ]
    for document in documents:
        kind = getattr(verl_extensions.multi_source_sampler, document["sampler"]["class_name"])
        sampler = kind(data_source=rows, data_config={"train_batch_size": 10, **document})
        assert len(list(sampler)) == 100


def test_every_key_of_the_samplers_is_documented() -> None:
    """The tables of docs/verl.md have each key with its default."""
    table = (ROOT / "docs" / "verl.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", table, flags=re.MULTILINE))
    keys = {**keys_of_sampler(TimeCurriculum), **keys_of_sampler(RewardCurriculum)}
    assert documented.keys() == keys.keys()
    for name in keys.keys() - {
        "source_weights",
        "source_curricula",
        "source_rule",
        "config",
        "seed",
        "journal",
        "reward_threshold",
    }:
        value = yaml.safe_load(documented[name].strip("`"))
        assert value == keys[name].default, name


@pytest.mark.parametrize("kinds", [curricula.CURRICULA, curricula.RULES], ids=["rows", "rules"])
def test_every_setting_of_the_curricula_is_documented(kinds: dict[str, type]) -> None:
    """The tables of docs/curricula.md have each type and setting, with its default."""
    page = (ROOT / "docs" / "curricula.md").read_text(encoding="utf-8")
    for name, kind in kinds.items():
        (line,) = re.findall(rf"^\| `{name}` \| [^\d].*\|$", page, flags=re.MULTILINE)
        if "verl.md#keys" in line:  # its keys are in that table
            continue
        settings = dict(re.findall(r"`(\w+)`(?: ([\w.]+))?", line.rpartition(" | ")[2]))
        expected = {key: p.default for key, p in keys_of(kind).items()}
        assert settings.keys() == expected.keys(), name
        for key, default in expected.items():
            given = yaml.safe_load(settings[key]) if settings[key] else inspect.Parameter.empty
            assert given == default, (name, key)


def test_every_curriculum_has_a_picture_and_a_line_in_the_comparison(tmp_path: Path) -> None:
    """The runs of `make simulate-curricula` are all shipped ones; the pictures stay small."""
    assert RUNS.keys() == {"nothing", *curricula.CURRICULA, *curricula.RULES}
    page = (ROOT / "docs" / "curricula.md").read_text(encoding="utf-8")
    size = 0
    for name in RUNS:
        size += (ROOT / "docs" / "pictures" / f"curricula_{name}.png").stat().st_size
        assert f"(pictures/curricula_{name}.png)" in page
        assert len(re.findall(rf"^\| `?{name}`? \|(?: >? ?\d+ \(\d+%\) \|){{3}}$", page, re.M)) == 1
    assert size < 400_000
    values = prompts(tmp_path)
    for changes in RUNS.values():
        result = run({**values, **changes}, "ladder", seed=0, rollouts=2)
        assert sum(source.trained for source in result.sources) == 64


def test_every_figure_of_the_curricula_is_documented(tmp_path: Path) -> None:
    """docs/slime.md lists each metric of each curriculum and rule."""
    text = (ROOT / "docs" / "slime.md").read_text(encoding="utf-8")
    text = text.replace("pool/{hard,normal,easy,unseen}", "pool/hard`, `pool/normal`, `pool/easy`, `pool/unseen")  # fmt: skip  # noqa: E501 - one thought
    cases = [{"data_source_curricula": case} for case in CURRICULUM_CASES.values()]
    cases += [{"data_source_rule": case} for case in RULE_CASES.values()]
    for number, case in enumerate(cases):
        (tmp_path / str(number)).mkdir()
        source = data_source(tmp_path / str(number), **case)
        rollout(source, 0)
        for name in source.source_status()["math"]:
            assert f"`{name}`" in text or name.startswith("buffer_age/"), name


def test_the_design_names_what_exists() -> None:
    """Each wing and file that docs/design.md names is in the package, and no wing is left out."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    package = ROOT / "curriculum_learning"
    for path in re.findall(r"`(\w+/(?:\w+\.py)?|\w+\.py)`", text):
        assert path == "curriculum_learning/" or (package / path).exists(), path
    wings = {path.parent.name for path in package.glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(\w+)/` ", text, flags=re.MULTILINE)) == wings
