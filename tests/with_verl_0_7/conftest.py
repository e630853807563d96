"""Tests against verl 0.7.1, in an environment of their own: see ``requirements.txt``.

Where no verl with the sampler hook is installed nothing in this folder is collected.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_LAST_WITH_THE_HOOK = (0, 7)


def _has_the_hook() -> bool:
    """Whether the installed verl has the sampler hook; asked without an import, which is slow."""
    try:
        version = importlib.metadata.version("verl")
    except importlib.metadata.PackageNotFoundError:
        return False
    return tuple(int(part) for part in version.split(".")[:2]) <= _LAST_WITH_THE_HOOK


collect_ignore_glob: list[str] = []
if _has_the_hook():
    # Before verl is imported: nothing is to be looked up in the network, nor on a GPU.
    os.environ |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "0"}
else:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Parquet files that are read leave no copies in the user's cache."""
    import datasets.config

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """One token per word, and a chat template."""
    from tests.with_verl_0_7.project import make_tokenizer

    return make_tokenizer()


@pytest.fixture(scope="session")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 rows each of ``iftrain`` and ``logicif``."""
    from tests.with_verl_0_7.project import write_data

    return write_data(
        tmp_path_factory.mktemp("data") / "train.parquet", {"iftrain": 100, "logicif": 100}
    )
