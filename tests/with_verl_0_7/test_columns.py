"""The sources and scores of verl's data set, which are read by column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from verl.trainer.main_ppo import create_rl_dataset

from curriculum_learning.prompts.columns import read_scores, read_sources
from tests.with_verl_0_7 import documented
from tests.with_verl_0_7.project import (
    COMPLETION,
    COMPLEX_SOURCE,
    compose,
    make_loader,
    make_rows,
    write_rows,
)

_SIZES = {"iftrain": 30, COMPLEX_SOURCE: 40}
_TIME_CURRICULUM = documented.COMMAND_LINES["Quick start 3"]


def _check(dataset: Any) -> None:
    """Rows read by column are those read one by one."""
    one_by_one = [dataset[row] for row in range(len(dataset))]
    sources = read_sources(dataset)
    assert {name: rows.tolist() for name, rows in sources.items()} == {
        name: [at for at, row in enumerate(one_by_one) if row["data_source"] == name]
        for name in sources
    }
    assert sum(len(rows) for rows in sources.values()) == len(dataset)
    rows = sources[COMPLEX_SOURCE]
    assert read_scores(dataset, rows, COMPLEX_SOURCE).tolist() == [
        one_by_one[row]["extra_info"]["complexity_score"] for row in rows
    ]


@pytest.mark.parametrize(
    ("overrides", "left"),
    [
        # Prompt number i of a source has i + 1 tokens.
        (["data.filter_overlong_prompts=true", "data.max_prompt_length=20"], 40),
        (["data.train_max_samples=48", "data.seed=3"], 48),
    ],
    ids=["overlong prompts filtered out", "random rows selected"],
)
def test_rows_are_right_behind_an_indices_mapping(
    overrides: list[str], left: int, tmp_path: Path, tokenizer: Any
) -> None:
    """Where verl has left rows out, sources and scores are those of the rows that are left."""
    file = write_rows(tmp_path / "train.parquet", make_rows(_SIZES))
    config = compose(file, [*_TIME_CURRICULUM, *COMPLETION, *overrides])
    dataset = create_rl_dataset(
        config.data.train_files,
        config.data,
        tokenizer,
        None,
        max_samples=config.data.train_max_samples,
    )
    assert len(dataset) == left
    assert dataset.dataframe._indices is not None
    _check(dataset)


def test_batches_of_filtered_data_have_the_mixture_and_the_easiest_rows(
    tmp_path: Path, tokenizer: Any
) -> None:
    """With filtered prompts the batches have half of each source and the easiest 30% of one."""
    file = write_rows(tmp_path / "train.parquet", make_rows(_SIZES))
    filters = ["data.filter_overlong_prompts=true", "data.max_prompt_length=20"]
    loader = make_loader(compose(file, [*_TIME_CURRICULUM, *COMPLETION, *filters]), tokenizer)
    batches = list(loader)
    assert len(batches) == 5
    for batch in batches:
        scores = [
            extra["complexity_score"]
            for source, extra in zip(batch["data_source"], batch["extra_info"], strict=True)
            if source == COMPLEX_SOURCE
        ]
        assert len(scores) == 4
        assert max(scores) < 0.06  # 30% of the 20 rows that are left


def test_several_files_are_one_data_set(tmp_path: Path, tokenizer: Any) -> None:
    """Rows of several files, joined by verl, are read right."""
    rows = make_rows(_SIZES)
    files = [
        write_rows(tmp_path / f"{number}.parquet", part)
        for number, part in enumerate([rows[:25], rows[25:]])
    ]
    config = compose(files[0], [*_TIME_CURRICULUM, *COMPLETION])
    config.data.train_files = [str(file) for file in files]
    loader = make_loader(config, tokenizer)
    assert len(loader.dataset) == 70
    _check(loader.dataset)


def test_no_row_is_read_to_find_sources_and_scores(tmp_path: Path, tokenizer: Any) -> None:
    """The sampler is made, and draws, over a data set of which no row can be read."""
    rows = [
        {key: value for key, value in row.items() if key != "prompt"} for row in make_rows(_SIZES)
    ]
    file = write_rows(tmp_path / "train.parquet", rows)
    loader = make_loader(compose(file, [*_TIME_CURRICULUM, *COMPLETION]), tokenizer)
    with pytest.raises(KeyError):
        loader.dataset[0]
    drawn = list(loader.sampler)
    assert len(drawn) == len(loader.sampler)
    assert set(drawn) <= set(range(len(rows)))


def test_scores_that_are_missing_are_an_error_with_the_count(
    tmp_path: Path, tokenizer: Any
) -> None:
    """Rows of the complex source without a score, or with NaN, stop the run before it starts."""
    rows = make_rows(_SIZES)
    complex_rows = [row for row in rows if row["data_source"] == COMPLEX_SOURCE]
    del complex_rows[0]["extra_info"]["complexity_score"]
    complex_rows[1]["extra_info"]["complexity_score"] = np.nan
    file = write_rows(tmp_path / "train.parquet", rows)
    config = compose(file, [*_TIME_CURRICULUM, *COMPLETION])
    with pytest.raises(ValueError, match="2 of its 40 rows"):
        make_loader(config, tokenizer)
