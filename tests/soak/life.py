"""One life of a run: a process that goes on from a state until it is killed or told to end.

It reads what it needs as JSON from its standard input, and writes what happens as lines of JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from curriculum_learning import CheckpointError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.custom_log import custom_rollout_log_function, process_all_samples
from curriculum_learning.reward_cap_filter import check_reward_cap_per_source
from tests.harness import Group, interrupt, row_of

BATCH = 64
"""Groups that a rollout trains on."""


def take_metrics(metrics: dict[str, Any], rollout_id: int) -> None:
    """A callback for metrics that are not looked at."""


def newest_first(args: Any, rollout_id: None, buffer: list[Group], room: int) -> list[Group]:
    """A buffer filter that serves from the end."""
    taken = [buffer.pop() for _ in range(min(room, len(buffer)))]
    return taken[::-1]


def main() -> None:
    """Lives."""
    task = json.loads(sys.stdin.readline())
    offset = task["clock"]
    now = time.time_ns
    time.time_ns = lambda: now() + offset
    args = argparse.Namespace(**task["arguments"])
    source = DataSource(args)
    source_numbers = dict(task["numbers"])
    for rollout_id in task["from"]:
        try:
            source.load(rollout_id)
            break
        except CheckpointError as error:
            if "there is no data source state" not in str(error):
                raise
    tell(resumed=rollout_id, state=summary(source))
    randomness = random.Random(task["seed"])
    groups = 0
    while groups < task["groups"]:
        rollout_id += 1
        fates = rollout(source, args, rollout_id, randomness)
        groups += len(fates)
        rows = [
            (fate, index, source_numbers[name], epoch, row)
            for fate, index, (name, epoch, row) in fates
        ]
        saves = rollout_id % task["save_every"] == 0 or task["saves_at_once"]
        task["saves_at_once"] = False
        if saves:
            source.save(rollout_id)
        tell(rollout=rollout_id, fates=rows, saved=saves)
    source.save(rollout_id)
    gc.collect()
    tell(rollout=rollout_id, fates=[], saved=True, memory=memory(), state=summary(source))
    source.close()


def rollout(
    source: DataSource, args: argparse.Namespace, rollout_id: int, randomness: random.Random
) -> list[tuple[str, int, tuple[str, int, int]]]:
    """Generates and logs a rollout; returns what was trained and dropped."""
    if randomness.random() < 0.02:  # an evaluation far ahead, whose groups come back
        source.set_rollout_step(rollout_id + 50)
        source.add_samples(source.get_samples(2))
        source.set_rollout_step(rollout_id)
    trained: list[Group] = []
    dropped: list[Group] = []
    finished: list[Group] = []
    pending: list[Group] = []
    while len(trained) < BATCH:
        if not pending:
            pending = source.get_samples(randomness.choice([1, 16, 64]))
        group = pending.pop(randomness.randrange(len(pending)))
        luck = randomness.random()
        if luck < 0.02:  # its task has crashed: nothing is heard of it again
            continue
        for sample in group:
            sample.reward = float(randomness.random() < 0.6)
            sample.status = type(sample).Status.COMPLETED
            sample.response, sample.response_length = "x", 1
        finished.append(group)
        kept = check_reward_cap_per_source(args, group).keep
        (trained if kept else dropped).append(group)
    process_all_samples(args, finished, source.get_samples)
    source.add_samples([interrupt(group) for group in pending])
    samples = [sample for group in trained for sample in group]
    custom_rollout_log_function(rollout_id, args, samples, {}, 1.0)
    told = (("trained", trained), ("dropped", dropped))
    return [(fate, group[0].group_index, row_of(group)) for fate, of in told for group in of]


def summary(source: DataSource) -> dict[str, Any]:
    """What the account is held against."""
    state = source.state_dict()
    counts = state["groups"]["counts"]
    return {
        "ids": state["groups"]["next_group"],
        "counts": {what: sum(by_source.values()) for what, by_source in counts.items()},
        "waiting": [entry[0] for entry in state["waiting"]],
        "in_flight": len(state["groups"]["in_flight"]["ids"]),
        "credits": [place["credit"] for place in state["mixture"]["sources"].values()],
        "epochs": {name: status["epoch"] for name, status in source.source_status().items()},
    }


def memory() -> int:
    """The memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def tell(**event: Any) -> None:
    """Writes a line that is whole or not there."""
    os.write(1, (json.dumps(event) + "\n").encode())


if __name__ == "__main__":
    main()
