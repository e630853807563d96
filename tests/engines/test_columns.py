from __future__ import annotations

from typing import Any

import datasets
import pandas
import pytest

from curriculum_learning import (
    DataError,
)
from curriculum_learning.samplers import (
    MultiSourceSampler,
    TimeCurriculumSampler,
)
from tests.engines.sampler_data import (
    Rows,
    config,
)


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


def test_scores_of_rows_without_columns_may_stand_alone() -> None:
    """A top-level complexity_score will do, in rows as well as in columns."""
    dataset = Rows({"logicif": 40, "iftrain": 30})
    expected = list(TimeCurriculumSampler(dataset, config(8)))
    for row in dataset.rows:
        if row["data_source"] == "logicif":
            row["complexity_score"] = row.pop("extra_info")["complexity_score"]
    assert list(TimeCurriculumSampler(dataset, config(8))) == expected


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
