"""slime's fully asynchronous rollouts: a worker thread asks for one group at a time, for ever."""

from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer
from curriculum_learning.errors import CurriculumLearningError
from tests.with_slime.engine import (
    BOUND_FOR_VARYING,
    ROLLOUTS,
    VARYING,
    InferenceServer,
    Run,
    farthest_from_shares,
    make_args,
    varying_shares,
)

SETTINGS = {
    "data_source_weights": VARYING,
    "rollout_function_path": "slime.rollout.fully_async_rollout.generate_rollout_fully_async",
    "sglang_server_concurrency": 16,
}

FIRST_SAVE = 1000
"""Above the rollouts of a test, of which the data source saves states by itself."""


def server() -> InferenceServer:
    """One that leaves the processor to the main thread now and then."""
    return InferenceServer(seconds_per_token=0.0005)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A whole run, over, in which every update of the model cut off what was being generated."""
    args = make_args(tmp_path_factory.mktemp("run"), **SETTINGS)
    with Run(args, server=server()) as run:
        for rollout_id in range(ROLLOUTS):
            run.generate(rollout_id)
            run.server.abort()
    return run


def test_the_schedule_moves_once_per_rollout(run: Run) -> None:
    """The step follows the rollouts, though groups are asked for one by one and all the time."""
    assert set(run.requests) == {1}
    assert len(run.requests) > 10 * ROLLOUTS
    assert run.source.rollout_step == ROLLOUTS
    assert all(group.rollout_id <= group.step <= group.logged for group in run.servings)
    for rollout_id, metrics in enumerate(run.metrics):
        for source, share in varying_shares(rollout_id).items():
            assert metrics[f"rollout/{source}/weight"] == pytest.approx(share)


def test_draws_follow_the_shares(run: Run) -> None:
    """Requests for one group each are apportioned as well as large ones."""
    assert farthest_from_shares(run.drawn, varying_shares) < BOUND_FOR_VARYING


def test_ids_are_given_once_and_stay(run: Run) -> None:
    """Groups are numbered without a gap, keep number and row when served again, and come first."""
    numbers = [serving.group_index for serving in run.drawn]
    assert numbers == list(range(len(numbers)))
    indices = [index for serving in run.drawn for index in serving.indices]
    assert indices == list(range(len(indices)))
    assert run.returned > 0
    assert run.served_out_of_turn == []
    identities = {serving.group_index: serving.identity for serving in run.drawn}
    assert all(serving.identity == identities[serving.group_index] for serving in run.servings)
    assert sum(map(len, run.samples)) == len(
        {sample.index for samples in run.samples for sample in samples}
    )


@pytest.mark.usefixtures("restless_threads")
def test_a_state_saved_while_the_worker_draws_loses_and_repeats_nothing(tmp_path: Path) -> None:
    """A state saved at any moment serves again all that was served and not trained, and goes on."""
    with Run(make_args(tmp_path, **SETTINGS), server=server()) as run:
        over = threading.Event()

        def save() -> list[tuple[set[int], set[int]]]:
            """Save under FIRST_SAVE, ...; the groups trained before and after each save."""
            trained: list[tuple[set[int], set[int]]] = []
            while not over.is_set():
                before = groups_of(run.samples[: len(run.metrics)])
                run.manager.save(FIRST_SAVE + len(trained))
                trained.append((before, run.trained))
            return trained

        with ThreadPoolExecutor(max_workers=1) as pool:
            saving = pool.submit(save)
            try:
                for rollout_id in range(4):
                    run.generate(rollout_id)
                    run.server.abort()
            finally:
                over.set()
            trained = saving.result()
    assert len(trained) > 1

    resumed = MultipleWeightedRolloutDataSourceWithBuffer(copy.copy(run.args))
    for number, (trained_before, trained_after) in enumerate(trained, start=FIRST_SAVE):
        resumed.load(number)
        waiting = resumed.get_buffer_length()
        *unfinished, fresh = resumed.get_samples(waiting + 1)
        again, served = groups_of(unfinished), set(range(fresh[0].group_index))
        assert len(again) == waiting
        assert again.isdisjoint(trained_before)
        assert again <= served <= again | trained_after


@pytest.fixture
def restless_threads() -> Iterator[None]:
    """Threads that change over in the middle of everything."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def groups_of(samples: Iterable[list[Any]]) -> set[int]:
    """The groups that lists of samples belong to."""
    return {sample.group_index for items in samples for sample in items}


def test_an_error_on_the_worker_thread_is_raised_on_the_main_one(tmp_path: Path) -> None:
    """A refused group, which slime's worker only logs, stops the next rollout, once."""
    args = make_args(tmp_path, **SETTINGS)
    args.rollout_sample_hook_path = ["tests.with_slime.engine.lose_source_of_aborted"]
    problem = "worker thread of the engine: add_samples.* source tags"
    with Run(args, server=server()) as run:

        def go_on() -> None:
            # More than once, because not every abort finds something that is being generated.
            for rollout_id in range(1, ROLLOUTS):
                run.server.abort()
                run.generate(rollout_id)

        run.generate(0)
        run.manager.save(0)
        with pytest.raises(CurriculumLearningError, match=problem):
            go_on()
        run.manager.save(1)  # the error was raised once; a state is written all the same
