"""How a sampler knows the rows of results: told by row, or found by verl's index."""

from __future__ import annotations

import itertools
import logging
import types
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from curriculum_learning import DataError
from curriculum_learning.samplers import MultiSourceSampler
from tests.curricula.faces import rows_of_data, sampler
from tests.engines.sampler_data import Rows

LEARNS = {"source_curricula": {"math": {"type": "learnability"}}}


def batch_of(dataset: Rows, rows: list[int], infos: list[Any] | None = None) -> Any:
    """Verl's batch of two samples for each row, not in the order of prompts."""
    rows = rows * 2
    extra = [dataset.rows[row]["extra_info"] for row in rows] if infos is None else infos * 2
    scores = torch.tensor([[0.0, float(row % 2)] for row in rows])
    arrays = {
        "data_source": dataset.names(rows),
        "uid": [f"prompt {row}" for row in rows],
        "extra_info": extra,
    }
    return types.SimpleNamespace(
        batch={"token_level_scores": scores},
        non_tensor_batch={key: np.array(value, dtype=object) for key, value in arrays.items()},
    )


def counts(made: MultiSourceSampler) -> dict[int, int]:
    """The results of each row of math that has any, by the row of the data set."""
    state = made.state_dict()["mixture"]["sources"]["math"]["statistics"]
    found = np.frombuffer(state["counts"], dtype=np.uint32).tolist()
    at = made._rows["math"].tolist()
    return {at[row]: n for row, n in enumerate(found) if n}


def math_rows(dataset: Rows) -> list[int]:
    """The rows of math in the data set."""
    return [place for place, name in enumerate(dataset.names([*range(len(dataset))])) if name == "math"]  # fmt: skip  # noqa: E501 - one thought


def test_rows_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """The samples of a row, or of a group of it, are one result."""
    dataset = rows_of_data()
    made = sampler(dataset, **LEARNS)
    first, second, *_ = math_rows(dataset)
    told = [first, second, first, second]
    made.observe(["math"] * 4, [1, 0, 1, 0], rows=told)
    assert counts(made) == {first: 1, second: 1}
    made.observe(["math"] * 4, [1, 0, 1, 0], rows=told, groups=["a", "b", "c", "d"])
    assert counts(made) == {first: 3, second: 3}
    made.observe(["math", "code", "math"], [1, 0, 1], rows=[first, None, None])
    assert counts(made) == {first: 4, second: 3}
    assert made.get_stats()["rows/mastered/math"] == 1
    assert "rows/mastered/code" not in made.get_stats()
    assert caplog.text.count("learn from single rows") == 1


def test_wrong_rows_are_refused() -> None:
    """A row of another source, one that does not exist, and another number of them."""
    dataset = rows_of_data()
    made = sampler(dataset, **LEARNS)
    first = math_rows(dataset)[0]
    for source, row in (("code", first), ("math", 10**6), ("math", -1)):
        with pytest.raises(DataError, match=f"row {row} of source '{source}'"):
            made.observe([source], [1.0], rows=[row])
    with pytest.raises(DataError, match="2 rewards and 1 rows"):
        made.observe(["math"] * 2, [1, 1], rows=[first])
    with pytest.raises(DataError, match="2 rewards and 3 groups"):
        made.observe(["math"] * 2, [1, 1], groups=["a", "b", "c"])
    assert counts(made) == {}


@pytest.mark.parametrize("kind", ["rows", "table"])
@pytest.mark.parametrize("index", ["number", "text"])
def test_verls_index_tells_the_row(kind: str, index: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each prompt of a batch is a result of its row; numbers may repeat in another source."""
    dataset = rows_of_data()
    for name in ("math", "code"):
        own = [row for row in dataset.rows if row["data_source"] == name]
        for number, row in enumerate(own):
            row["extra_info"]["index"] = f"id {number}" if index == "text" else 1000 - number
    data: Any = dataset if kind == "rows" else Dataset.from_list(dataset.rows)
    made = sampler(data, **LEARNS)
    rows = list(itertools.islice(made, 8))
    made.update(batch_of(dataset, rows))
    assert counts(made) == dict.fromkeys(set(rows) & set(math_rows(dataset)), 1)
    assert "WARNING" not in caplog.text


@pytest.mark.parametrize("index", [5, None, 2.5, True, [1]])
def test_an_index_that_tells_nothing(index: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The same one twice, or none: results count for the source, and one warning says so."""
    dataset = rows_of_data()
    for row in dataset.rows:
        row["extra_info"]["index"] = index
    with caplog.at_level(logging.WARNING):
        made = sampler(dataset, **LEARNS)
        rows = list(itertools.islice(made, 8))
        for _ in range(2):
            made.update(batch_of(dataset, rows))
        made.update(batch_of(dataset, rows, [None] * 8))
    assert counts(made) == {}
    assert made.get_stats()["no_signal_share/math"] == 1
    assert "rows/unseen/math" not in made.get_stats()
    assert caplog.text.count("give each row of a source an extra_info.index of its own") == 1


def test_an_index_is_read_only_where_rows_are_wanted() -> None:
    """Curricula that learn by source, or not at all, do without; so does the warning."""

    class Counting(Rows):
        reads = 0

        def __getitem__(self, index: int) -> dict[str, Any]:
            type(self).reads += 1
            return super().__getitem__(index)

    dataset = Counting({"math": 14, "code": 9})
    sampler(dataset, source_curricula={"math": {"type": "time"}})
    by_time = Counting.reads
    sampler(dataset, source_curricula={"math": {"type": "difficulty_target"}})
    assert Counting.reads == 2 * by_time
    sampler(dataset, **LEARNS)
    assert Counting.reads == 2 * by_time + by_time  # sources and index, no scores


def test_a_rule_that_compares_within_groups_says_what_it_lacks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once; with groups or rows it says nothing."""
    dataset = rows_of_data()
    made = sampler(dataset, source_rule={"type": "sec"})
    first, second, *_ = math_rows(dataset)
    made.observe(["math"] * 2, [1, 0], rows=[first, second])
    made.observe(["math"] * 2, [1, 0], groups=["a", "a"])
    assert "within a group" not in caplog.text
    for _ in range(2):
        made.observe(["math"] * 2, [1, 0])
    assert caplog.text.count("Sec compares the rewards within a group") == 1
