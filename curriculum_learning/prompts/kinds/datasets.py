"""Rows of Hugging Face data sets: saved to a folder, or found by name."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from curriculum_learning.config.kinds import HubData
from curriculum_learning.prompts.cache import Cache, file_digest
from curriculum_learning.prompts.files.arrow import ArrowRows, check, storable
from curriculum_learning.prompts.rows import fingerprint, unreadable

_SPLITS = "dataset_dict.json"


def is_saved(folder: str) -> bool:
    """Whether ``save_to_disk`` has written a folder."""
    return any(os.path.isfile(os.path.join(folder, mark)) for mark in (_SPLITS, "state.json"))


class DatasetRows(ArrowRows):
    """The rows of a data set, mapped into memory as ``datasets`` keeps them; none is copied.

    Pictures and audio are not decoded: a row has their bytes and path.
    """

    def __init__(self, dataset: Any, path: str, source: str, cache: Cache) -> None:
        batches: list[Any] = dataset.with_format("arrow")[:].to_batches() if len(dataset) else []
        schema = storable(batches[0].schema) if batches else None
        batches = [batch if batch.schema == schema else batch.cast(schema) for batch in batches]
        files = [entry["filename"] for entry in dataset.cache_files]
        sizes = [os.path.getsize(file) for file in files]
        digests = "".join(file_digest(file, cache) for file in files)
        try:
            check(batches, {"what": "valid", "hashes": digests}, cache if batches else Cache(None))
        except ValueError as error:
            raise unreadable(source, path, f"{path} is damaged: {error}; make it anew") from None
        digest = hashlib.blake2b(digests.encode(), digest_size=16).hexdigest()
        super().__init__(path, batches, fingerprint(len(dataset), sum(sizes), digest))


class SavedRows(DatasetRows):
    """The rows of a folder that ``save_to_disk`` has written."""

    def __init__(self, path: str, source: str, cache: Cache) -> None:
        self._remake = (path, source, cache)
        if os.path.isfile(os.path.join(path, _SPLITS)):
            splits = sorted(entry.name for entry in os.scandir(path) if is_saved(entry.path))
            problem = f"{path} has the splits {splits}; name one: {path}/{splits[0]}"
            raise unreadable(source, path, problem)
        datasets = _datasets(path, source)
        try:
            dataset = datasets.load_from_disk(path)
        except Exception as error:  # of many libraries below it; an empty one cannot be loaded
            problem = f"{path} is no saved data set with rows: {error}; save it anew"
            raise unreadable(source, path, problem) from error
        super().__init__(dataset, path, source, cache)

    def __reduce__(self) -> tuple[Any, ...]:
        return SavedRows, self._remake


class HubRows(DatasetRows):
    """The rows of a data set that ``load_dataset`` finds; it keeps what it fetches in its cache."""

    def __init__(self, kind: HubData, source: str, cache: Cache) -> None:
        self._remake = (kind, source, cache)
        datasets = _datasets(kind.text, source)
        try:
            dataset = datasets.load_dataset(
                kind.name, kind.config, split=kind.split, revision=kind.revision
            )
        except Exception as error:  # of many libraries below it
            problem = f"{kind.text} cannot be loaded: {error}; correct its name, split or config"
            raise unreadable(source, kind.text, problem) from error
        super().__init__(dataset, kind.text, source, cache)

    def __reduce__(self) -> tuple[Any, ...]:
        return HubRows, self._remake


def _datasets(path: str, source: str) -> Any:
    try:
        import datasets
    except ImportError:
        message = f"reading {path} needs datasets; pip install 'curriculum_learning[datasets]'"
        raise unreadable(source, path, message) from None
    return datasets
