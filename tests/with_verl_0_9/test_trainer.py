"""The trainer's choice of a sampler, its loader and its feedback, without processes of verl's."""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets.config
import hydra
import pytest
import torch
import transfer_queue
import yaml

from curriculum_learning import ConfigurationError, DataError, samplers, verl_trainer
from curriculum_learning.engines import verl_groups
from curriculum_learning.samplers import MultiSourceSampler
from tests.with_verl_0_7 import documented
from tests.with_verl_0_9 import inputs

SOURCES = ("easy", "hard")
WEIGHTED = ["+data.sampler.class_name=MultiSourceSampler"]
CURRICULUM = ["+data.sampler.complexity_source=hard", "+data.sampler.reward_threshold=0.5"]
ONLY_EASY = ["+data.sampler.source_weights.easy=1", "+data.sampler.source_weights.hard=0"]

MakeConfig = Callable[..., Any]
MakeTrainer = Callable[..., verl_trainer.CurriculumTrainer]


class Own(MultiSourceSampler):
    """A user's own sampler."""


class Foreign:
    """A sampler that is not derived from ours."""


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Parquet files that are read leave no copies in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and its tokenizer."""
    return inputs.write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def make_config(model: Path, tmp_path: Path) -> MakeConfig:
    """What main_ppo makes of a command line, with rows of two sources."""

    def make(*overrides: str, sources: Iterable[str] = SOURCES) -> Any:
        inputs.write_rows(file := tmp_path / "rows.parquet", *sources)
        with hydra.initialize_config_module("verl.trainer.config", version_base=None):
            return hydra.compose("ppo_trainer", [*inputs.settings(model, file), *overrides])

    return make


@pytest.fixture
def make_trainer(make_config: MakeConfig) -> MakeTrainer:
    """A trainer as far as it needs no other process."""

    def make(*overrides: str, sources: Iterable[str] = SOURCES) -> verl_trainer.CurriculumTrainer:
        trainer = verl_trainer.CurriculumTrainer(make_config(*overrides, sources=sources))
        trainer._init_tokenizer()
        trainer._init_dataloader()
        return trainer

    return make


def _overrides(node: Mapping[str, Any], path: str = "data.sampler") -> list[str]:
    """A part of a YAML file as a command line."""
    return [
        override
        for key, value in node.items()
        for override in (
            _overrides(value, f"{path}.{key}")
            if isinstance(value, dict)
            else [f"+{path}.{key}={value}"]
        )
    ]


@pytest.mark.parametrize(
    "overrides",
    [
        *(_overrides(yaml.safe_load(text)["sampler"]) for text in documented.YAML.values()),
        *(
            [f"+{line.lstrip('+')}" for line in lines]
            for lines in documented.COMMAND_LINES.values()
        ),
    ],
    ids=[*documented.YAML, *documented.COMMAND_LINES],
)
def test_documented_configurations_run(make_trainer: MakeTrainer, overrides: list[str]) -> None:
    """The keys that verl 0.7 took, each with a plus sign, give the same samplers and mixtures."""
    given = dict(override.split("=") for override in overrides)
    prefix = "+data.sampler.source_weights."
    sources = [key.removeprefix(prefix) for key in given if key.startswith(prefix)]
    trainer = make_trainer(*overrides, sources=sources or ("iftrain", "logicif"))
    assert type(trainer.sampler).__name__ == given["+data.sampler.class_name"]
    drawn: Counter[str] = Counter()
    for number, batch in enumerate(trainer.train_dataloader, start=1):
        drawn.update(batch["data_source"])
        assert all(abs(count - number * 2) < 1 for count in drawn.values())
    assert number == trainer.steps_per_epoch
    assert len(drawn) == 2


@pytest.mark.parametrize("name", verl_trainer.SAMPLERS)
def test_every_name_gives_its_sampler(make_trainer: MakeTrainer, name: str) -> None:
    """Each documented class name, the old ones included, chooses the prompts of training."""
    trainer = make_trainer(f"+data.sampler.class_name={name}", *CURRICULUM)
    assert type(trainer.sampler) is getattr(samplers, name)
    assert trainer.train_dataloader.num_workers == 0
    batches = list(trainer.train_dataloader)
    assert [len(batch["data_source"]) for batch in batches] == [4] * trainer.steps_per_epoch
    assert sorted(batches[0]["data_source"]) == ["easy", "easy", "hard", "hard"]


@pytest.mark.parametrize("override", ["+data.sampler.class_name=MultiSource", "+data.sampler={}"])
def test_unknown_class_is_an_error_that_lists_ours(make_config: MakeConfig, override: str) -> None:
    """A class name that is missing, or none of ours, is refused with the names that are."""
    config = make_config(override)
    with pytest.raises(ConfigurationError, match="MultiSourceSampler, TimeCurriculumSampler") as at:
        verl_trainer.sampler_class(config.data)
    assert at.value.key == "data.sampler.class_name"


def test_own_class_is_loaded_from_module_and_file(make_config: MakeConfig) -> None:
    """A user's class is found by both kinds of path that verl knows."""
    for path in (f"pkg://{__name__}", __file__):
        config = make_config("+data.sampler.class_name=Own", f"+data.sampler.class_path={path}")
        assert verl_trainer.sampler_class(config.data).__name__ == Own.__name__


def test_foreign_class_is_refused(make_config: MakeConfig) -> None:
    """A user's class that is not derived from ours is no sampler for this mode."""
    config = make_config(
        "+data.sampler.class_name=Foreign", f"+data.sampler.class_path=pkg://{__name__}"
    )
    with pytest.raises(ConfigurationError, match="derive it from one of MultiSourceSampler"):
        verl_trainer.sampler_class(config.data)


def test_sampler_decides_the_length_of_an_epoch(make_trainer: MakeTrainer) -> None:
    """Rows of a source that is left out count neither for steps nor for the learning rate."""
    trainer = make_trainer(*WEIGHTED, *ONLY_EASY, "trainer.total_epochs=3")
    assert trainer.steps_per_epoch == inputs.ROWS // 4
    assert trainer.total_training_steps == 3 * trainer.steps_per_epoch
    optimizer = trainer.config.actor_rollout_ref.actor.optim
    assert optimizer.total_training_steps == trainer.total_training_steps


def test_steps_that_are_given_stay(make_trainer: MakeTrainer) -> None:
    """A configured number of steps is not changed by the sampler."""
    trainer = make_trainer(*WEIGHTED, *ONLY_EASY, "trainer.total_training_steps=7")
    assert trainer.total_training_steps == 7


def test_too_few_rows_are_an_error(make_trainer: MakeTrainer) -> None:
    """An epoch shorter than a training batch is refused before anything is started."""
    sizes = ["data.train_batch_size=64", "data.gen_batch_size=8"]
    with pytest.raises(DataError, match="40 rows, fewer than a batch of 64"):
        make_trainer(*WEIGHTED, *ONLY_EASY, *sizes)


def test_group_filtering_fetches_single_prompts(make_trainer: MakeTrainer) -> None:
    """Where verl replaces filtered groups one by one, so does the loader with our sampler."""
    trainer = make_trainer(*WEIGHTED, "algorithm.filter_groups.enable=true")
    assert [len(batch["data_source"]) for batch in trainer.train_dataloader] == [1] * 80


def test_caps_need_the_filter(make_trainer: MakeTrainer) -> None:
    """Caps without verl's filter of groups are an error before anything is started."""
    caps = "+data.sampler.source_reward_caps.easy=0.5"
    with pytest.raises(ConfigurationError, match=r"algorithm\.filter_groups\.enable=true"):
        make_trainer(*WEIGHTED, caps)


def test_a_buffer_without_the_filter_is_warned_of(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """A user's own replay buffer is told of no filter, so caps have no effect there."""
    filtered = ["algorithm.filter_groups.enable=true", "algorithm.filter_groups.metric=reward"]
    path = "trainer.v1.sampler.custom_sampler"
    own = [f"{path}.path=pkg://verl.trainer.ppo.v1.replay_buffer", f"{path}.name=ReplayBuffer"]
    for overrides, is_warned in (([], False), (own, True)):
        caps = "+data.sampler.source_reward_caps.easy=0.5"
        config = make_config(*WEIGHTED, caps, *filtered, *overrides)
        trainer = verl_trainer.CurriculumTrainer(config)
        trainer.replay_buffer = trainer._build_replay_buffer()
        trainer._init_tokenizer()
        caplog.clear()
        trainer._init_dataloader()
        assert ("source_reward_caps has no effect" in caplog.text) == is_warned


def test_resumed_loader_goes_on(make_trainer: MakeTrainer) -> None:
    """A loader with the state of another, and the same feedback, gives the same batches."""
    overrides = [*WEIGHTED, "+data.sampler.adaptive_weights=true", "data.train_batch_size=8"]
    trainer = make_trainer(*overrides)
    prompts: list[list[str]] = []
    states = []
    for _ in range(25):  # two and a half epochs
        prompts.append(_next_prompts(trainer))
        states.append(trainer.train_dataloader.state_dict())
    for cut in (3, 9, 10, 19):
        resumed = make_trainer(*overrides)
        resumed.train_dataloader.load_state_dict(states[cut])
        assert [_next_prompts(resumed) for _ in range(cut + 1, 25)] == prompts[cut + 1 :]


def _next_prompts(trainer: verl_trainer.CurriculumTrainer) -> list[str]:
    """Fetch a batch as verl does, and give rewards for it."""
    batch = trainer._fetch_one_gen_batch()
    sources = list(batch["data_source"])
    rewards = [0.2 if source == "hard" else 0.9 for source in sources]
    trainer.sampler.observe(sources, rewards)
    return [messages[0]["content"] for messages in batch["raw_prompt"]]


def test_padding_is_not_rewarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch the last output of each session counts; padding is not even read."""
    stored = {"7_0_0": [9.0], "7_0_1": [0.25, 0.5], "7_1_0": [0.0], "8_0_0": [1.0, 0.0, 0.0]}

    def kv_batch_get(keys: list[str], partition_id: str, select_fields: list[str]) -> Any:
        assert (partition_id, select_fields) == ("train", ["rm_scores"])
        scores = [torch.tensor(stored[key]) for key in keys]
        return {"rm_scores": torch.nested.as_nested_tensor(scores, layout=torch.jagged)}

    monkeypatch.setattr(transfer_queue, "kv_batch_get", kv_batch_get)
    batch = types.SimpleNamespace(
        keys=["8_0_0", "7_0_0", "padding", "7_0_1", "7_1_0"],
        tags=[{}, {}, {"is_padding": True}, {"is_padding": False}, {}],
    )
    ended = verl_groups.trained_groups(batch)
    assert ended == [("8", "trained", [1.0]), ("7", "trained", [0.75, 0.0])]
