from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness import (
    Group,
    data_source,
    interrupt,
    name_of,
    row_of,
)

THREE = {"math": 40, "code": 70, "chat": 25}
SHARES = {"math": 0.3, "code": 0.5, "chat": 0.2}


@pytest.mark.parametrize("request_size", [1, 7, 256])
def test_request_size_does_not_matter(tmp_path: Path, request_size: int) -> None:
    """Requests of 1, 7 or 256 give the same sequence, less than 1 off the shares at every group."""
    by_one = data_source(tmp_path, THREE, data_source_weights=SHARES)
    expected = [row_of(by_one.get_samples(1)[0]) for _ in range(1000)]
    source = data_source(tmp_path, THREE, data_source_weights=SHARES)
    served: list[Group] = []
    while len(served) < 1000:
        served += source.get_samples(request_size)
    assert [row_of(group) for group in served[:1000]] == expected
    counts: Counter[str] = Counter()
    for number, group in enumerate(served, 1):
        counts[name_of(group)] += 1
        assert all(abs(counts[name] - number * share) < 1 for name, share in SHARES.items())


def test_a_source_of_weight_0_is_never_served(tmp_path: Path) -> None:
    """Weights 0.5, 0.5 and 0 serve half each and nothing of the third source."""
    source = data_source(tmp_path, THREE, data_source_weights=[0.5, 0.5, 0])
    counts = Counter(name_of(group) for n in (3, 1, 96) for group in source.get_samples(n))
    assert counts == {"math": 50, "code": 50}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.sampled_from([3, 20, 200]))
def test_the_mixture_of_draws_is_exact_whatever_comes_back(
    tmp_path_factory: pytest.TempPathFactory, seed: int, size: int
) -> None:
    """With random returns the draws stay less than 1 off, and no group is charged twice."""
    randomness = random.Random(seed)
    sizes = {f"s{i}": randomness.randrange(1, 30) for i in range(size)}
    weights = [randomness.random() ** 3 + 1e-3 for _ in sizes]
    source = data_source(
        tmp_path_factory.mktemp("mix"), sizes, data_source_weights=weights, n_samples_per_prompt=1
    )
    shares = {name: weight / sum(weights) for name, weight in zip(sizes, weights, strict=True)}
    drawn: Counter[str] = Counter()
    seen: set[int] = set()
    out: list[Group] = []
    for _ in range(40):
        for group in source.get_samples(randomness.choice([1, 2, 7, 20])):
            out.append(group)
            if group[0].group_index in seen:
                continue
            seen.add(group[0].group_index)
            drawn[name_of(group)] += 1
            total = len(seen)
            assert all(abs(drawn[name] - total * share) < 1 for name, share in shares.items())
        randomness.shuffle(out)
        back = [out.pop() for _ in range(randomness.randrange(len(out) + 1))]
        source.add_samples([interrupt(group) for group in back])


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_varying_schedules_stay_within_the_bound(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Under any schedule a source is at most H(S) + 1 off the sum of its shares."""
    points = st.lists(st.floats(0, 10), min_size=12, max_size=12)
    values = [data.draw(points) for _ in range(3)]
    values[0] = [value + 0.1 for value in values[0]]
    weights = [{"schedule": "levels", "values": v, "steps": 12} for v in values]
    source = data_source(
        tmp_path_factory.mktemp("mix"), {"a": 3, "b": 3, "c": 3}, data_source_weights=weights
    )
    expected, counts = Counter[str](), Counter[str]()
    for step in range(12):
        source.set_rollout_step(step)
        total = sum(column[step] for column in values)
        for group in source.get_samples(data.draw(st.integers(0, 9))):
            counts[name_of(group)] += 1
            for name, column in zip("abc", values, strict=True):
                expected[name] += column[step] / total  # type: ignore[assignment]  # shares
        assert all(abs(counts[name] - expected[name]) <= 1 / 3 + 1 / 2 + 1 + 1 for name in "abc")


def test_sources_are_interleaved_within_a_request(tmp_path: Path) -> None:
    """A request is in ledger order: without its tail no source is more than one group off."""
    source = data_source(tmp_path, THREE, data_source_weights=SHARES)
    request = source.get_samples(60)
    for cut in range(61):
        counts = Counter(name_of(group) for group in request[:cut])
        assert all(abs(counts[name] - cut * share) < 1 for name, share in SHARES.items())


def test_a_request_may_be_larger_than_several_epochs(tmp_path: Path) -> None:
    """A source of 5 rows asked for 16 serves 16, each row once per epoch."""
    groups = data_source(tmp_path, {"tiny": 5}).get_samples(16)
    rows = [row_of(group) for group in groups]
    assert [epoch for _, epoch, _ in rows] == [0] * 5 + [1] * 5 + [2] * 5 + [3]
    assert len(set(rows)) == 16


def test_equal_sources_have_orders_of_their_own(tmp_path: Path) -> None:
    """Two sources of equal size have different orders; without shuffle both have file order."""
    groups = data_source(tmp_path, {"a": 50, "b": 50}).get_samples(100)
    orders = [[row_of(g)[2] for g in groups if name_of(g) == name] for name in "ab"]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(50))
    plain = data_source(tmp_path, {"a": 5, "b": 5}, rollout_shuffle=False).get_samples(20)
    assert [row_of(g)[2] for g in plain if name_of(g) == "a"] == [0, 1, 2, 3, 4] * 2
