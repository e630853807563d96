from __future__ import annotations

import copy
import json
import logging
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curriculum_learning import ConfigurationError, custom_log
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.custom_log import custom_rollout_log_function, per_source_metrics
from curriculum_learning.samples.sample import Sample
from tests.harness import arguments, interrupt, name_of, totals

SIZES = {"math": 20, "code": 20, "chat": 20}


def sample(source: str | None, group: int | None, **values: Any) -> Sample:
    """A sample as an engine returns it."""
    metadata = {} if source is None else {"data_source": source, "source_name": source}
    return Sample(group_index=group, metadata=metadata, **values)


def test_metrics_are_those_of_the_samples() -> None:
    """Counts, shares and statistics are measured per source, over samples in any nesting."""
    metrics = per_source_metrics(
        [
            [sample("math", 1, reward=1.0, response_length=10), sample("math", 1, reward=0)],
            sample("math", 2, reward=0.5, response_length=9, loss_mask=[1, 0, 1]),
            [[sample("code", 3, reward=np.float32(0.25), response_length=4)]],
        ]
    )
    assert metrics == {
        "rollout/math/trained_share": pytest.approx(2 / 3),
        "rollout/math/sample_count": 3,
        "rollout/math/response_len/mean": 4, "rollout/math/response_len/median": 2,
        "rollout/math/response_len/max": 10, "rollout/math/response_len/min": 0,
        "rollout/math/raw_reward/mean": 0.5, "rollout/math/raw_reward/median": 0.5,
        "rollout/math/raw_reward/max": 1.0, "rollout/math/raw_reward/min": 0.0,
        "rollout/code/trained_share": pytest.approx(1 / 3),
        "rollout/code/sample_count": 1,
        "rollout/code/response_len/mean": 4, "rollout/code/response_len/median": 4,
        "rollout/code/response_len/max": 4, "rollout/code/response_len/min": 4,
        "rollout/code/raw_reward/mean": 0.25, "rollout/code/raw_reward/median": 0.25,
        "rollout/code/raw_reward/max": 0.25, "rollout/code/raw_reward/min": 0.25,
    }  # fmt: skip


def test_rewards_in_any_form() -> None:
    """Rewards in mappings are read by reward_key, and metadata's raw_reward goes first."""
    shaped = sample("a", 1, reward=9.0)
    shaped.metadata["raw_reward"] = 1.0
    metrics = per_source_metrics(
        [shaped, sample("a", 2, reward={"score": 0.5, "other": 7})], reward_key="score"
    )
    assert metrics["rollout/a/raw_reward/mean"] == 0.75
    assert "rollout/a/missing_reward_count" not in metrics


def test_what_is_missing_is_counted() -> None:
    """A sample without reward or source fails nothing and is counted."""
    broken = sample("a", 1, reward="good")
    broken.metadata = None  # type: ignore[assignment]  # engines do that
    metrics = per_source_metrics(
        [broken, sample(None, 2), sample("a", 3), sample("a", 4, reward={"x": 1}),
         sample("a", 5, reward=1.0), sample("a", None, reward=1.0)]
    )  # fmt: skip
    assert metrics["rollout/untagged_sample_count"] == 2
    assert metrics["rollout/a/missing_reward_count"] == 2
    assert metrics["rollout/a/sample_count"] == 4
    assert metrics["rollout/a/trained_share"] == pytest.approx(4 / 6)
    assert metrics["rollout/a/raw_reward/mean"] == 1.0
    assert per_source_metrics([]) == {}


def test_rewards_of_any_numeric_type_are_read() -> None:
    """Tensors that require grad and arrays of one element count; what has no size does not."""
    rewards: list[Any] = [
        torch.tensor(1.0, requires_grad=True), torch.tensor([2.0], requires_grad=True),
        np.array(3.0), np.array([4.0]), np.array([[5.0]]), np.float16(6), Decimal(7), True,
    ]  # fmt: skip
    unusable: list[Any] = [
        10**400, -(10**400), np.array([1.0, 2.0]), torch.ones(2, requires_grad=True), [1.0], "",
        complex(1, 1),
    ]  # fmt: skip
    ids = [id(reward) for reward in rewards]
    for usable, bad in (
        (rewards, unusable), *(([reward], []) for reward in rewards),
        *([rewards, [reward]] for reward in unusable),
    ):  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            metrics = per_source_metrics(
                [sample("a", number, reward=r) for number, r in enumerate([*usable, *bad])]
            )
        mean = 29 / 8 if usable is rewards else [1, 2, 3, 4, 5, 6, 7, 1][ids.index(id(usable[0]))]
        assert metrics["rollout/a/raw_reward/mean"] == mean
        assert metrics.get("rollout/a/missing_reward_count", 0) == len(bad)


def test_a_copy_of_the_arguments_finds_the_data_source(tmp_path: Path) -> None:
    """As long as just one was made from equal ones; the very object comes first."""
    first = DataSource(arguments(tmp_path, {"a": 8}, save=None))
    custom_rollout_log_function(0, copy.deepcopy(first.args), first.get_samples(2), None, 1.0)
    assert first.rollout_step == 1
    assert first.source_counts()["a"]["trained"] == 2
    second = DataSource(copy.deepcopy(first.args))
    custom_rollout_log_function(1, copy.deepcopy(first.args), first.get_samples(2), None, 1.0)
    assert first.rollout_step == 1
    custom_rollout_log_function(1, second.args, second.get_samples(2), None, 1.0)
    assert [first.rollout_step, second.rollout_step] == [1, 2]
    second.close()


def test_every_configured_source_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log function gives share, weight, buffer and epoch of all sources, as a line of JSON."""
    args = arguments(tmp_path, SIZES, data_source_weights=[1, "lambda s: max(3 - s, 0)", 0])
    source = DataSource(args)
    groups = source.get_samples(8)
    source.add_samples([interrupt(groups[0])])
    trained = [s for group in groups[1:] for s in group]
    with caplog.at_level(logging.INFO, "curriculum_learning.custom_log"):
        assert custom_rollout_log_function(0, args, trained, {"extra": np.float64(1)}, 2.5) is True
    (record,) = [r for r in caplog.records if r.name == "curriculum_learning.custom_log"]
    metrics = json.loads(record.getMessage())
    counts = {name: sum(name_of(group) == name for group in groups[1:]) for name in SIZES}
    for name, share, weight in (("math", 0.25, 1), ("code", 0.75, 3), ("chat", 0, 0)):
        assert metrics[f"rollout/{name}/weight"] == share
        assert metrics[f"rollout/{name}/configured_weight"] == weight
        assert metrics[f"rollout/{name}/trained_share"] == counts[name] / 7
        assert metrics[f"rollout/{name}/sample_count"] == counts[name] * 2
        assert metrics[f"rollout/{name}/buffer_length"] == (name == name_of(groups[0]))
        assert metrics[f"rollout/{name}/epoch"] == 0
    assert "rollout/chat/response_len/mean" not in metrics
    assert metrics["extra"] == 1
    assert metrics["rollout/step"] == 0
    assert metrics["perf/rollout_time"] == 2.5
    assert source.rollout_step == 1
    assert totals(source.state_dict()["groups"])["trained"] == 7


def test_a_callback_gets_the_metrics(tmp_path: Path) -> None:
    """A configured callable is handed the dictionary and the rollout, instead of the log."""
    got: list[tuple[dict[str, float], int]] = []
    args = arguments(
        tmp_path,
        SIZES,
        data_source_metrics_callback=lambda metrics, rollout: got.append((metrics, rollout)),
    )
    source = DataSource(args)
    for rollout_id in range(3):
        samples = [s for group in source.get_samples(4) for s in group]
        custom_rollout_log_function(rollout_id, args, samples, {"a": 1}, 1.0)
    assert [step for _, step in got] == [0, 1, 2]
    assert got[2][0]["a"] == 1
    assert "rollout/math/weight" in got[2][0]


def test_odd_values_do_not_stop_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Metrics that are no JSON, masks and samples that are no good: logged as well as can be."""
    args = arguments(tmp_path, SIZES)
    source = DataSource(args)
    broken = sample("math", 0, reward=1.0, loss_mask=[1, None])
    del broken.group_index
    extra: Any = {"set": {1}, 5: 2, "long": 10**30}
    with caplog.at_level(logging.INFO):
        custom_rollout_log_function(3, args, [broken, object()], extra, 1.0)
    assert '"long": 1000000000000000000000000000000' in caplog.text
    assert source.rollout_step == 4
    with pytest.raises(ConfigurationError, match=r"rollout_id is 1\.5"):
        custom_rollout_log_function(1.5, args, [], {}, 1.0)  # type: ignore[arg-type]  # that is the test
    assert source.rollout_step == 4


def test_the_data_source_is_found_by_its_args(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one made last from the very args object is told; with none it is said, once."""
    monkeypatch.setattr(custom_log, "_told_not_found", False)
    args = arguments(tmp_path, SIZES)
    sources = [DataSource(args), DataSource(args)]
    other = DataSource(vars(args))
    custom_rollout_log_function(5, args, [], None, 1.0)
    assert [source.rollout_step for source in (*sources, other)] == [0, 6, 0]
    assert "made from these args" not in caplog.text
    assert len(DataSource(args)) == 60  # made in passing, and gone again
    custom_rollout_log_function(6, args, [], None, 1.0)
    assert sources[1].rollout_step == 7
    for _ in range(2):
        stranger = arguments(tmp_path, SIZES)
        with caplog.at_level(logging.INFO):
            custom_rollout_log_function(5, stranger, [sample("math", 1, reward=1.0)], None, 1.0)
    assert caplog.text.count("made from these args") == 1
    assert caplog.text.count('"rollout/math/raw_reward/mean":1.0') == 2


def test_without_a_data_source_the_configured_weights_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In a process that has no data source the schedules are evaluated from args."""
    args = arguments(tmp_path, SIZES, data_source_weights=[1, "lambda s: max(3 - s, 0)", 0])
    with caplog.at_level(logging.INFO, "curriculum_learning.custom_log"):
        for rollout_id in (1, 5):
            custom_rollout_log_function(rollout_id, args, [sample("code", 1, reward=1.0)], {}, 1.0)
        custom_rollout_log_function(2, object(), [sample("code", 1, reward=1.0)], {}, 1.0)
        args.data_source_weights = ["lambda s: 1 / 0"] * 3
        custom_rollout_log_function(3, args, [sample("code", 1, reward=1.0)], {}, 1.0)
    first, fifth, *others = [
        json.loads(record.getMessage()) for record in caplog.records if record.levelname == "INFO"
    ]
    for metrics, shares, weights in (
        (first, [1 / 3, 2 / 3, 0], [1, 2, 0]),
        (fifth, [1, 0, 0], [1, 0, 0]),
    ):
        for name, share, weight in zip(SIZES, shares, weights, strict=True):
            assert metrics[f"rollout/{name}/weight"] == pytest.approx(share)
            assert metrics[f"rollout/{name}/configured_weight"] == weight
    assert [metrics["rollout/code/raw_reward/mean"] for metrics in others] == [1, 1]
    assert not any("rollout/code/weight" in metrics for metrics in others)


@pytest.mark.parametrize("copied", [False, True])
def test_each_data_source_hears_of_its_own_groups(tmp_path: Path, copied: bool) -> None:
    """Of several data sources made from one args object each is told what it has served itself."""
    args = arguments(tmp_path, SIZES, autosave=False)
    alone = DataSource(args)
    early = alone.get_samples(4)
    sources = [alone, DataSource(args), DataSource(args)]
    batches = [early + alone.get_samples(4), *(source.get_samples(8) for source in sources[1:])]
    if copied:  # as an engine does that has other processes; then only ids can tell
        sources[2].observe(batches[2], fate="dropped")
        sources[1].observe(batches[1][:4], fate="dropped")
        batches = [copy.deepcopy(batches[0][:4]), copy.deepcopy(batches[1][4:]), []]
        alone.observe(batches[1], fate="dropped")
    for number, batch in enumerate(batches):
        if batch:
            custom_rollout_log_function(10 * (number + 1), args, batch, {}, 1.0)
    steps = [11, 21, 0] if copied else [11, 21, 31]
    assert [source.rollout_step for source in sources] == steps
    trained = [totals(source.state_dict()["groups"])["trained"] for source in sources]
    assert trained == [len(batch) for batch in batches]


def test_a_batch_of_several_data_sources_is_divided(tmp_path: Path) -> None:
    """Samples of two data sources in one log settle with both; strangers change nothing."""
    args = arguments(tmp_path, SIZES, autosave=False)
    sources = [DataSource(args), DataSource(args)]
    few, many = sources[0].get_samples(2), sources[1].get_samples(5)
    stranger = sample("math", 999, reward=1.0)
    custom_rollout_log_function(4, args, [*few, *many, [stranger]], {}, 1.0)
    assert [source.rollout_step for source in sources] == [5, 5]
    trained = [totals(source.state_dict()["groups"])["trained"] for source in sources]
    assert trained == [2, 5]
    sources[1].close()
    custom_rollout_log_function(5, args, [], {}, 1.0)
    assert [source.rollout_step for source in sources] == [6, 5]
