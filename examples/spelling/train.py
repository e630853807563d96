"""The loop: take groups, generate, score, update, log, save; resume where it was killed.

python -m examples.spelling.train --config configs/demo.yaml --out demo_output/first
"""

from __future__ import annotations

import argparse
import logging
import os
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from curriculum_learning.custom_log import custom_rollout_log_function
from curriculum_learning.data_source import MultipleWeightedRolloutDataSourceWithBuffer
from curriculum_learning.state.files import saved_rollouts
from curriculum_learning.trackers import TensorBoard
from examples.spelling import grpo
from examples.spelling.engine import collect_batch
from examples.spelling.policy import new_policy
from examples.spelling.prompts import Spelling
from examples.spelling.records import CURVES_FOLDER, MetricsFile, write_held_out
from examples.spelling.state import State, load_state, save_state, saved_states
from examples.spelling.task import Task, held_out_sets
from examples.spelling.warm_start import accuracy, warm_start

logger = logging.getLogger(__name__)

HELD_OUT_SEED = 1_000_003


def train(
    config: Mapping[str, Any], out: Path, task: Task, *, resume: bool = False, curves: bool = True
) -> None:
    """Train for ``num_rollout`` rollouts; everything is written to the folder ``out``.

    Args:
        config: As in ``configs/demo.yaml``.
        out: For metrics, states and held-out accuracies.
        task: What is learned.
        resume: Continue from the newest rollout of which a state was saved, instead of the start.
        curves: Also write the metrics for TensorBoard, which takes a tenth of a short run's time.
    """
    out.mkdir(parents=True, exist_ok=True)
    if saved_states(out) and not resume:
        raise FileExistsError(f"{out} holds a run already; continue it with --resume")
    args = Namespace(**config, save=str(out))
    task.write_prompts(args.prompt_data)
    state = new_state(args, task)
    metrics = MetricsFile(out)
    trackers: list[Callable[[dict[str, Any], int], None]] = [metrics.append]
    args.data_source_metrics_callback = lambda *rollout: [track(*rollout) for track in trackers]
    source = MultipleWeightedRolloutDataSourceWithBuffer(args)
    last = resume_or_start(args, task, out, state, source)
    metrics.keep(last + 1)
    tensorboard = TensorBoard(out / CURVES_FOLDER, first_rollout=last + 1) if curves else None
    if tensorboard:
        trackers.append(tensorboard)

    for rollout_id in range(last + 1, args.num_rollout):
        began = time.perf_counter()
        groups = collect_batch(
            state.policy,
            task,
            source,
            args.rollout_batch_size,
            args.over_sampling_batch_size,
            state.generator,
        )
        figures = grpo.update(
            state.policy,
            state.optimizer,
            groups,
            args.learning_rate * min((rollout_id + 1) / args.learning_rate_warm_up, 1),
            args.entropy_bonus,
        )
        # This tells the data source that the groups are trained and the rollout is over, and
        # hands the metrics of each source to the callback.
        custom_rollout_log_function(
            rollout_id,
            args,
            [sample for group in groups for sample in group],
            {f"train/{name}": value for name, value in figures.items()},
            time.perf_counter() - began,
        )
        done = rollout_id + 1
        if done % args.save_interval == 0 or done == args.num_rollout:
            metrics.sync()
            source.save(rollout_id)
            save_state(out, rollout_id, state)
            logger.info("rollout %d: saved; %s", rollout_id, figures)
        if done % args.held_out_interval == 0 or done == args.num_rollout:
            write_held_out(out, done, held_out_accuracies(args, task, state))
    if tensorboard:
        tensorboard.close()
    source.close()


def new_state(args: Namespace, task: Task) -> State:
    """The state of an untrained policy."""
    policy = new_policy(task.text, args.policy_width, args.rollout_seed)
    generator = torch.Generator().manual_seed(args.rollout_seed)
    return State(policy, grpo.make_optimizer(policy), generator)


def resume_or_start(
    args: Namespace,
    task: Task,
    out: Path,
    state: State,
    source: MultipleWeightedRolloutDataSourceWithBuffer,
) -> int:
    """Go to the newest saved rollout and return it, or warm-start the policy and return -1."""
    # Both halves of a checkpoint, or it does not count: a kill can fall between the two. Before
    # the first rollout there is only one: a data source that has served nothing has no state.
    resumable = set(saved_states(out)) & {-1, *saved_rollouts(out)}
    if resumable:
        last = max(resumable)
        source.load(last)
        load_state(out, last, state)
        logger.info("resumed after rollout %d", last)
        return last
    start(args, task, out, state)
    return -1


def start(args: Namespace, task: Task, out: Path, state: State) -> None:
    """Warm-start the policy, measure it, and save the state before the first rollout."""
    warm_start(
        state.policy,
        task,
        task.warm_start_rows(args.prompt_data),
        args.warm_start_mix,
        args.warm_start_accuracy,
        args.warm_start_steps,
        state.generator,
    )
    write_held_out(out, 0, held_out_accuracies(args, task, state))
    save_state(out, -1, state)


def held_out_accuracies(args: Namespace, task: Task, state: State) -> dict[str, float]:
    """The accuracy on each held-out set (0 to 1)."""
    # A generator of its own: measuring must not change what is trained.
    generator = torch.Generator().manual_seed(HELD_OUT_SEED)
    return {
        name: accuracy(state.policy, task, rows, generator)
        for name, rows in held_out_sets(args.prompt_data, args.held_out_rows).items()
    }


def end_with_standard_input() -> None:
    """End this process as soon as the one that holds the other end of its input has ended."""

    def wait() -> None:
        while os.read(0, 1024):  # not sys.stdin: its lock would outlive this thread
            pass
        os._exit(1)  # as abruptly as a kill, which a run has to survive anyway

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the spelling policy.")
    parser.add_argument("--config", type=Path, required=True, help="a YAML file")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    parser.add_argument("--rollouts", type=int, help="end after so many rollouts (num_rollout)")
    parser.add_argument("--end-with-stdin", action="store_true", help="for a parent process")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    if options.end_with_stdin:
        end_with_standard_input()
    # The matrices are small: more threads wait for each other longer than they compute.
    torch.set_num_threads(1)
    config = yaml.safe_load(options.config.read_text(encoding="utf-8"))
    if options.rollouts is not None:
        config["num_rollout"] = options.rollouts
    train(config, options.out, Spelling(), resume=options.resume)


if __name__ == "__main__":
    main()
