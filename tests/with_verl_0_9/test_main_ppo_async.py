"""The asynchronous modes in a whole ``verl.trainer.main_ppo``: filtered, killed, and resumed."""

from __future__ import annotations

import pytest

from tests.with_verl_0_9.lives import SOURCES, Life, source_of, two_lives

STEPS = 10
SAVED = 4
"""The step of the checkpoint that the second life starts from."""
KILLED = 6
BATCH = 8
SHARES = {"easy": 0.25, "hard": 0.75}
FATES = ("trained", "dropped", "stale", "failed", "discarded")

SETTINGS = [
    "+data.sampler.class_name=MultiSourceSampler",
    *(f"+data.sampler.source_weights.{source}={share}" for source, share in SHARES.items()),
    f"data.train_batch_size={BATCH}",
    "actor_rollout_ref.actor.ppo_mini_batch_size=4",
    "algorithm.filter_groups.enable=true",
    "algorithm.filter_groups.metric=reward",
    "reward.custom_reward_function.name=compute_varied_score",
    f"trainer.total_training_steps={STEPS}",
    f"trainer.save_freq={SAVED}",
]
MODES = {
    "curriculum_colocate_async": [],
    "curriculum_separate_async": [
        "trainer.v1.separate_async.parameter_sync_step=2",
        "++ray_kwargs.ray_init.num_gpus=2",
        "actor_rollout_ref.rollout.nnodes=1",
        "actor_rollout_ref.rollout.n_gpus_per_node=1",
        "actor_rollout_ref.rollout.checkpoint_engine.backend=file",
    ],
}


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """The name of a trainer mode."""
    return str(request.param)


@pytest.fixture(scope="module")
def lives(mode: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Life, Life]:
    """A run that is killed after some steps beyond a checkpoint, and the same run started again."""
    folder = tmp_path_factory.mktemp("run")
    path = "+actor_rollout_ref.rollout.checkpoint_engine.engine_kwargs.file.path"
    settings = [
        *SETTINGS,
        *MODES[mode],
        f"trainer.v1.trainer_mode={mode}",
        f"{path}={folder}/weights",
    ]
    return two_lives(folder, settings, KILLED)


def _run(lives: tuple[Life, Life]) -> list[tuple[int, Life]]:
    """The steps of the run that a resume makes of two lives, each with its life."""
    return [(step, lives[step > SAVED]) for step in range(1, STEPS + 1)]


def _ended(life: Life, step: int, fate: str) -> int:
    """Groups that had ended in one way by the end of a step."""
    stats = life.stats(step)
    return int(sum(stats[f"{fate}/{source}"] for source in SOURCES))


def test_start_line_tells_the_mode(lives: tuple[Life, Life], mode: str) -> None:
    """One log line says that the mode is active."""
    (line,) = [line for line in lives[0].log.splitlines() if "Trainer mode" in line]
    assert f"'{mode}'" in line


def test_policy_is_trained(lives: tuple[Life, Life]) -> None:
    """The weights of the policy change in every step."""
    for life in lives:
        assert all(metrics["actor/grad_norm"] > 0 for metrics in life.metrics.values())


def test_groups_are_filtered_and_fail(lives: tuple[Life, Life]) -> None:
    """Verl drops groups with equal rewards, and those of which a sample fails."""
    last = lives[1]
    assert _ended(last, STEPS, "dropped") > 0
    assert _ended(last, STEPS, "failed") > 0
    for prompts in last.groups.values():
        for prompt in prompts.values():
            _, source, row = prompt.split()[:3]
            assert source == "easy" or int(row) % 3


def test_each_group_is_trained_once(lives: tuple[Life, Life]) -> None:
    """Every prompt drawn before the checkpoint is trained, lost or served again; none twice."""
    first, second = lives
    assert sorted(second.metrics) == list(range(SAVED + 1, STEPS + 1))
    trained: dict[int, str] = {}
    for step, life in _run(lives):
        groups = life.groups[step]
        assert len(groups) == BATCH
        assert not trained.keys() & groups.keys()
        trained |= groups
        counts = [_ended(life, step, fate) for fate in FATES]
        assert counts[0] == len(trained)
        assert max(trained) < sum(counts) + _ended(life, step, "in_flight")
    drawn = sum(_ended(first, SAVED, what) for what in (*FATES, "in_flight"))
    again = {number for step in second.groups for number in second.groups[step] if number < drawn}
    assert again
    for step in range(SAVED + 1, KILLED + 1):
        for number, prompt in first.groups[step].items():
            assert number >= drawn or trained.get(number, prompt) == prompt


def test_mixture(lives: tuple[Life, Life]) -> None:
    """What is trained has the configured shares, within three groups."""
    prompts = [prompt for step, life in _run(lives) for prompt in life.groups[step].values()]
    assert len(prompts) == STEPS * BATCH
    for source, share in SHARES.items():
        count = sum(source_of(prompt) == source for prompt in prompts)
        assert abs(count - share * len(prompts)) <= 3
