from __future__ import annotations

import argparse
import logging
import random
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curriculum_learning import (
    CheckpointError,
    ConfigurationError,
    CurriculumLearningError,
    GroupError,
)
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.custom_log import custom_rollout_log_function
from curriculum_learning.groups.served import listed
from curriculum_learning.mixing.mixture import Mixture
from curriculum_learning.mixing.source import Source
from curriculum_learning.state.checkpoint import read_state
from curriculum_learning.state.files import saved_rollouts
from curriculum_learning.weight_scheduler import parse_weight
from tests.engine import FullyAsynchronousEngine, SynchronousEngine
from tests.harness import (
    arguments,
    as_data,
    check_resume,
    data_source,
    interrupt,
    name_of,
    row_of,
    totals,
    write_rows,
)

THREE = {"math": 11, "code": 7, "chat": 5}
WEIGHTS = [0.3, "lambda step: 0.2 + min(step / 10, 1)", {"schedule": "levels", "values": [1, 0, 1], "steps": 9}]  # fmt: skip  # noqa: E501 - one table


def test_a_mixture_goes_on_from_any_position(tmp_path: Path) -> None:
    """Cut anywhere, epoch ends included, once or twice: the same rows follow."""

    def make() -> Mixture:
        sources = [Source(name, size, seed=3, shuffle=True) for name, size in THREE.items()]
        schedules = {s.name: parse_weight(w, s.name) for s, w in zip(sources, WEIGHTS, strict=True)}
        return Mixture(sources, schedules)

    check_resume(make, lambda mixture, i: mixture.draw(i // 5)[:4], 60, tmp_path)


@pytest.mark.parametrize("accounting", [True, False])
def test_a_data_source_goes_on_from_any_position(tmp_path: Path, accounting: bool) -> None:
    """Cut after any rollout, with groups waiting: the same groups, ids and contents follow."""
    args = arguments(tmp_path, THREE, data_source_weights=WEIGHTS)

    def advance(source: DataSource, i: int) -> Any:
        randomness = random.Random(i)
        groups = source.get_samples(randomness.randrange(1, 9))
        back = [interrupt(group) for group in groups if randomness.random() < 0.5]
        served = as_data(groups)
        source.add_samples(back)
        if accounting:
            done = [group for group in groups if not any(group is item for item in back)]
            source.observe(done, rollout_id=i, fate="trained")
        return served, source.rollout_step, source.get_buffer_length()

    check_resume(lambda: DataSource(args), advance, 16, tmp_path)


def test_cut_anywhere_with_groups_in_flight(tmp_path: Path) -> None:
    """After any rollout, resumed once or twice: what was in flight, what waited, what is next."""
    args = arguments(tmp_path, THREE, data_source_weights=WEIGHTS, max_in_flight_rollouts=99)
    cuts = 18
    for cut in range(1, cuts):
        randomness = random.Random(0)
        source = DataSource(args)
        in_flight: set[int] = set()
        for rollout_id in range(cut):
            groups = source.get_samples(randomness.randrange(1, 7))
            fates = randomness.choices(["trained", "back", "in flight"], k=len(groups))
            told = list(zip(fates, groups, strict=True))
            in_flight |= {group[0].group_index for group in groups}
            gone = [group for fate, group in told if fate != "in flight"]
            in_flight -= {group[0].group_index for group in gone}
            source.add_samples([interrupt(group) for fate, group in told if fate == "back"])
            source.observe(
                [group for fate, group in told if fate == "trained"],
                rollout_id=rollout_id,
                fate="trained",
            )
        source.save(cut - 1)
        for _ in range(2):
            resumed = DataSource(args)
            resumed.load(cut - 1)
            resumed.save(cut - 1)
        again = resumed.get_samples(len(in_flight))
        assert [group[0].group_index for group in again] == sorted(in_flight)
        waiting = source.get_buffer_length()
        assert as_data(resumed.get_samples(waiting + 9)) == as_data(source.get_samples(waiting + 9))


def test_groups_in_flight_are_served_again_first(tmp_path: Path) -> None:
    """After a resume what was in flight comes first, afresh, with its ids; then what waited."""
    args = arguments(tmp_path, THREE, data_source_weights=[0.3, 0.5, 0.2])
    source = DataSource(args)
    out = source.get_samples(9)
    before = as_data(out)
    source.observe(out[0], rollout_id=0, fate="trained")
    interrupt(out[4])
    source.add_samples([out[4]])
    source.save(0)
    following = [row_of(group) for group in source.get_samples(4)[1:]]
    resumed = DataSource(args)
    resumed.load(0)
    served = resumed.get_samples(11)
    again = [1, 2, 3, 5, 6, 7, 8, 4]
    assert [group[0].group_index for group in served] == [*again, 9, 10, 11]
    for group, index in zip(served, again, strict=False):
        assert [sample.index for sample in group] == [2 * index, 2 * index + 1]
        if index != 4:
            for sample, old in zip(group, before[index], strict=True):
                new = sample.to_dict()
                for key in ("data_source_rollout_step", "data_source_weight"):
                    assert key in new["metadata"]
                    old["metadata"][key] = new["metadata"][key]
                assert new == old
    assert served[7][0].tokens == [0, 1, 2]
    assert [row_of(group) for group in served[8:]] == following


def test_partial_groups_in_flight_come_back_whole(tmp_path: Path) -> None:
    """A group that came back, went out again and is in flight keeps what it had when it came."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    groups = source.get_samples(4)
    source.add_samples([interrupt(groups[1])])
    expected = as_data([groups[1]])
    source.observe(groups[0], rollout_id=0, fate="trained")
    (again,) = source.get_samples(1)
    interrupt(again)  # generated further, which nobody has given back
    source.observe(groups[2], rollout_id=1, fate="trained")
    source.save(1)
    for _ in range(2):  # the second time from a state where it waits
        resumed = DataSource(args)
        resumed.load(1)
        resumed.save(1)
        served = resumed.get_samples(3)
        assert [group[0].group_index for group in served] == [1, 3, 4]
        for old, new in zip(expected[0], as_data(served[:1])[0], strict=True):
            assert new.pop("metadata")["id"] == old["metadata"]["id"]
            assert new == {key: value for key, value in old.items() if key != "metadata"}


def test_without_reports_groups_in_flight_are_not_served_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An engine that never says what it trained goes on behind what it was given, and is told."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.get_samples(5)
    source.save(0)
    source.save(0)
    assert caplog.text.count("nothing has reported which groups were trained") == 1
    resumed = DataSource(args)
    resumed.load(0)
    assert resumed.get_samples(1)[0][0].group_index == 5
    assert "5 groups were in flight" in caplog.text
    assert "custom_rollout_log_function_path" in caplog.text


def test_reports_that_begin_with_a_resume_do_not_reach_back(tmp_path: Path) -> None:
    """Of a state without reports nothing is served again, though reports are configured now."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.get_samples(5)
    source.save(0)
    args.custom_rollout_log_function_path = (
        "curriculum_learning.custom_log.custom_rollout_log_function"
    )
    for rollout_id in (0, 1):  # the second time from a state with reports
        resumed = DataSource(args)
        resumed.load(rollout_id)
        assert resumed.get_samples(1)[0][0].group_index == 5
        resumed.load(rollout_id)
        resumed.save(1)


def test_returned_samples_survive_whole(tmp_path: Path) -> None:
    """Tokens, log-probabilities, tensors, metadata, NaN and status come back as they were."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    (group,) = source.get_samples(1)
    interrupt(group)
    group[0].rollout_log_probs = [float("nan"), -1.5, np.float32(0.25)]
    group[0].rollout_routed_experts = torch.arange(12, dtype=torch.int32).reshape(3, 2, 2)
    group[0].metadata["state"] = {"turns": [(1, "a")], "seen": {1, 2}}
    group[0].reward = {"score": float("nan")}
    source.add_samples([group])
    source.save(0)
    resumed = DataSource(args)
    resumed.load(0)
    (back,) = resumed.get_samples(1)
    (expected,) = source.get_samples(1)
    assert torch.equal(back[0].rollout_routed_experts, expected[0].rollout_routed_experts)
    for sample in (back[0], expected[0]):
        sample.rollout_routed_experts = None
    assert repr(back) == repr(expected)
    assert type(back[0].rollout_log_probs[2]) is np.float32


def test_sources_are_matched_by_name(tmp_path: Path) -> None:
    """Resumed with its sources in another order, each goes on where it was."""
    args = arguments(tmp_path, THREE, data_source_weights=[0.3, 0.5, 0.2])
    source = DataSource(args)
    out = source.get_samples(20)
    source.add_samples([interrupt(out[3])])
    source.save(0)
    reordered = argparse.Namespace(**vars(args))
    reordered.prompt_data = args.prompt_data[::-1]
    reordered.data_source_weights = [0.2, 0.5, 0.3]
    resumed = DataSource(reordered)
    resumed.load(0)
    expected, found = source.get_samples(60), resumed.get_samples(60)
    for name in THREE:
        rows = [[row_of(g) for g in groups if name_of(g) == name] for groups in (expected, found)]
        shorter = min(map(len, rows))
        assert shorter > 8
        assert rows[0][:shorter] == rows[1][:shorter]


def test_fresh_starts(tmp_path: Path) -> None:
    """load(None), load(-1), or no folder at all: a fresh start; load() takes the newest state."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.load(None)
    source.load(-1)
    assert source.get_samples(1)[0][0].group_index == 0
    source.save(3)
    source.get_samples(4)
    source.save(12)
    assert saved_rollouts(Path(args.save)) == [3, 12]
    resumed = DataSource(args)
    resumed.load()
    assert resumed.get_samples(1)[0][0].group_index == 5
    for again in (DataSource(args), source):  # also one that has served already
        again.load(-1)
        assert again.get_samples(1)[0][0].group_index == 0
        assert again.source_status()["math"]["epoch"] == 0


def test_load_and_save_may_be_different_folders(tmp_path: Path) -> None:
    """A run may resume from one folder and save to another, as slime's do."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.get_samples(3)
    source.save(0)
    moved = argparse.Namespace(**{**vars(args), "load": args.save, "save": str(tmp_path / "new")})
    resumed = DataSource(moved)
    resumed.load(0)
    resumed.save(1)
    assert resumed.get_samples(1)[0][0].group_index == 3
    assert (tmp_path / "new" / "rollout" / "curriculum_learning_1.state").exists()


def test_without_a_folder_saving_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With save unset: one warning, and nothing else happens."""
    source = data_source(tmp_path, THREE, save=None)
    source.save(0)
    source.save(1)
    assert caplog.text.count("save is not set") == 1
    source.load(-1)
    with pytest.raises(CheckpointError, match="neither load nor save is set"):
        source.load(5)
    restarted = data_source(tmp_path, THREE, save=None, on_missing_state="restart")
    restarted.load(5)
    assert restarted.rollout_step == 6


def test_a_missing_state_is_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Resuming a rollout without a state is refused, or with on_missing_state a loud warning."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.get_samples(3)
    source.save(2)
    with pytest.raises(CheckpointError, match=r"for rollout 3,.*with a state there: \[2\]"):
        DataSource(args).load(3)
    restarted = data_source(tmp_path, THREE, on_missing_state="restart")
    restarted.load(3)
    assert "ALL PROMPTS ARE SERVED FROM THE BEGINNING" in caplog.text
    assert restarted.get_samples(1)[0][0].group_index == 0
    assert restarted.rollout_step == 4


@pytest.mark.parametrize(
    ("changes", "key", "piece"),
    [
        ({"rollout_seed": 1}, "rollout_seed", "rollout_seed=42"),
        ({"rollout_shuffle": False}, "rollout_shuffle", "rollout_shuffle=True"),
        ({"n_samples_per_prompt": 4}, "n_samples_per_prompt", "n_samples_per_prompt=2"),
        ({"prompt_data_source_names": ["a", "code", "chat"]}, "prompt_data_source_names", "'a'"),
        ({"prompt_data": slice(0, 2)}, "prompt_data_source_names", "'chat'"),
        ({"prompt_data": {0: "@[:9]"}}, "prompt_data", "rows 11 -> 9"),
    ],
)
def test_a_state_of_another_configuration_is_refused(
    tmp_path: Path, changes: dict[str, Any], key: str, piece: str
) -> None:
    """Other sources, rows, order or group size: an error that says what to set, nothing loaded."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.get_samples(3)
    source.save(0)
    values = {**vars(args), **changes}
    if isinstance(changes.get("prompt_data"), slice):
        values["prompt_data"] = args.prompt_data[changes["prompt_data"]]
        values["data_source_weights"] = [1, 1]
    elif "prompt_data" in changes:
        values["prompt_data"] = [path + changes["prompt_data"].get(i, "") for i, path in enumerate(args.prompt_data)]  # fmt: skip  # noqa: E501 - one thought
    other = DataSource(values)
    with pytest.raises(CheckpointError, match=re.escape(piece)) as raised:
        other.load(0)
    assert raised.value.key == key
    assert other.get_samples(1)[0][0].group_index == 0


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    """A prompt file that is not the one of the saved run is refused by name."""
    args = arguments(tmp_path, THREE)
    DataSource(args).save(0)
    write_rows(Path(args.prompt_data[0]), ({"input": f"other {i}"} for i in range(11)))
    with pytest.raises(CheckpointError, match=r"source 'math' is not what it was.*hash"):
        DataSource(args).load(0)


def test_weights_may_change_on_resume(tmp_path: Path) -> None:
    """New weights take effect from the resume on; rows and ids go on."""
    args = arguments(tmp_path, THREE, data_source_weights=[1, 0, 0])
    source = DataSource(args)
    source.get_samples(4)
    source.save(0)
    args.data_source_weights = [0, 1, 0]
    resumed = DataSource(args)
    resumed.load(0)
    assert {name_of(group) for group in resumed.get_samples(6)} == {"code"}


def test_states_that_are_none(tmp_path: Path) -> None:
    """A torn, foreign or malformed state is a CheckpointError, and nothing of it is loaded."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.get_samples(3)
    source.save(0)
    path = Path(args.save) / "rollout" / "curriculum_learning_0.state"
    state = read_state(path)
    path.write_bytes(path.read_bytes()[:-10])
    fresh = DataSource(args)
    with pytest.raises(CheckpointError, match="damaged"):
        fresh.load(0)
    changes: list[dict[str, Any]] = [
        {"mixture": {}}, {"waiting": [1]}, {"groups": 1}, {"clock": {}}, {"generated": [3]},
        {"identity": {**state["identity"], "sources": None}}, {"identity": None},
    ]  # fmt: skip
    damaged: list[dict[str, Any]] = [{"served": b"x"}, {"ids": b"x"}, {"ids": b""}, {"sources": []}]
    for damage in damaged:
        out = {**state["groups"]["in_flight"], **damage}
        changes.append({"groups": {**state["groups"], "in_flight": out}})
    for broken in ({}, *({**state, **change} for change in changes)):
        with pytest.raises(CheckpointError):
            fresh.load_state_dict(broken)
        assert fresh.state_dict() == DataSource(args).state_dict()


def test_metadata_is_part_of_the_state(tmp_path: Path) -> None:
    """What update_metadata stored comes back."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.update_metadata({"best": (1, 0.5)})
    source.save(0)
    resumed = DataSource(args)
    resumed.load(0)
    assert resumed.get_metadata() == {"best": (1, 0.5)}


def test_an_engine_goes_on_as_if_it_had_not_been_killed(tmp_path: Path) -> None:
    """A synchronous engine resumed from any of its saves trains on the same groups as ever."""
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
    """With a worker thread across rollouts: saved and resumed, no row of an epoch comes twice."""
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
    """Saved when later ones have been generated already, a rollout resumes with the next one."""
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


def test_an_error_that_an_engine_swallows_is_raised_again(tmp_path: Path) -> None:
    """What a worker thread was told comes up again from the log hook and from save."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    out = source.get_samples(2)

    def worker() -> None:
        with pytest.raises(GroupError):
            source.add_samples([out[0][:1]])

    thread = threading.Thread(target=worker)
    thread.start()
    thread.join()
    for act in (lambda: custom_rollout_log_function(0, args, [], {}, 1.0), lambda: source.save(0)):
        with pytest.raises(CurriculumLearningError, match=r"worker thread.*has 1 samples"):
            act()
    assert not (Path(args.save) / "rollout").exists()
    with pytest.raises(GroupError):
        source.add_samples([out[0][:1]])
    with pytest.raises(CurriculumLearningError, match="has 1 samples"):
        source.save(0)
    fresh = DataSource(args)
    for odd in ("3", 1.5, -2):
        with pytest.raises(ConfigurationError, match="rollout_id"):
            fresh.load(odd)  # type: ignore[arg-type]  # that is the test
    for bad in (None, "abc", 1.5, -1, "../x"):
        with pytest.raises(ConfigurationError, match="rollout_id"):
            fresh.save(bad)  # type: ignore[arg-type]  # that is the test
    state = source.state_dict()["groups"]
    assert [entry[0] for entry in listed(state["in_flight"])] == [0, 1]


def test_resuming_says_where_it_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the state that was loaded and the step."""
    args = arguments(tmp_path, THREE)
    source = DataSource(args)
    source.observe([], rollout_id=7, fate="trained")
    source.save(7)
    with caplog.at_level(logging.INFO):
        DataSource(args).load(7)
    assert re.search(r"resuming from .*curriculum_learning_7\.state", caplog.text)
    assert "resumes at rollout step 8" in caplog.text
