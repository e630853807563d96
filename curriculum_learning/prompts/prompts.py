"""The prompts of one source: the rows that may be served, by index."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curriculum_learning.config.plan import DataSourcePlan, SourcePlan
from curriculum_learning.errors import DataError
from curriculum_learning.prompts.assumed import assumed_rows
from curriculum_learning.prompts.cache import Cache, Kept, Key
from curriculum_learning.prompts.opening import open_rows
from curriculum_learning.prompts.reader import PromptReader
from curriculum_learning.prompts.rows import Rows
from curriculum_learning.prompts.scan.look import check_rows, within_limit
from curriculum_learning.prompts.scan.numbers import read_numbers
from curriculum_learning.prompts.tokenizer import processor_of, tokenizer_of
from curriculum_learning.samples.group import Prompt

_SMALL = 4096
"""Rows; what is worked out of fewer is not kept."""


class Prompts:
    """The rows of a source that may be served, as prompts.

    Of rows without end any index can be read.

    Args:
        config: The source's part of the configuration.
        tokenizer: A Hugging Face tokenizer; needed for a chat template or a length limit.
        cache: Keeps what takes long to work out of the file; None keeps nothing.
        processor: A Hugging Face processor; needed for a length limit of prompts with pictures.

    Raises:
        DataError: The file cannot be read, or a row cannot be served; the message has file and
            line.
        ConfigurationError: No row is within ``rollout_max_prompt_len``.
    """

    def __init__(
        self,
        config: SourcePlan,
        tokenizer: Any = None,
        cache: Cache | None = None,
        processor: Any = None,
    ) -> None:
        self.config = config
        assumed = assumed_rows(config)
        self._rows: Rows = assumed or open_rows(config.path, config.name, cache, config.kind)
        self._reader = PromptReader(self._rows, config, tokenizer, processor)
        size = self._rows.size
        is_kept = size is not None and size > _SMALL and not self._rows.is_generated
        self._cache = cache if cache is not None and is_kept else Cache(None)
        try:
            self._kept = None if assumed else check_rows(self._reader, self._cache)
        except BaseException:
            self._rows.close()
            raise
        self.fingerprint: dict[str, Any] = {
            **self._rows.fingerprint,
            "served_rows": len(self),
            "max_prompt_len": config.max_prompt_len,
            "served_hash": None if self._kept is None else _hash(self._kept.tobytes()),
            **self._reader.fingerprint,
        }

    def __len__(self) -> int:
        if self.is_endless:
            return len(self._rows.levels)
        return len(self._rows) if self._kept is None else len(self._kept)

    @property
    def size(self) -> int | None:
        """Number of rows that may be served; None is without end."""
        return None if self.is_endless else len(self)

    @property
    def is_endless(self) -> bool:
        """There are rows without end; the length is then the number of their levels."""
        return self._rows.size is None

    def read(self, indices: Sequence[int]) -> list[Prompt]:
        """Reads the prompts at ``indices`` (0 to ``len(self) - 1``); nothing in them is shared."""
        if self._kept is not None:
            indices = self._kept[list(indices)].tolist()
        return self._reader.read(indices)

    def fits(self, row: int) -> bool:
        """Whether the prompt of a row without end is within ``rollout_max_prompt_len``.

        Raises:
            DataError: The row cannot be served.
        """
        (fits,) = within_limit(self._reader, self._reader.read([row]))
        return fits is not False

    def priors(self, key: str) -> NDArray[np.float64]:
        """Reads an offline pass rate of each prompt, as ``scores``; NaN where there is none."""
        if self.is_endless:
            return np.full(len(self), np.nan)
        rates = self._numbers(key)
        return rates if self._kept is None else rates[self._kept]

    def scores(self, key: str) -> NDArray[np.float64]:
        """Reads the complexity of each prompt: the number ``key`` of its metadata, or a column.

        Returns:
            Finite numbers, shape (len(self),).

        Raises:
            DataError: A row has no such number; the message has their count, file and line. Or
                there are rows without end, and of one level only.
        """
        if self.is_endless:
            return self._scores_of_levels()
        numbers = self._numbers(key)
        scores = numbers if self._kept is None else numbers[self._kept]
        bad = np.flatnonzero(~np.isfinite(scores))
        if len(bad):
            row = int(bad[0] if self._kept is None else self._kept[bad[0]])
            raise DataError(
                f"source '{self.config.name}': {len(bad)} of its {len(scores)} rows have no usable "
                f"'{key}', a finite number, in {self.config.metadata_key} or in a column of its "
                f"own; the first is {self._rows.where(row)}. A curriculum needs one for each row; "
                f"complexity_key names another entry or column",
                source=self.config.name,
                key="data_source_curricula",
                value=key,
            )
        return scores

    def _scores_of_levels(self) -> NDArray[np.float64]:
        if len(self) < 2:
            raise DataError(
                f"source '{self.config.name}': its rows have no end and all have one difficulty, "
                f"so its curriculum has nothing to choose; set levels, or drop the curriculum",
                source=self.config.name,
                key="data_source_curricula",
                value=len(self),
            )
        return np.array(self._rows.levels, dtype=np.float64)

    def _numbers(self, key: str) -> NDArray[np.float64]:
        """Reads a number of all rows, those that are too long included; NaN if there is none."""
        asked = {"metadata_key": self.config.metadata_key, "complexity_key": key}
        entry: Key = {"what": "scores", "rows": self._rows.fingerprint, "config": asked}
        found = self._cache.find(entry)
        if found is None:
            read = read_numbers(self._rows, self.config.metadata_key, key)
            found = self._cache.keep(entry, Kept(read))
        return found.array

    def grown_from(self, fingerprint: Mapping[str, Any]) -> str | None:
        """Returns why these prompts do not begin with those of ``fingerprint``; None if they do."""
        if fingerprint["max_prompt_len"] != self.config.max_prompt_len:
            return "prompts are left out by another length"
        if any(fingerprint.get(key) != now for key, now in self._reader.fingerprint.items()):
            return "its rows are read by other columns or another template"
        problem = _slice_problem(fingerprint, self._rows) or self._rows.grown_from(fingerprint)
        if problem is not None:
            return problem
        old = np.arange(fingerprint["rows"]) if self._kept is None else self._kept
        old = old[old < fingerprint["rows"]]
        all_kept = len(old) == fingerprint["rows"]
        if fingerprint["served_hash"] != (None if all_kept else _hash(old.tobytes())):
            return "other prompts than then are too long"
        return None

    def close(self) -> None:
        """Closes the file."""
        self._rows.close()


def _slice_problem(fingerprint: Mapping[str, Any], rows: Rows) -> str | None:
    """Returns why a slice of other rows cannot begin with the rows of a state."""
    (start, stop), (now_start, now_stop) = fingerprint["span"], rows.fingerprint["span"]
    if any(bound is not None and bound < 0 for bound in (start, stop, now_start, now_stop)):
        return "a slice with a negative bound means other rows in a file that has changed"
    if (start or 0) != (now_start or 0):
        return "its slice begins elsewhere"
    if fingerprint["rows"] is None or rows.size is None:
        return "its rows have no end, so they cannot have grown"
    if rows.size < fingerprint["rows"]:
        return "there are fewer rows"
    return None


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def open_prompts(config: DataSourcePlan, trusts_code: bool = False) -> dict[str, Prompts]:
    """Opens the prompts of all sources, by name; raises as ``Prompts`` and ``load_tokenizer``.

    Args:
        config: Names the files.
        trusts_code: Whether code of the tokenizer may run, if ``trust_remote_code`` is not set.
    """
    tokenizer, cache = tokenizer_of(config, trusts_code), Cache(config.cache)
    processor = processor_of(config, trusts_code)
    opened: dict[str, Prompts] = {}
    try:
        for source in config.sources:
            opened[source.name] = Prompts(source, tokenizer, cache, processor)
    except BaseException:
        for prompts in opened.values():
            prompts.close()
        raise
    return opened
