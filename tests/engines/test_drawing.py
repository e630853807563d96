from __future__ import annotations

from collections import Counter

import pytest

from curriculum_learning.samplers import (
    MultiSourceSampler,
)
from tests.engines.sampler_data import (
    Rows,
    batches_of,
    config,
)


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
    """After every batch each source is less than one row off its share."""
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


def test_the_seed_may_be_left_open() -> None:
    """A seed of null in the sampler's node is data.seed."""
    dataset = Rows({"a": 100, "b": 100})
    passes = [
        list(MultiSourceSampler(dataset, {**config(20, **keys), "seed": 42}))
        for keys in ({"seed": None}, {"seed": 42})
    ]
    assert passes[0] == passes[1]


def test_gen_batch_size_goes_first() -> None:
    """gen_batch_size, where it is set, is the size of a batch."""
    sampler = MultiSourceSampler(
        Rows({"a": 50, "b": 50}), {**config(8), "gen_batch_size": 30, "sampler": None}
    )
    assert len(sampler) == 90
