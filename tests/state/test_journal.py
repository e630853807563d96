from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import (
    ConfigurationError,
)
from curriculum_learning.curricula.results import Result
from curriculum_learning.samplers import (
    MultiSourceSampler,
)
from curriculum_learning.state.journal import Entry, Journal
from tests.engines.sampler_data import (
    CLASSES,
    Rows,
    config,
    feedback,
)


@pytest.mark.parametrize(("kind", "keys"), CLASSES)
@pytest.mark.parametrize("journal", [True, False])
def test_the_journal_makes_up_for_an_early_save(
    kind: type[MultiSourceSampler], keys: dict[str, Any], journal: bool, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """A run saved before its last update resumes exactly with a journal, and not without one."""
    dataset = Rows({"logicif": 40, "iftrain": 30})
    if journal:
        keys = {**keys, "journal": str(tmp_path / "run" / "journal.jsonl")}

    def run(sampler: MultiSourceSampler, start: int, stop: int) -> tuple[list[Any], list[Any]]:
        got: list[list[int]] = []
        states = []
        while start + len(got) < stop:
            rows = iter(sampler)
            while len(batch := list(itertools.islice(rows, 8))) == 8:
                got.append(batch)
                states.append(sampler.state_dict())
                sampler.observe(*feedback(dataset, batch, start + len(got)))
                if start + len(got) == stop:
                    break
        return got, states

    expected, states = run(kind(dataset, config(8, **keys)), 0, 20)
    same = []
    for cut in range(1, 20):
        sampler = kind(dataset, config(8, **keys))
        sampler.load_state_dict(states[cut - 1])
        same.append(run(sampler, cut, 20)[0] == expected[cut:])
    assert all(same) == journal
    assert "lost" not in caplog.text


def test_a_journal_survives_a_torn_line_and_a_new_run(tmp_path: Path) -> None:
    """A torn line is skipped; the last entry of an update counts; update 1 starts a new file."""
    path = tmp_path / "journal.jsonl"
    dataset = Rows({"a": 40, "b": 40})
    keys = {"adaptive_weights": True, "update_frequency": 1, "journal": str(path)}
    sampler = MultiSourceSampler(dataset, config(8, **keys))
    list(itertools.islice(sampler, 8))
    sampler.observe(["a", "b"], [0, 1])
    list(itertools.islice(sampler, 8))
    state = sampler.state_dict()
    sampler.observe(["a", "b"], [0, 5])
    path.write_text(path.read_text() + '{"run":"x","update":2,"rewards":{"a":9')
    sampler.load_state_dict(state)
    sampler.observe(["a", "b"], [1, 1])
    assert path.read_text().count("\n") == 4  # update 1, 2, a torn line, 3
    again = MultiSourceSampler(dataset, config(8, **keys))
    again.load_state_dict(state)
    assert again.get_stats()["reward_ema/b"] == pytest.approx(0.9 * 1 + 0.1 * 5)
    MultiSourceSampler(dataset, config(8, **keys)).observe(["a", "b"], [0, 1])
    assert path.read_text().count("\n") == 1


def test_the_journal_of_an_abandoned_run_does_not_count(tmp_path: Path) -> None:
    """After a resume at update 6 the later entries of the earlier run do not count."""
    journal = Journal(tmp_path / "journal.jsonl")
    for update in (*range(1, 12), *range(6, 10)):
        journal.append(Entry("run", update, [Result("a", None, update, [float(update)])]))
    found = [update for update in range(1, 13) if journal.read("run", update, update)]
    assert found == list(range(1, 10))
    assert journal.read("other", 1, 3) == []


def test_a_journal_that_cannot_be_written_is_an_early_error(tmp_path: Path) -> None:
    """The file is tried at the start, not after the first step."""
    with pytest.raises(ConfigurationError, match=r"sampler\.journal"):
        MultiSourceSampler(Rows({"a": 20}), config(8, journal=str(tmp_path)))
