"""What a user sees of mistakes: bad inputs, each with its whole message in error_gallery.txt.

A message names the place (file and line, or key and source), the value, and what to do.
"""

from __future__ import annotations

import gzip
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import CurriculumLearningError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.__main__ import main
from curriculum_learning.samplers import (
    MultiSourceSampler,
    RewardCurriculumSampler,
    TimeCurriculumSampler,
)
from tests.harness import arguments, data_source, interrupt, write_rows
from tests.prompts.pictures import content

MESSAGES = Path(__file__).with_name("error_gallery.txt")

Case = Callable[[Path], Any]
CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    """Add a case."""

    def add(run: Case) -> Case:
        assert name not in CASES
        CASES[name] = run
        return run

    return add


def configured(name: str, **changes: Any) -> None:
    """A case of a data source over the sources a (4 rows) and b (6 rows)."""
    case(name)(lambda folder: data_source(folder, {"a": 4, "b": 6}, **changes))


def weighed(name: str, weight: Any) -> None:
    """A case of a weight of source b."""
    configured(f"weight: {name}", data_source_weights=[1, weight])


# Configurations

configured("config: no prompt_data", prompt_data=None)
configured("config: a path that is none", prompt_data=["a.jsonl", 5])
configured("config: a slice without an at", prompt_data="a.jsonl[5:]", data_source_weights=None)
configured("config: too few names", prompt_data_source_names=["a"])
configured("config: the same name twice", prompt_data_source_names=["a", "a"])
configured("config: too few weights", data_source_weights=[1])
configured("config: weights by other names", data_source_weights={"a": 1, "c": 1})
configured("config: a misspelt key", data_source_wieghts=[1, 1])


def mapped(name: str, *without: str, **changes: Any) -> None:
    """A case of a plain mapping, in which all keys are for the data source."""

    def run(folder: Path) -> None:
        values = {**vars(arguments(folder, {"a": 4, "b": 6})), **changes}
        DataSource({key: value for key, value in values.items() if key not in without})

    case(f"mapping: {name}")(run)


case("mapping: a file in its place")(lambda folder: DataSource("run.yaml"))
mapped("rollout_shufle", "rollout_shuffle", rollout_shufle=True)
mapped("n_sample_per_prompt", "n_samples_per_prompt", n_sample_per_prompt=8)
mapped("num_rollouts", num_rollouts=200)
mapped("data_source_weight", "data_source_weights", data_source_weight=[1, 1])
mapped("no weights", "data_source_weights")
mapped("three weights", data_source_weights=[1, 1, 1])
mapped("a curriculum's type", data_source_curricula={"b": {"type": "tmie"}})
mapped("a curriculum's key", data_source_curricula={"b": {"type": "time", "warmup_steps": 30}})
mapped("a schedule's name", data_source_weights=[1, {"schedule": "linaer", "start": 1, "end": 0}])
mapped("np.exp in a lambda", data_source_weights=[1, "lambda step: np.exp(-step)"])
mapped("np.pi in a lambda", data_source_weights=[1, "lambda step: np.pi"])
mapped("a function's name in a lambda", data_source_weights=[1, "lambda step: sqr(step)"])


@case("mapping: a path that weights and curricula name by source")
def _(folder: Path) -> None:
    values = vars(arguments(folder, {"a": 4, "hard": 6}))
    paths = [str(folder / "a.jsonl"), str(folder / "hrad.jsonl")]
    curricula = {"hard": {"type": "time"}}
    by_name = {"data_source_weights": {"a": 1, "hard": 1}, "data_source_curricula": curricula}
    DataSource({**values, "prompt_data": paths, **by_name})


configured("config: a flag that is text", rollout_shuffle="yes")
configured("config: a seed that is text", rollout_seed="1")
configured("config: no samples", n_samples_per_prompt=0)
configured("config: half a batch", rollout_batch_size=0.5)
configured("config: a negative run", num_rollout=-1)
configured("config: a column for one source of two", input_key=["text"])
configured("config: a column that is no text", label_key=[None, 5])
configured("config: an unknown kind of media", multimodal_keys={"picture": "images"})
configured("config: a choice that is none", on_source_change="merge")
configured("config: surplus", surplus="forget")
configured("config: a new name for no source", renamed_from={"c": "d"})
configured("config: a chat template without a tokenizer", apply_chat_template=True)
configured("config: save is no folder", save=5)

# Hooks

configured("hook: a module that is not there", buffer_filter_path="no_such_module.pick")
configured("hook: a name that is not there", data_source_metrics_callback="math.sine")
configured("hook: no function", buffer_filter_path="math.pi")
configured("hook: no dotted path", buffer_filter_path="pick")


@case("hook: the log function is misspelt")
def _(folder: Path) -> None:
    config = folder / "run.yaml"
    path = "curriculum_learning.custom_log.custom_log_function"
    config.write_text(
        f"data_source_weights: [1]\ncustom_rollout_log_function_path: {path}\n", encoding="utf-8"
    )
    main(["preview", str(config), "--rows", "a=5", "--steps", "5", "--batch", "2"])


@case("hook: a buffer filter that takes what is not there")
def _(folder: Path) -> None:
    def choose(args: Any, rollout_id: Any, buffer: list[Any], room: int) -> list[Any]:
        return [["not a group"]]

    source = data_source(folder, {"a": 4}, buffer_filter_path=choose)
    source.add_samples([interrupt(group) for group in source.get_samples(2)])
    source.get_samples(1)


# Schedules

weighed("negative", -1)
weighed("no number", None)
weighed("a word", "half")
weighed("another function's name in a lambda", "lambda step: open('x')")
weighed("an attribute in a lambda", "lambda step: step.real")
weighed("a lambda that does not end", "lambda step: (1 + step")
weighed("negative later on", "lambda step: 1 - step / 400")
weighed("a division by zero", "lambda step: 1 / (step - 3)")
weighed("a function that is not there", "curriculum_learning.weight_scheduler.hard_to_esay")
weighed("an unknown shape", {"schedule": "sigmoid", "start": 0, "end": 1, "steps": 10})
weighed("a shape without an end", {"schedule": "linear", "start": 0, "steps": 10})
weighed("an exponential from 0", {"schedule": "exponential", "start": 0, "end": 1, "steps": 9})
weighed("points out of order", {"schedule": "piecewise", "points": [[5, 1], [5, 2]]})
weighed("no steps", {"schedule": "cosine", "start": 0, "end": 1, "steps": 0})
configured("weight: all are 0", data_source_weights=[0, "lambda step: max(0, 9 - step)"])


# Data files


def filed(
    name: str, content: bytes | None, file: str = "a.jsonl", path: str = "", **changes: Any
) -> None:
    """A case of a data source over one file, or over ``path``."""

    def run(folder: Path) -> None:
        if content is not None:
            (folder / file.split("@")[0]).write_bytes(content)
        DataSource({"prompt_data": str(folder / (path or file)), **changes})

    case(f"data: {name}")(run)


filed("no file", None)
filed("another kind of file", b"input\nhello\n", "a.txt")
filed("no column of that name in a csv", b"question\nhello\n", "a.csv")
filed("a shard is missing", b'{"input": "x"}\n', "a-00001-of-00003.jsonl",
      "*.jsonl", prompt_data_source_names="s")  # fmt: skip
filed("a packed file is cut off", gzip.compress(b'{"input": "x"}\n')[:-5], "a.jsonl.gz")
filed("a picture is missing", b'{"input": "<image>", "images": ["no.png"]}\n',
      multimodal_keys={"image": "images"})  # fmt: skip
filed("fewer pictures than placeholders", b'{"input": "<image>", "images": []}\n',
      multimodal_keys={"image": "images"})  # fmt: skip
filed("no rows", b"")
filed("a slice with no rows", b'{"input": "x"}\n', "a.jsonl@[5:]")
filed("no JSON", b'{"input": "x"}\n{"input": "y"\n')
filed("no object", b'{"input": "x"}\n["y"]\n')
filed("no prompt", b'{"input": "x"}\n{"prompt": "y"}\n')
filed("a prompt that is null", b'{"input": "x"}\n{"input": null}\n')
filed("a prompt that is a number", b'{"input": 5}\n')
filed("no label", b'{"input": "x"}\n', label_key="answer")
filed("metadata that is text", b'{"input": "x", "metadata": "m"}\n')
filed("tools that are no list", b'{"input": "x", "tools": {"a": 1}}\n')
filed("no parquet", b"PAR2 or so", "a.parquet")
filed("bytes that are no text", b'{"input": "\xff"}\n')


@case("data: a corrupt picture")
def _(folder: Path) -> None:
    (folder / "cut.png").write_bytes(content(1)[:-40])
    row = {"input": "what is <image>?", "images": [str(folder / "cut.png")]}
    args = {"multimodal_keys": {"image": "images"}}
    DataSource({"prompt_data": write_rows(folder / "a.jsonl", [row]), **args}).get_samples(1)


def prompted(name: str, prompts: Any, **changes: Any) -> None:
    """A case of a source that is no file."""
    case(f"source: {name}")(lambda folder: DataSource({"prompt_data": prompts, **changes}))


HERE = "tests.prompts.generators"
prompted("an unknown kind", [{"type": "gym", "task": "chain_sum"}])
prompted("no type", [{"task": "chain_sum"}])
prompted("an unknown key", {"type": "reasoning_gym", "task": "chain_sum", "sed": 3})
prompted("an unknown task", "reasoning_gym:chain_sums")
prompted("a setting that is none",
         {"type": "reasoning_gym", "task": "chain_sum", "settings": {"max_term": 3}})  # fmt: skip
prompted("a kind without its key", {"type": "verifiers", "settings": {}})
prompted("more levels than there are", {"type": "reasoning_gym", "task": "chain_sum", "levels": 99})
prompted("neither a file nor a module", "nowhere.rows")
prompted("no such function", f"{HERE}.cubes")
prompted("a class without rows", f"{HERE}.Any")
prompted("a row that cannot be made", f"{HERE}.no_rows@[90:]")
prompted("a row without a prompt", f"{HERE}.squares", input_key="question")
prompted("an end to count from", f"{HERE}.squares@[-5:]")
prompted("a curriculum over one level", f"{HERE}.squares", data_source_curricula={"type": "time"})


@case("source: an environment without its package")
def _(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "verifiers", None)
        DataSource({"prompt_data": "verifiers:gsm8k"})


@case("source: a dead server")
def _(folder: Path) -> None:
    url = "http://127.0.0.1:9/math.jsonl"
    DataSource({"prompt_data": url, "data_source_cache": str(folder / "cache")})


def streamed(name: str, **settings: Any) -> None:
    """A case of a stream, of which five rows are asked for."""

    def run(folder: Path) -> None:
        entry = {"type": "stream", "record": str(folder / "record"), **settings}
        source = DataSource({"prompt_data": entry})
        try:
            for _ in range(5):
                source.get_samples(1)
            source.load_state_dict(DataSource({"prompt_data": entry}).state_dict())
            source.get_samples(1)
        finally:
            source.close()

    case(f"source: {name}")(run)


streamed("a stream that has ended", function=f"{HERE}.three")
streamed("a row that has left the window", function=f"{HERE}.numbers", window=2)
streamed("a stream without a function")
prompted("an unknown place", "nowhere://math.jsonl")
prompted("a missing remote file", "memory://math.jsonl")


# Samplers


def sampled(name: str, kind: type[MultiSourceSampler], **node: Any) -> None:
    """A case of a sampler over the sources a and b, without complexity scores."""
    rows = [{"data_source": name} for name in "abab"]
    data = {"train_batch_size": 2, "sampler": node}
    case(f"sampler: {name}")(lambda folder: kind(data_source=rows, data_config=data))


sampled("an unknown key", MultiSourceSampler, source_weight={"a": 1})
sampled("other sources", MultiSourceSampler, source_weights={"a": 1, "c": 1})
sampled("all weights 0", MultiSourceSampler, source_weights={"a": 0, "b": 0})
sampled("a temperature of 0", MultiSourceSampler, adaptive_weights=True, temperature=0)
sampled("weights beyond the ratio", MultiSourceSampler, adaptive_weights=True,
        source_weights={"a": 1, "b": 9})  # fmt: skip
sampled("no complexity source", TimeCurriculumSampler)
sampled("no scores", TimeCurriculumSampler, complexity_source="b")
sampled("a percentile too high", TimeCurriculumSampler, initial_complexity_percentile=130)
sampled("percentiles the wrong way round", TimeCurriculumSampler,
        initial_complexity_percentile=80, final_complexity_percentile=20)  # fmt: skip
sampled("no threshold", RewardCurriculumSampler, complexity_source="b")


@case("sampler: rows without a source")
def _(folder: Path) -> None:
    rows = [{"data_source": "a"}, {"source": "a"}]
    MultiSourceSampler(data_source=rows, data_config={"train_batch_size": 2})


# Groups


@case("group: given back twice")
def _(folder: Path) -> None:
    source = data_source(folder, {"a": 4})
    groups = [interrupt(group) for group in source.get_samples(1)]
    source.add_samples(groups)
    source.add_samples(groups)


@case("group: never served")
def _(folder: Path) -> None:
    source = data_source(folder, {"a": 4})
    (group,) = source.get_samples(1)
    for sample in group:
        sample.group_index = 7
    source.add_samples([group])


@case("group: a sample short")
def _(folder: Path) -> None:
    source = data_source(folder, {"a": 4})
    source.add_samples([source.get_samples(1)[0][:1]])


@case("group: a number of groups that is none")
def _(folder: Path) -> None:
    data_source(folder, {"a": 4}).get_samples(-1)


# States


def saved(folder: Path) -> Path:
    """The state of a short run over a and b, after rollout 3."""
    source = data_source(folder, {"a": 4, "b": 6})
    source.get_samples(3)
    source.save(3)
    return folder / "save" / "rollout" / "curriculum_learning_3.state"


@case("state: none of that rollout")
def _(folder: Path) -> None:
    saved(folder)
    data_source(folder, {"a": 4, "b": 6}).load(5)


@case("state: damaged")
def _(folder: Path) -> None:
    path = saved(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    data_source(folder, {"a": 4, "b": 6}).load(3)


@case("state: another kind of file")
def _(folder: Path) -> None:
    saved(folder).write_bytes(b"\x80\x04 a pickle, perhaps")
    data_source(folder, {"a": 4, "b": 6}).load(3)


@case("state: of another mix")
def _(folder: Path) -> None:
    saved(folder)
    args = arguments(folder, {"a": 4, "c": 6})
    DataSource(args).load(3)


@case("state: of another order")
def _(folder: Path) -> None:
    saved(folder)
    data_source(folder, {"a": 4, "b": 6}, rollout_seed=7).load(3)


@case("state: of other rows")
def _(folder: Path) -> None:
    saved(folder)
    args = arguments(folder, {"a": 4, "b": 6})
    write_rows(folder / "b.jsonl", ({"input": f"other {i}"} for i in range(6)))
    DataSource(args).load(3)


@case("state: a rollout that is none")
def _(folder: Path) -> None:
    data_source(folder, {"a": 4}).save(-3)


@case("state: what a state cannot hold")
def _(folder: Path) -> None:
    data_source(folder, {"a": 4}).update_metadata({"model": object()})


# The command line


def commanded(name: str, *arguments: str, **files: str) -> None:
    """A case of a command; ``run`` is the text of run.yaml."""

    def run(folder: Path) -> None:
        for file, text in files.items():
            (folder / file.replace("_", ".")).write_text(text, encoding="utf-8")
        main([argument.replace("FOLDER", str(folder)) for argument in arguments])

    case(f"command: {name}")(run)


SHORT = ("--steps", "5", "--batch", "2", "--no-picture")
commanded("no such file", "preview", "FOLDER/nowhere.yaml")
commanded("no YAML", "preview", "FOLDER/run.yaml", run_yaml="a: [1, 2\nb: 3\n")
commanded("a key twice", "preview", "FOLDER/run.yaml", run_yaml="a: 1\nb: 3\na: 2\n")
commanded("nothing in the file", "preview", "FOLDER/run.yaml", run_yaml="")
commanded("no overrides", "preview", "FOLDER/run.txt", run_txt="hello\n")
commanded("several at once", "preview", "FOLDER/run.yaml", "--rows", "a=5,b=5", *SHORT,
          run_yaml="data_source_weights: [-1, 'lambda s: x']\n\nrollout_seed: one\n")  # fmt: skip
commanded("no such sampler", "preview", "data.sampler.class_name=Sampler", "--rows", "a=5", *SHORT)
commanded("several of a sampler", "preview", "FOLDER/run.txt", "--rows", "a=5,b=5", *SHORT,
          run_txt="python -m verl \\\n data.sampler.class_name=RewardCurriculumSampler \\\n"
          " +data.sampler.alpha=2 \\\n +data.sampler.tempreature=1\n")  # fmt: skip
commanded("no training files", "preview", "data.sampler.class_name=MultiSourceSampler", *SHORT)
commanded("no length", "preview", "data_source_weights=[1]", "--rows", "a=5", "--batch", "2")
commanded("no batch", "preview", "data_source_weights=[1]", "--rows", "a=5", "--steps", "2")
commanded("rows of another source", "preview", "FOLDER/run.yaml", "--rows", "c=5", *SHORT,
          run_yaml="prompt_data: [a.jsonl, b.jsonl]\ndata_source_weights: [1, 1]\n")  # fmt: skip
commanded("rows that are no number", "preview", "data_source_weights=[1]", "--rows", "a=many")
commanded("a request below the batch", "simulate", "data_source_weights=[1]", "--rows", "a=5",
          "--steps", "5", "--batch", "4", "--over-sampling", "3")  # fmt: skip
commanded("everything is dropped", "simulate", "data_source_weights=[1]", "--rows", "a=5",
          "--steps", "5", "--batch", "4", "--drop", "a=1")  # fmt: skip
commanded("simulate a sampler", "simulate", "data.sampler.class_name=MultiSourceSampler",
          "--rows", "a=9", "--steps", "5", "--batch", "4")  # fmt: skip
commanded("inspect nothing", "inspect", "FOLDER/nowhere")
commanded("inspect an empty folder", "inspect", "FOLDER")
commanded("inspect another file", "inspect", "FOLDER/run.yaml", run_yaml="a: 1\n")


def seen(name: str, folder: Path, error: str) -> str:
    """A message as the gallery has it: of no particular folder."""
    message = error.replace(str(folder), "FOLDER").replace(str(Path.cwd()), "CWD")
    return re.sub(r"0x[0-9a-f]{6,}", "0xADDRESS", message).strip()


def gallery() -> dict[str, str]:
    """The pinned messages."""
    blocks = re.split(r"^## (.*)\n", MESSAGES.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {name: text.strip() for name, text in zip(blocks[::2], blocks[1::2], strict=True)}


def message_of(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What a user sees in a case."""
    try:
        CASES[name](folder)
    except CurriculumLearningError as error:
        return seen(name, folder, str(error))
    return seen(name, folder, capsys.readouterr().err)


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_met_with_its_message(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole message is as pinned."""
    assert gallery()[name] == message_of(name, tmp_path, capsys)


def test_every_pinned_message_has_a_case() -> None:
    """The gallery is of at least 40 mistakes, and of no others."""
    assert list(gallery()) == list(CASES)
    assert len(CASES) >= 40
