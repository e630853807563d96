from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import (
    CheckpointError,
    ConfigurationError,
    CurriculumLearningError,
    GroupError,
)
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.custom_log import custom_rollout_log_function
from curriculum_learning.groups.served import listed
from curriculum_learning.state.checkpoint import read_state
from tests.engine import FullyAsynchronousEngine, SynchronousEngine
from tests.harness import (
    arguments,
    as_data,
    interrupt,
    row_of,
    totals,
)

THREE = {"math": 11, "code": 7, "chat": 5}
WEIGHTS = [0.3, "lambda step: 0.2 + min(step / 10, 1)", {"schedule": "levels", "values": [1, 0, 1], "steps": 9}]  # fmt: skip  # noqa: E501 - one table


def test_an_engine_goes_on_as_if_it_had_not_been_killed(tmp_path: Path) -> None:
    """A synchronous engine resumed from any save trains on the same groups as without a kill."""
    args = arguments(
        tmp_path, THREE, data_source_weights=WEIGHTS,
        custom_rollout_log_function_path="curriculum_learning.custom_log.custom_rollout_log_function",
    )  # fmt: skip

    def run(source: DataSource, rollouts: range) -> list[Any]:
        trained = []
        for rollout_id in rollouts:
            # A seed of its own for each rollout, as a real engine restores its random state.
            engine = SynchronousEngine(source, args, batch=4, request=6, seed=rollout_id)
            trained.append([row_of(group) for group in engine.rollout(rollout_id)])
            source.save(rollout_id)
        return trained

    expected = run(DataSource(args), range(12))
    for cut in range(11):
        resumed = DataSource(args)
        resumed.load(cut)
        assert run(resumed, range(cut + 1, 12)) == expected[cut + 1 :]


def test_states_saved_while_threads_draw_are_consistent(tmp_path: Path) -> None:
    """With four threads drawing and returning, every saved state is whole and resumable."""
    sizes = {"math": 300, "code": 200, "chat": 100}
    args = arguments(tmp_path, sizes, rollout_batch_size=10**6)  # one rollout, however long
    source = DataSource(args)
    source.observe([], fate="trained")
    stop = threading.Event()
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        randomness = random.Random(seed)
        try:
            while not stop.is_set():
                groups = source.get_samples(randomness.randrange(1, 6))
                kept = randomness.randrange(len(groups) + 1)
                source.add_samples([interrupt(group) for group in groups[kept:]])
                source.observe(groups[:kept], fate="trained")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for rollout_id in range(25):
        source.save(rollout_id)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    for rollout_id in range(25):
        resumed = DataSource(args)
        resumed.load(rollout_id)
        state = read_state(Path(args.save) / "rollout" / f"curriculum_learning_{rollout_id}.state")
        drawn = sum(source["drawn"] for source in state["mixture"]["sources"].values())
        groups = state["groups"]
        assert groups["next_group"] == drawn
        assert groups["next_index"] == 2 * drawn
        waiting = {entry[0] for entry in state["waiting"]}
        in_flight = {entry[0] for entry in listed(groups["in_flight"])}
        assert not waiting & in_flight
        assert totals(groups)["trained"] + len(waiting) + len(in_flight) == drawn
        served = resumed.get_samples(len(waiting | in_flight) + 1)
        assert {group[0].group_index for group in served} == waiting | in_flight | {drawn}


def test_fully_asynchronous_training_goes_on(tmp_path: Path) -> None:
    """With a worker thread across rollouts and resumes, no row of an epoch comes twice."""
    args = arguments(
        tmp_path, {"math": 60, "code": 60}, data_source_weights=[0.4, 0.6],
        custom_rollout_log_function_path="curriculum_learning.custom_log.custom_rollout_log_function",
    )  # fmt: skip
    trained: list[tuple[str, int, int]] = []
    for start in range(0, 12, 3):
        source = DataSource(args)
        source.load(start - 1)
        with FullyAsynchronousEngine(source, args, concurrency=6, seed=start) as engine:
            for rollout_id in range(start, start + 3):
                trained += [row_of(group) for group in engine.rollout(rollout_id, 5)]
            source.save(start + 2)
            steps = [group[0].metadata["data_source_rollout_step"] for group in engine.served]
        assert max(steps) <= start + 3
    assert len(trained) == len(set(trained)) == 60


def test_a_rollout_is_saved_as_it_ended(tmp_path: Path) -> None:
    """A rollout saved after later ones were generated resumes with the rollout that follows it."""
    args = arguments(tmp_path, THREE, data_source_weights=WEIGHTS)
    source = DataSource(args)
    for rollout_id in range(6):
        groups = source.get_samples(5)
        if rollout_id == 3:
            expected = as_data(groups)
        source.add_samples([interrupt(group) for group in groups[3:]])
        source.observe(groups[:3], rollout_id=rollout_id, fate="trained")
        source.update_metadata({"logged": rollout_id})
        if rollout_id:
            source.save(rollout_id - 1)
    source.observe([], rollout_id=6, fate="trained")  # nothing was drawn for it
    source.observe([], rollout_id=7, fate="trained")
    with pytest.raises(CheckpointError, match=r"ended too long ago.*\[5, 6, 7\]"):
        source.save(4)  # and not silently the state of now
    resumed = DataSource(args)
    resumed.load(2)
    assert resumed.rollout_step == 3
    assert as_data(resumed.get_samples(5)) == expected
    assert resumed.get_metadata() == {"logged": 3}


def test_rollouts_that_are_logged_out_of_order_are_kept_in_that_order(tmp_path: Path) -> None:
    """Those that were logged long ago are refused, also the highest of them."""
    source = DataSource(arguments(tmp_path, THREE, data_source_weights=WEIGHTS))
    for rollout_id in (7, 4, 5, 6, 3):
        source.observe(source.get_samples(2), rollout_id=rollout_id, fate="trained")
    for rollout_id in (7, 4, 2):
        with pytest.raises(CheckpointError, match=r"ended too long ago.*\[3, 5, 6\]"):
            source.save(rollout_id)
    for rollout_id in (5, 6, 3, 8):
        source.save(rollout_id)


def test_an_error_that_an_engine_swallows_is_raised_again(tmp_path: Path) -> None:
    """The log hook or save raises once what a worker thread swallowed, and save saves."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    out = source.get_samples(2)

    def worker() -> None:
        with pytest.raises(GroupError):
            source.add_samples([out[0][:1]])

    def swallow() -> None:
        thread = threading.Thread(target=worker)
        thread.start()
        thread.join()

    swallow()
    with pytest.raises(CurriculumLearningError, match=r"worker thread.*has 1 samples"):
        custom_rollout_log_function(0, args, [], {}, 1.0)
    assert source.rollout_step == 0
    custom_rollout_log_function(0, args, [], {}, 1.0)  # it was raised, and that is that
    source.save(0)
    swallow()
    with pytest.raises(CurriculumLearningError, match=r"worker thread.*has 1 samples"):
        source.save(1)
    source.save(2)
    source.close()
    for rollout_id in (0, 1, 2):  # also what was saved by the call that raised
        resumed = DataSource(args)
        resumed.load(rollout_id)
        assert [group[0].group_index for group in resumed.get_samples(3)] == [0, 1, 2]
    fresh = DataSource(args)
    for odd in ("3", 1.5, -2):
        with pytest.raises(ConfigurationError, match="rollout_id"):
            fresh.load(odd)  # type: ignore[arg-type]  # that is the test
    for bad in (None, "abc", 1.5, -1, "../x"):
        with pytest.raises(ConfigurationError, match="rollout_id"):
            fresh.save(bad)  # type: ignore[arg-type]  # that is the test
    state = source.state_dict()["groups"]
    assert [entry[0] for entry in listed(state["in_flight"])] == [0, 1]
