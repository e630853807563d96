from __future__ import annotations

import itertools
import logging
import pickle
import types
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pytest
import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, Dataset
from torchdata.stateful_dataloader import StatefulDataLoader

import verl_extensions
import verl_extensions.multi_source_sampler
from curriculum_learning import (
    CheckpointError,
    ConfigurationError,
    DataError,
)
from curriculum_learning.config.samplers import RewardSamplerConfig, TimeSamplerConfig
from curriculum_learning.engines import multi_source_sampler
from curriculum_learning.samplers import (
    CurriculumMultiSourceSampler,
    MultiSourceSampler,
    RewardCurriculumSampler,
    RewardGatedCurriculumSampler,
    TimeCurriculumSampler,
)
from curriculum_learning.state.journal import Entry, Journal

Row = dict[str, Any]
ADAPTIVE = {"adaptive_weights": True, "update_frequency": 2, "temperature": 0.3}
# Every single reward matters with these, so that a lost one shows.
REWARD = {
    "reward_threshold": 0.47, "reward_alpha": 1.0, "min_batches_per_level": 0, "check_frequency": 1,
}  # fmt: skip
CLASSES: list[tuple[type[MultiSourceSampler], dict[str, Any]]] = [
    (MultiSourceSampler, ADAPTIVE),
    (TimeCurriculumSampler, {"complexity_warmup_steps": 9}),
    (RewardCurriculumSampler, REWARD),
    (RewardCurriculumSampler, {**REWARD, **ADAPTIVE, "focus_new_intervals": True}),
]


class Rows(Dataset[Row]):
    """A data set of rows, without columns."""

    def __init__(self, sizes: dict[str, int], *, scores: bool = True) -> None:
        names = [name for name, size in sizes.items() for _ in range(size)]
        order = np.random.default_rng(0).permutation(len(names))
        self.rows: list[Row] = [
            {"prompt": f"{names[place]} {place}", "data_source": names[place]} for place in order
        ]
        if scores:
            for place, row in enumerate(self.rows):
                row["extra_info"] = {"complexity_score": float((place * 37) % 101)}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    def names(self, indices: list[int]) -> list[str]:
        """The sources of rows."""
        return [self.rows[index]["data_source"] for index in indices]


def config(batch: int = 8, /, **sampler: Any) -> dict[str, Any]:
    """The ``config.data`` of verl, as far as samplers read it."""
    return {"train_batch_size": batch, "seed": 7, "sampler": {"class_name": "x", **sampler}}


def batches_of(sampler: MultiSourceSampler, size: int) -> list[list[int]]:
    """The batches of one pass."""
    rows = list(sampler)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def feedback(dataset: Rows, batch: list[int], number: int) -> tuple[list[str], list[float]]:
    """Sources and rewards of a batch, in another order than it was drawn."""
    rows = sorted(batch)
    return dataset.names(rows), [((row * 31 + number) % 10) / 10 for row in rows]


# The mixture


@pytest.mark.parametrize("size", [7, 64, 512])
@pytest.mark.parametrize(
    "weights",
    [
        {"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 0.7, "b": 0.2, "c": 0.1},
        {f"s{i}": 1 + i % 4 for i in range(20)},
    ],
    ids=["1:1", "2:1", "7:2:1", "20 sources"],
)  # fmt: skip
def test_the_mixture_is_exact_in_every_batch(weights: dict[str, float], size: int) -> None:
    """After every batch each source is less than one row off its share of all rows so far."""
    dataset = Rows(dict.fromkeys(weights, 400), scores=False)
    sampler = MultiSourceSampler(dataset, config(size, source_weights=weights))
    counts: Counter[str] = Counter()
    total = 0
    for _ in range(2):
        for batch in batches_of(sampler, size):
            counts.update(dataset.names(batch))
            total += len(batch)
            for name, weight in weights.items():
                assert abs(counts[name] - total * weight / sum(weights.values())) < 1


def test_proportional_is_by_the_number_of_rows() -> None:
    """Proportional sources end their epochs together: a pass is each row once."""
    dataset = Rows({"a": 60, "b": 20, "c": 16})
    sampler = MultiSourceSampler(dataset, config(8, sampling_strategy="proportional"))
    assert sorted(sampler) == list(range(96))


def test_no_weights_are_equal_weights_and_weight_0_is_left_out() -> None:
    """An empty mapping weighs all sources alike; a source of weight 0 never comes."""
    dataset = Rows({"a": 40, "b": 40, "c": 40})
    assert MultiSourceSampler(dataset, config()).get_stats()["weight/b"] == pytest.approx(1 / 3)
    weights = {"a": 1, "b": 1, "c": 0}
    sampler = MultiSourceSampler(dataset, config(source_weights=weights))
    assert len(sampler) == 80
    assert Counter(dataset.names(list(sampler))) == {"a": 40, "b": 40}


def test_a_pass_is_whole_batches_and_the_next_goes_on() -> None:
    """len() never changes; small sources start new epochs, in an order of their own."""
    dataset = Rows({"a": 5, "b": 49})
    sampler = MultiSourceSampler(dataset, config(10))
    assert len(sampler) == 50
    first, second = list(sampler), list(sampler)
    assert len(first) == len(second) == len(sampler) == 50
    assert first != second
    small = [row for row in first + second if dataset.rows[row]["data_source"] == "a"]
    for start in range(0, 50, 5):
        assert len(set(small[start : start + 5])) == 5
    large = [row for row in first + second if dataset.rows[row]["data_source"] == "b"]
    assert len(set(large[:49])) == 49


def test_batches_are_shuffled_by_seed() -> None:
    """Sources are mixed within a batch, the same for the same seed and otherwise not."""
    dataset = Rows({"a": 100, "b": 100})
    passes = [list(MultiSourceSampler(dataset, {**config(20), "seed": seed})) for seed in (1, 1, 2)]
    assert passes[0] == passes[1] != passes[2]
    own = {**config(20, seed=1), "seed": 5}
    assert list(MultiSourceSampler(dataset, own)) == passes[0]
    default = {"train_batch_size": 20, "sampler": {}}
    assert list(MultiSourceSampler(dataset, default)) == passes[0]
    starts = Counter(dataset.names(passes[0][::20]))
    assert len(starts) == 2


def test_gen_batch_size_goes_first() -> None:
    """Where the generation batch has its own size, that is the batch."""
    sampler = MultiSourceSampler(
        Rows({"a": 50, "b": 50}), {**config(8), "gen_batch_size": 30, "sampler": None}
    )
    assert len(sampler) == 90


# Feedback


def test_rewards_move_adaptive_weights(caplog: pytest.LogCaptureFixture) -> None:
    """The source with the lower reward gets more rows, and the documented lines are logged."""
    dataset = Rows({"iftrain": 200, "logicif": 200})
    with caplog.at_level(logging.INFO):
        sampler = MultiSourceSampler(
            dataset,
            config(512 // 8, adaptive_weights=True, alpha=0.1, temperature=0.3, update_frequency=2,
                   source_weights={"iftrain": 1.0, "logicif": 1.0}),
        )  # fmt: skip
        rows = iter(sampler)
        for _ in range(2):
            batch = list(itertools.islice(rows, 64))
            names = dataset.names(batch)
            assert Counter(names) == {"iftrain": 32, "logicif": 32}
            sampler.observe(names, [10.25 if name == "iftrain" else 10.19 for name in names])
        later = dataset.names(list(itertools.islice(rows, 128)))
    share = 1 / (1 + np.exp(-0.06 / 0.3))
    assert abs(Counter(later)["logicif"] - 128 * share) < 1
    assert [record.getMessage() for record in caplog.records[1:]] == [
        "[MultiSourceSampler] Strategy: weighted, Mode: adaptive, Sources: 2, Batch size: 64",
        "[MultiSourceSampler] Adaptive: alpha=0.1, update_freq=2, temp=0.3",
        "[MultiSourceSampler] Weight bounds: [25.0%, 75.0%]",
        "  iftrain: 200 samples (weight: 0.500)",
        "  logicif: 200 samples (weight: 0.500)",
        "[MultiSourceSampler] Batch 2 - Weight adjustment:",
        "  iftrain: reward_ema= 10.25, weight=0.450 (45.0%)",
        "  logicif: reward_ema= 10.19, weight=0.550 (55.0%)",
        "  Actual max/min ratio: 1.22x",
    ]
    stats = sampler.get_stats()
    assert stats["weight/logicif"] == pytest.approx(share)
    assert stats["reward_ema/iftrain"] == pytest.approx(10.25)
    assert stats["updates"] == 2


def test_time_opens_rows(caplog: pytest.LogCaptureFixture) -> None:
    """Rows of the complexity source open with the updates, and the documented lines are logged."""
    dataset = Rows({"logicif": 100, "iftrain": 100})
    with caplog.at_level(logging.INFO):
        sampler = TimeCurriculumSampler(dataset, config(20, complexity_warmup_steps=7))
        for number in range(9):
            assert sampler.get_stats()["open_share/logicif"] == min(30 + 10 * number, 100) / 100
            sampler.observe([], [])
    messages = [record.getMessage() for record in caplog.records]
    assert "[TimeCurriculumSampler] Complexity curriculum for 'logicif'" in messages
    assert "[TimeCurriculumSampler] Progress: 30% → 100% over 7 updates" in messages
    assert "[TimeCurriculumSampler] Complexity: 50% (50/100 items)" in messages
    assert messages[-1] == "[TimeCurriculumSampler] Complexity: 100% (100/100 items)"


def test_only_open_rows_are_drawn() -> None:
    """Before the first update only the easiest rows of the complexity source come."""
    dataset = Rows({"logicif": 100, "iftrain": 100})
    sampler = TimeCurriculumSampler(dataset, config(20))
    of_source = [i for i, row in enumerate(dataset.rows) if row["data_source"] == "logicif"]
    easiest = sorted(of_source, key=lambda i: dataset.rows[i]["extra_info"]["complexity_score"])
    drawn = {row for row in sampler if row in set(of_source)}
    assert drawn == set(easiest[:30])


def test_rewards_open_a_level(caplog: pytest.LogCaptureFixture) -> None:
    """A good enough average of the source's own rows opens the next interval, and says so."""
    dataset = Rows({"logicif": 1000, "iftrain": 10})
    with caplog.at_level(logging.INFO):
        sampler = RewardCurriculumSampler(
            dataset,
            config(20, reward_threshold=0.125, min_batches_per_level=2, check_frequency=3),
        )
        names = ["logicif", "iftrain", "logicif"]
        for _ in range(4):
            sampler.observe(names, [0.1, 0.9, 0.1])
        assert sampler.get_stats()["level"] == 0
        sampler.observe(names, [0.4, 0.0, 0.5])
    assert sampler.get_stats()["level"] == 1
    assert sampler.get_stats()["open_share/logicif"] == 0.37
    assert sampler.get_stats()["curriculum_reward_ema"] == pytest.approx(0.135)
    messages = [record.getMessage() for record in caplog.records]
    start = messages.index("[RewardCurriculumSampler] Complexity source: 'logicif'")
    assert messages[start + 1 : start + 3] == [
        "[RewardCurriculumSampler] Initial: 30%, Final: 100%",
        "[RewardCurriculumSampler] Intervals: 11 (1 initial + 10 progressive)",
    ]
    assert messages[start + 3].startswith("  Interval 0 (Initial 30%): 300 samples, [0.000, ")
    assert messages[start + 4].startswith("  Interval 1: 70 samples, [")
    assert messages[start + 14 :] == [
        "=" * 80,
        "[RewardCurriculumSampler] LEVEL UP! 0 → 1",
        "[RewardCurriculumSampler] Batch 5: Reward 0.135 >= 0.125",
        "[RewardCurriculumSampler] Samples: 300 → 370",
        "=" * 80,
    ]


def test_update_reads_verls_batches(caplog: pytest.LogCaptureFixture) -> None:
    """Token scores are summed per row; what is no finite number is skipped and counted."""
    dataset = Rows({"a": 50, "b": 50})
    sampler = MultiSourceSampler(dataset, config(adaptive_weights=True))
    scores = torch.tensor(
        [[0.0, 1.0], [0.5, 0.25], [float("nan"), 1], [0, 3]], dtype=torch.bfloat16
    )
    batch = types.SimpleNamespace(
        batch={"token_level_scores": scores},
        non_tensor_batch={"data_source": np.array(["a", "b", "a", "a"], dtype=object)},
    )
    sampler.update(batch=batch)
    stats = sampler.get_stats()
    assert (stats["reward_ema/a"], stats["reward_ema/b"]) == (2.0, 0.75)
    assert "1 of 4 rewards" in caplog.text
    del batch.batch["token_level_scores"]
    with pytest.raises(DataError, match="token_level_scores"):
        sampler.update(batch)
    with pytest.raises(DataError, match=r"""rewards of \["'c'"\]"""):
        sampler.observe(["a", "c"], [1, 2])
    with pytest.raises(DataError, match="one reward per row"):
        sampler.observe(["a"], [1, 2])


# Resume


@pytest.mark.parametrize(("kind", "keys"), CLASSES)
def test_a_resumed_run_has_the_batches_of_an_uninterrupted_one(
    kind: type[MultiSourceSampler], keys: dict[str, Any]
) -> None:
    """With torchdata's loader, at every batch, epoch ends included, and twice in a row."""
    dataset = Rows({"logicif": 40, "iftrain": 30})
    steps = 20

    def make() -> tuple[MultiSourceSampler, StatefulDataLoader[Any]]:
        sampler = kind(dataset, config(8, **keys))
        loader = StatefulDataLoader(
            dataset, batch_size=8, sampler=sampler, drop_last=True, num_workers=0,
            collate_fn=lambda rows: [dataset.rows.index(row) for row in rows],
        )  # fmt: skip
        return sampler, loader

    def run(state: Any, start: int, stop: int) -> tuple[list[list[int]], Any]:
        sampler, loader = make()
        if state is not None:
            loader.load_state_dict(state)
        got: list[list[int]] = []
        while start + len(got) < stop:
            for batch in loader:
                got.append(batch)
                sampler.observe(*feedback(dataset, batch, start + len(got)))
                if start + len(got) == stop:
                    break
        return got, loader.state_dict()

    expected, _ = run(None, 0, steps)
    moved = Counter(len(set(batch)) for batch in expected)
    assert moved
    for cut in range(1, steps):
        first, state = run(None, 0, cut)
        middle = (cut + steps) // 2
        second, state = run(state, cut, middle)
        third, _ = run(state, middle, steps)
        assert first + second + third == expected, cut


@pytest.mark.parametrize(("kind", "keys"), CLASSES)
@pytest.mark.parametrize("journal", [True, False])
def test_the_journal_makes_up_for_an_early_save(
    kind: type[MultiSourceSampler], keys: dict[str, Any], journal: bool, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Saved before its last update, a run resumes exactly with the journal and not without it."""
    dataset = Rows({"logicif": 40, "iftrain": 30})
    if journal:
        keys = {**keys, "journal": str(tmp_path / "run" / "journal.jsonl")}

    def run(sampler: MultiSourceSampler, start: int, stop: int) -> tuple[list[Any], list[Any]]:
        got: list[list[int]] = []
        states = []
        while start + len(got) < stop:
            rows = iter(sampler)
            while len(batch := list(itertools.islice(rows, 8))) == 8:
                got.append(batch)
                states.append(sampler.state_dict())
                sampler.observe(*feedback(dataset, batch, start + len(got)))
                if start + len(got) == stop:
                    break
        return got, states

    expected, states = run(kind(dataset, config(8, **keys)), 0, 20)
    same = []
    for cut in range(1, 20):
        sampler = kind(dataset, config(8, **keys))
        sampler.load_state_dict(states[cut - 1])
        same.append(run(sampler, cut, 20)[0] == expected[cut:])
    assert all(same) == journal
    assert "lost" not in caplog.text


def test_a_journal_survives_a_torn_line_and_a_new_run(tmp_path: Path) -> None:
    """A line cut short is passed over; the last entry of an update counts; update 1 starts anew."""
    path = tmp_path / "journal.jsonl"
    dataset = Rows({"a": 40, "b": 40})
    keys = {"adaptive_weights": True, "update_frequency": 1, "journal": str(path)}
    sampler = MultiSourceSampler(dataset, config(8, **keys))
    list(itertools.islice(sampler, 8))
    sampler.observe(["a", "b"], [0, 1])
    list(itertools.islice(sampler, 8))
    state = sampler.state_dict()
    sampler.observe(["a", "b"], [0, 5])
    path.write_text(path.read_text() + '{"run":"x","update":2,"rewards":{"a":9')
    sampler.load_state_dict(state)
    sampler.observe(["a", "b"], [1, 1])
    assert path.read_text().count("\n") == 4  # update 1, 2, a torn line, 3
    again = MultiSourceSampler(dataset, config(8, **keys))
    again.load_state_dict(state)
    assert again.get_stats()["reward_ema/b"] == pytest.approx(0.9 * 1 + 0.1 * 5)
    MultiSourceSampler(dataset, config(8, **keys)).observe(["a", "b"], [0, 1])
    assert path.read_text().count("\n") == 1


def test_the_journal_of_an_abandoned_run_does_not_count(tmp_path: Path) -> None:
    """After a resume at 6 what the earlier run had written beyond that is not found any more."""
    journal = Journal(tmp_path / "journal.jsonl")
    for update in (*range(1, 12), *range(6, 10)):
        journal.append(Entry("run", update, {"a": float(update)}))
    found = [update for update in range(1, 13) if journal.find("run", update) is not None]
    assert found == list(range(1, 10))
    assert journal.find("other", 3) is None


def test_a_state_of_something_else_is_refused() -> None:
    """Other rows, scores, sizes or classes: an error that says what differs."""
    dataset = Rows({"logicif": 40, "iftrain": 30})
    state = TimeCurriculumSampler(dataset, config(8)).state_dict()
    other = Rows({"logicif": 40, "iftrain": 30})
    for row in other.rows:
        row["extra_info"]["complexity_score"] *= -1
    reordered = Rows({"logicif": 40, "iftrain": 30})
    reordered.rows.reverse()
    for data, values, piece in (
        (Rows({"logicif": 40, "iftrain": 31}), config(8), "when the state was saved: .*rows"),
        (Rows({"logicif": 40, "b": 30}), config(8), "the sources"),
        (reordered, config(8), "hash"),
        (other, config(8), "complexity_scores"),
        (dataset, config(7), "train_batch_size=8"),
        (dataset, config(8, seed=8), "sampler.seed=7"),
    ):
        with pytest.raises(CheckpointError, match=piece):
            TimeCurriculumSampler(data, values).load_state_dict(state)
    with pytest.raises(CheckpointError, match="class_name=TimeCurriculumSampler"):
        RewardCurriculumSampler(dataset, config(8, reward_threshold=1)).load_state_dict(state)
    for broken in ({}, {**state, "mixture": None}, {"identity": 5}):
        with pytest.raises(CheckpointError):
            TimeCurriculumSampler(dataset, config(8)).load_state_dict(broken)


# Data


class Framed:
    """A data set with columns, whose rows must not be read one by one."""

    def __init__(self, dataframe: Any) -> None:
        self.dataframe = dataframe

    def __len__(self) -> int:
        return len(self.dataframe)

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("rows are expensive; columns are there")


def test_columns_are_read_instead_of_rows() -> None:
    """Sources and scores come from the columns of a datasets.Dataset or a pandas frame."""
    rows = Rows({"logicif": 40, "iftrain": 30}).rows
    expected = list(TimeCurriculumSampler(Rows({"logicif": 40, "iftrain": 30}), config(8)))
    table = datasets.Dataset.from_list(rows)
    mixed_up = table.select(range(69, -1, -1)).select(range(69, -1, -1))
    top_level = table.map(lambda row: {"complexity_score": row["extra_info"]["complexity_score"]})
    for framed in (table, mixed_up, top_level.remove_columns("extra_info"), pandas.DataFrame(rows)):
        assert list(TimeCurriculumSampler(Framed(framed), config(8))) == expected
    del rows[5]["extra_info"]["complexity_score"]
    for framed in (datasets.Dataset.from_list(rows), pandas.DataFrame(rows)):
        with pytest.raises(DataError, match=r"1 of its .* by row: \{5: None\}"):
            TimeCurriculumSampler(
                Framed(framed), config(8, complexity_source=rows[5]["data_source"])
            )


@pytest.mark.parametrize("bad", [None, "hard", float("nan"), float("inf"), True, [1]])
def test_bad_scores_are_counted_and_shown(bad: object) -> None:
    """A missing or unusable score is an error with the count and the first rows."""
    dataset = Rows({"logicif": 40, "iftrain": 30})
    at = [i for i, row in enumerate(dataset.rows) if row["data_source"] == "logicif"][3:10]
    for index in at:
        dataset.rows[index]["extra_info"] = {"complexity_score": bad} if bad is not None else None
    with pytest.raises(DataError, match="'logicif': 7 of its 40 rows") as raised:
        TimeCurriculumSampler(dataset, config(8))
    assert f"{{{at[0]}: " in str(raised.value)
    assert raised.value.key == "complexity_score"
    MultiSourceSampler(dataset, config(8))
    TimeCurriculumSampler(dataset, config(8, complexity_source="iftrain"))


def test_rows_without_a_source_are_an_error() -> None:
    """The error counts them and names the first."""
    dataset = Rows({"a": 20})
    del dataset.rows[4]["data_source"]
    dataset.rows[7]["data_source"] = None
    with pytest.raises(DataError, match=r"2 of 20 rows have no 'data_source'.*\[4, 7\]"):
        MultiSourceSampler(dataset, config(8))


# Configuration


@pytest.mark.parametrize(
    ("kind", "keys", "key", "piece"),
    [
        (MultiSourceSampler, {"source_weights": {"logicif": 1}}, "source_weights", "'iftrain'"),
        (MultiSourceSampler, {"source_weights": {"logicif": 1, "iftrain": 1, "x": 1}},
         "source_weights", "'x'"),
        (MultiSourceSampler, {"source_weights": {"logicif": -1, "iftrain": 1}},
         "sampler.source_weights", ">= 0"),
        (MultiSourceSampler, {"source_weights": {"logicif": 0, "iftrain": 0}},
         "source_weights", "above 0"),
        (MultiSourceSampler, {"source_weights": [1, 1]}, "sampler.source_weights", "mapping"),
        (MultiSourceSampler,
         {"source_weights": {"logicif": 4, "iftrain": 1}, "adaptive_weights": True},
         "source_weights", "max_source_ratio"),
        (MultiSourceSampler, {"sampling_strategy": "uniform"},
         "sampler.sampling_strategy", "proportional"),
        (MultiSourceSampler,
         {"sampling_strategy": "proportional", "source_weights": {"logicif": 1, "iftrain": 1}},
         "source_weights", "no effect"),
        (MultiSourceSampler, {"adaptive_weights": 1},
         "sampler.adaptive_weights", "true or false"),
        (MultiSourceSampler, {"alpha": 0}, "sampler.alpha", "above 0"),
        (MultiSourceSampler, {"alpha": 1.5}, "sampler.alpha", "at most 1"),
        (MultiSourceSampler, {"temperature": 0}, "sampler.temperature", "above 0"),
        (MultiSourceSampler, {"temperature": float("nan")}, "sampler.temperature", "above 0"),
        (MultiSourceSampler, {"max_source_ratio": 0.5}, "sampler.max_source_ratio", ">= 1"),
        (MultiSourceSampler, {"update_frequency": 0}, "sampler.update_frequency", ">= 1"),
        (MultiSourceSampler, {"update_frequncy": 5},
         "sampler.update_frequncy", "mean update_frequency"),
        (MultiSourceSampler, {"seed": -1}, "sampler.seed", ">= 0"),
        (MultiSourceSampler, {"journal": ""}, "sampler.journal", "a file"),
        (TimeCurriculumSampler, {"complexity_source": "math"},
         "complexity_source", "'logicif', 'iftrain'"),
        (TimeCurriculumSampler, {"initial_complexity_percentile": 101},
         "sampler.initial_complexity_percentile", "0 to 100"),
        (TimeCurriculumSampler,
         {"initial_complexity_percentile": 50, "final_complexity_percentile": 40},
         "initial_complexity_percentile", "(40)"),
        (TimeCurriculumSampler, {"complexity_warmup_steps": 0},
         "sampler.complexity_warmup_steps", ">= 1"),
        (RewardCurriculumSampler, {}, "sampler.reward_threshold", "is required"),
        (RewardCurriculumSampler, {"reward_threshold": "high"},
         "sampler.reward_threshold", "finite number"),
        (RewardCurriculumSampler, {"reward_threshold": 1, "num_intervals": 0},
         "sampler.num_intervals", ">= 1"),
        (RewardCurriculumSampler, {"reward_threshold": 1, "interval_decay": 2},
         "sampler.interval_decay", "0 to 1"),
        (RewardCurriculumSampler, {"reward_threshold": 1, "check_frequency": 0},
         "sampler.check_frequency", ">= 1"),
    ],
)  # fmt: skip
def test_a_bad_key_is_named(
    kind: type[MultiSourceSampler], keys: dict[str, Any], key: str, piece: str
) -> None:
    """A key that is missing, unknown or out of range is one error with key, value and remedy."""
    with pytest.raises(ConfigurationError) as raised:
        kind(Rows({"logicif": 40, "iftrain": 30}), config(8, **keys))
    assert piece in str(raised.value)
    assert raised.value.key == key


def test_batches_must_fit_the_data() -> None:
    """A batch that is missing, or larger than the data, is an error."""
    dataset = Rows({"a": 20})
    with pytest.raises(ConfigurationError, match="train_batch_size"):
        MultiSourceSampler(dataset, {"sampler": {}})
    with pytest.raises(DataError, match="fewer rows than one batch of 21"):
        MultiSourceSampler(dataset, config(21))


def test_a_key_of_another_sampler_is_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    """A key that this class does not use is a warning, not silence."""
    MultiSourceSampler(Rows({"a": 20}), config(8, reward_threshold=0.5))
    assert "sampler.reward_threshold (0.5) has no effect" in caplog.text


def test_every_documented_default() -> None:
    """What a user leaves out has the documented value."""
    reward = RewardSamplerConfig(batch_size=1, reward_threshold=0.5)
    time = TimeSamplerConfig(batch_size=1)
    common = {
        "sampling_strategy": "weighted", "source_weights": {}, "adaptive_weights": False,
        "alpha": 0.1, "update_frequency": 5, "temperature": 1.0, "max_source_ratio": 3.0,
        "complexity_source": "logicif", "initial_complexity_percentile": 30,
        "final_complexity_percentile": 100,
    }  # fmt: skip
    for key, value in common.items():
        assert getattr(reward, key) == getattr(time, key) == value
    assert time.complexity_warmup_steps == 100
    assert (
        reward.num_intervals, reward.reward_alpha, reward.min_batches_per_level,
        reward.check_frequency, reward.focus_new_intervals, reward.interval_decay,
    ) == (10, 0.1, 10, 3, False, 0.5)  # fmt: skip


# Where they are found


def test_all_names_are_found_under_both_paths() -> None:
    """Existing configurations find the samplers, by their old names too."""
    for module in (verl_extensions, verl_extensions.multi_source_sampler):
        assert module.MultiSourceSampler is MultiSourceSampler
        assert module.TimeCurriculumSampler is CurriculumMultiSourceSampler
        assert module.CurriculumMultiSourceSampler is TimeCurriculumSampler
        assert module.RewardCurriculumSampler is RewardGatedCurriculumSampler
        assert module.RewardGatedCurriculumSampler is RewardCurriculumSampler


def test_plain_loaders_and_configurations_will_do() -> None:
    """A plain torch DataLoader and an OmegaConf node work, with no verl installed."""
    dataset = Rows({"logicif": 40, "iftrain": 40}, scores=False)
    node = OmegaConf.create(config(8, source_weights={"logicif": 1.0, "iftrain": 3.0}))
    OmegaConf.set_struct(node, True)
    sampler = MultiSourceSampler(data_source=dataset, data_config=node)
    loader = DataLoader(
        dataset, batch_size=8, sampler=sampler, drop_last=True,
        collate_fn=lambda rows: [row["data_source"] for row in rows],
    )  # fmt: skip
    assert [Counter(batch) for batch in loader] == [{"logicif": 2, "iftrain": 6}] * 10


def test_the_file_that_runs_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The first line says which file the samplers come from, as another may shadow ours."""
    with caplog.at_level(logging.INFO):
        MultiSourceSampler(Rows({"a": 20}), config(8))
    assert caplog.records[0].getMessage() == (
        f"[MultiSourceSampler] running from {multi_source_sampler.__file__}"
    )


# What a review found


def test_a_state_of_another_curriculum_is_refused() -> None:
    """Other intervals, focus or adaptive weights are named, and a bad state changes nothing."""
    dataset = Rows({"logicif": 40, "iftrain": 30})
    sampler = RewardCurriculumSampler(dataset, config(8, **REWARD))
    list(itertools.islice(sampler, 20))
    state = sampler.state_dict()
    for changes, piece in (
        ({"num_intervals": 3}, "num_intervals=10"),
        ({"focus_new_intervals": True}, "focus_new_intervals=False"),
        ({"initial_complexity_percentile": 20}, "initial_complexity_percentile=30"),
        ({"adaptive_weights": True}, "adaptive_weights=False"),
    ):
        other = RewardCurriculumSampler(dataset, config(8, **{**REWARD, **changes}))
        with pytest.raises(CheckpointError, match=piece):
            other.load_state_dict(state)
    same = RewardCurriculumSampler(dataset, config(8, **REWARD))
    before = same.state_dict()
    for broken in (
        {key: value for key, value in state.items() if key != "updates"},
        {**state, "updates": None},
        {**state, "mixture": {**state["mixture"], "sources": {}}},
    ):
        with pytest.raises(CheckpointError):
            same.load_state_dict(broken)
        assert same.state_dict() == before


def test_the_seed_may_be_left_open() -> None:
    """A seed of null in the sampler's node is data.seed."""
    dataset = Rows({"a": 100, "b": 100})
    passes = [
        list(MultiSourceSampler(dataset, {**config(20, **keys), "seed": 42}))
        for keys in ({"seed": None}, {"seed": 42})
    ]
    assert passes[0] == passes[1]


def test_a_journal_that_cannot_be_written_is_an_early_error(tmp_path: Path) -> None:
    """The file is tried at the start, not after the first step."""
    with pytest.raises(ConfigurationError, match=r"sampler\.journal"):
        MultiSourceSampler(Rows({"a": 20}), config(8, journal=str(tmp_path)))


def test_drawing_ahead_of_rewards_is_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    """Where workers draw batches before rewards are known, one warning says what that means."""
    dataset = Rows({"logicif": 40, "iftrain": 40})
    sampler = TimeCurriculumSampler(dataset, config(8))
    list(itertools.islice(sampler, 24))
    for _ in range(2):
        sampler.observe(["logicif"], [1.0])
    assert caplog.text.count("num_workers=0") == 1


def test_scores_of_rows_without_columns_may_stand_alone() -> None:
    """A top-level complexity_score will do, in rows as well as in columns."""
    dataset = Rows({"logicif": 40, "iftrain": 30})
    expected = list(TimeCurriculumSampler(dataset, config(8)))
    for row in dataset.rows:
        if row["data_source"] == "logicif":
            row["complexity_score"] = row.pop("extra_info")["complexity_score"]
    assert list(TimeCurriculumSampler(dataset, config(8))) == expected


def test_samplers_can_be_pickled() -> None:
    """A copy in another process goes on as the original."""
    dataset = Rows({"logicif": 40, "iftrain": 40})
    sampler = RewardCurriculumSampler(dataset, config(8, **REWARD))
    list(itertools.islice(sampler, 16))
    copied = pickle.loads(pickle.dumps(sampler))
    assert list(itertools.islice(copied, 16)) == list(itertools.islice(sampler, 16))


def test_odd_batches_of_rewards() -> None:
    """Tensors of any type, nested ones, and huge rewards are taken in."""
    sampler = MultiSourceSampler(Rows({"a": 50, "b": 50}), config(adaptive_weights=True))
    sampler.observe(["a", "a", "b"], torch.tensor([1, 2, 3], dtype=torch.bfloat16))
    sampler.observe(["a", "a"], [1e308, 1e308])
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    sampler.update(
        types.SimpleNamespace(
            batch={"token_level_scores": nested},
            non_tensor_batch={"data_source": np.array(["b", "b"], dtype=object)},
        )
    )
    assert sampler.get_stats()["reward_ema/b"] == pytest.approx(0.9 * 3 + 0.1 * 2.5)
    with pytest.raises(DataError, match="rewards of"):
        sampler.observe([1], [1.0])  # type: ignore[list-item]  # that is the test
