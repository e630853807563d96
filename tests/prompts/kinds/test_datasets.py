"""Data sets of the ``datasets`` library as sources."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest

from curriculum_learning import ConfigurationError, DataError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.commands.untrusted import disarm
from curriculum_learning.config.files import RunConfig
from curriculum_learning.config.kinds import HubData
from curriculum_learning.prompts.cache import Cache
from curriculum_learning.prompts.opening import open_rows
from tests.harness import check_resume, prompt_files, write_rows


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library keeps its copies in the folder of the test, and asks no other machine."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def rows(count: int) -> list[dict[str, Any]]:
    """Rows with columns of all sorts."""
    return [
        {"input": f"row {n}", "label": str(n), "metadata": {"n": n, "tags": ["a"] * (n % 3)}}
        for n in range(count)
    ]


def saved(folder: Path, count: int = 20) -> str:
    """The folder of a saved data set."""
    datasets.Dataset.from_list(rows(count)).save_to_disk(folder / "saved")
    return str(folder / "saved")


def test_a_saved_data_set_gives_its_rows(tmp_path: Path) -> None:
    """Rows, slices and copies are those that were saved, also of a filtered and shuffled one."""
    path = saved(tmp_path)
    opened = open_rows(path, "s", Cache(tmp_path / "cache"))
    assert opened.records(range(20)) == rows(20)
    assert pickle.loads(pickle.dumps(opened)).row(7) == rows(20)[7]
    assert open_rows(f"{path}@[3:5]", "s").records([0, 1]) == rows(20)[3:5]
    assert opened.where(3) == f"{path}, row 3"
    other = datasets.Dataset.from_list(rows(20)).filter(lambda row: row["label"] != "3")
    other.shuffle(seed=1).save_to_disk(tmp_path / "other")
    again = open_rows(str(tmp_path / "other"), "s")
    assert Counter(row["label"] for row in again.records(range(19))) == Counter(
        str(n) for n in range(20) if n != 3
    )
    assert again.fingerprint["hash"] != opened.fingerprint["hash"]


def test_splits_are_named(tmp_path: Path) -> None:
    """A folder of splits is an error that names them; each is a source."""
    splits = {"train": datasets.Dataset.from_list(rows(4)), "test": datasets.Dataset.from_list([])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "both")
    with pytest.raises(DataError, match=r"splits \['test', 'train'\]; name one"):
        open_rows(str(tmp_path / "both"), "s")
    assert len(open_rows(str(tmp_path / "both" / "train"), "s")) == 4
    with pytest.raises(DataError, match="no saved data set with rows"):
        open_rows(str(tmp_path / "both" / "test"), "s")


def hub(folder: Path) -> str:
    """A folder that ``load_dataset`` reads, as a repository on the hub would be."""
    for split, count in (("train", 9), ("test", 3)):
        (folder / "hub").mkdir(exist_ok=True)
        write_rows(folder / "hub" / f"{split}.jsonl", rows(count))
    return str(folder / "hub")


def test_a_data_set_is_found_by_name_and_split(tmp_path: Path) -> None:
    """``hf:name:split`` gives the rows of the split; without one it is train."""
    name = hub(tmp_path)
    source = DataSource(
        {
            "prompt_data": [f"hf:{name}:test", f"hf:{name}", {"type": "hf", "name": name}],
            "prompt_data_source_names": ["test", "train", "again"],
            "data_source_weights": [1, 1, 1],
            "label_key": "label",
        }
    )
    assert len(source) == 3 + 9 + 9
    served = [group[0] for group in source.get_samples(9)]
    assert {sample.label for sample in served} == {"0", "1", "2"}
    assert served[0].metadata["tags"] == []
    again = open_rows("s", "s", kind=HubData(name=name, split="test"))
    assert pickle.loads(pickle.dumps(again)).records([2]) == rows(3)[2:]
    with pytest.raises(DataError, match=r"hf:.*:dev cannot be loaded: .*; correct its name"):
        DataSource({"prompt_data": f"hf:{name}:dev"})


def test_a_data_set_resumes_exactly(tmp_path: Path) -> None:
    """A mixture of files, saved and named data sets goes on as if it had not been cut."""
    (file,) = prompt_files(tmp_path, {"file": 5})
    args = {
        "prompt_data": [file, saved(tmp_path), f"hf:{hub(tmp_path)}:train"],
        "data_source_weights": [1, 2, 3],
        "rollout_shuffle": True,
    }

    def serve(source: DataSource, step: int) -> list[str]:
        return [group[0].prompt for group in source.get_samples(2 + step)]

    check_resume(lambda: DataSource(args), serve, 5, tmp_path)


def test_pictures_are_not_decoded(tmp_path: Path) -> None:
    """A row has the bytes of a picture, which a state can hold."""
    features = datasets.Features({"input": datasets.Value("string"), "image": datasets.Image()})
    table = {"input": ["what is this?"], "image": [{"bytes": b"not even a picture", "path": None}]}
    datasets.Dataset.from_dict(table, features).save_to_disk(tmp_path / "pictures")
    row = open_rows(str(tmp_path / "pictures"), "s").row(0)
    assert row["image"] == {"bytes": b"not even a picture", "path": None}


def test_untrusted_fetches_nothing() -> None:
    """A named data set is refused where its rows would be needed."""
    run = RunConfig({"prompt_data": ["hf:some/name"]}, {})
    with pytest.raises(ConfigurationError, match="downloads nothing"):
        disarm(run, opens_files=True)
    assert not disarm(run, opens_files=False)
