"""Each mode of verl's trainer over many steps: the mixture, the fates of groups, kill and resume.

The trainers, their replay buffers and the samplers are the real ones; the other processes are
stand-ins, so that hundreds of groups take a second.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import datasets.config
import pytest
import torch

from tests.with_verl_0_9 import inputs, modes
from tests.with_verl_0_9.modes import (
    BATCH,
    FILTERED,
    MODES,
    REFILLED,
    ROUGH,
    SAMPLES,
    SMOOTH,
    STALE,
    WEIGHTS,
    Life,
)
from tests.with_verl_0_9.stand_ins import Fortune

Live = Callable[..., Life]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A model with its tokenizer, and a file of rows."""
    folder = tmp_path_factory.mktemp("inputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "datasets")
        yield modes.write_inputs(folder)


@pytest.fixture
def live(files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Live:
    """Runs a trainer to its end, or until it is killed; the next one resumes it."""
    return functools.partial(modes.live, files, tmp_path, monkeypatch)


def _saved(folder: Path) -> int:
    """The step of the latest checkpoint, 0 without one."""
    latest = folder / "checkpoints" / "latest_checkpointed_iteration.txt"
    return int(latest.read_text()) if latest.exists() else 0


@pytest.mark.parametrize("mode", MODES)
def test_mixture_without_losses(live: Live, mode: str) -> None:
    """Where nothing is lost, what is drawn and what is trained have the configured shares."""
    life = live(mode, steps=40)
    assert life.shares(list(life.engine.rows)) == pytest.approx(WEIGHTS, abs=0.002)
    assert life.shares(life.trained()) == pytest.approx(WEIGHTS, abs=0.02)
    assert len(life.trained()) == 40 * BATCH


@pytest.mark.parametrize("mode", MODES)
def test_mixture_of_what_is_trained(live: Live, mode: str) -> None:
    """Where groups are filtered, fail or get too old, what is trained has the configured shares."""
    life = live(mode, *FILTERED, *REFILLED, *STALE, fortunes=ROUGH, steps=40)
    assert life.shares(life.trained()) == pytest.approx(WEIGHTS, abs=0.02)
    assert life.shares(list(life.engine.rows)) != pytest.approx(WEIGHTS, abs=0.1)


@pytest.mark.parametrize("mode", MODES)
def test_mixture_of_what_is_served(live: Live, mode: str) -> None:
    """With ``mixture_target: served`` lost groups are not replaced by others of their source."""
    served = ["+data.sampler.mixture_target=served"]
    life = live(mode, *FILTERED, *REFILLED, *STALE, *served, fortunes=ROUGH, steps=40)
    assert life.shares(list(life.engine.rows)) == pytest.approx(WEIGHTS, abs=0.002)
    assert life.shares(life.trained()) != pytest.approx(WEIGHTS, abs=0.05)


@pytest.mark.parametrize("mode", MODES)
def test_fates(live: Live, mode: str) -> None:
    """The tracker counts each group once: in flight, trained, or lost in one of four ways."""
    life = live(mode, *FILTERED, *REFILLED, *STALE, fortunes=ROUGH, steps=40)
    engine = life.engine
    counts = {
        what: life.count(what)
        for what in ("in_flight", "trained", "dropped", "stale", "failed", "discarded")
    }
    assert sum(counts.values()) == len(engine.rows)
    assert counts["trained"] == len(life.trained())
    assert counts["trained"] == len(set(life.trained()))
    waiting = {key for key, tag in engine.queue.tags["train"].items() if tag.get("is_prompt")}
    assert counts["in_flight"] == len(waiting)
    assert counts["failed"] == len(engine.failed - waiting) > 0
    alike = {uid for uid, rewards in engine.rewards.items() if len(set(rewards)) == 1}
    assert counts["dropped"] == len(alike - waiting) > 0
    is_sync = mode == "curriculum"
    assert (counts["discarded"] > 0, counts["stale"] > 0) == (is_sync, not is_sync)


@pytest.mark.parametrize("mode", MODES)
def test_rewards_of_all_finished_groups_reach_the_sampler(live: Live, mode: str) -> None:
    """The sampler is told of each finished group once, filtered ones included, by step."""
    life = live(mode, *FILTERED, *REFILLED, *STALE, fortunes=ROUGH, steps=20)
    engine = life.engine
    assert len(life.observed) == 20
    waiting = engine.queue.tags["train"]
    names = list(WEIGHTS)
    expected = Counter(
        (source, reward, inputs.ROWS * names.index(source) + row, int(uid))
        for uid, rewards in engine.rewards.items()
        if uid not in waiting
        for source, row in [engine.rows[uid]]
        for reward in rewards
    )
    keys = ("sources", "rewards", "rows", "groups")
    told = Counter(
        sample
        for step in life.observed
        for sample in zip(*(step[key] for key in keys), strict=True)
    )
    assert told == expected


@pytest.mark.parametrize("mode", MODES)
def test_failures_without_refill(live: Live, mode: str) -> None:
    """Where verl trains what is left of a batch, groups without samples are replaced later."""
    fortunes = {**SMOOTH, "c": Fortune(fails=0.5)}
    life = live(mode, fortunes=fortunes, steps=60)
    assert life.count("failed") > 0
    assert life.shares(life.trained()) == pytest.approx(WEIGHTS, abs=0.02)


@pytest.mark.parametrize("kill_at", [1, 10, 17, 25, 34])
@pytest.mark.parametrize("mode", MODES)
def test_killed_and_resumed(live: Live, tmp_path: Path, mode: str, kill_at: int) -> None:
    """Every prompt of before is trained, lost or served again, and none is trained twice."""
    losses = [*FILTERED, *REFILLED, *STALE, "trainer.save_freq=2"]
    first = live(mode, *losses, fortunes=ROUGH, steps=12, kill_at=kill_at)
    saved = _saved(tmp_path)
    before = first.trained(saved * int(first.trainer.parameter_sync_step))
    second = live(mode, *losses, fortunes=ROUGH, steps=12)
    after = second.trained()
    assert sorted(second.metrics) == list(range(saved + 1, 13))
    assert not set(before) & set(second.engine.rows)
    trained = [*before, *after]
    assert len(trained) == len(set(trained)) == 12 * BATCH
    total = len(trained) + sum(
        second.count(what) for what in ("in_flight", "dropped", "stale", "failed", "discarded")
    )
    rows = {**first.engine.rows, **second.engine.rows}
    assert sorted(map(int, rows))[:total] == list(range(total))
    _check_epochs([rows[str(number)] for number in range(total)])


def _check_epochs(rows: Sequence[tuple[str, int]]) -> None:
    """Each source gives all its rows before it gives one again."""
    for name in WEIGHTS:
        own = [row for source, row in rows if source == name]
        for start in range(0, len(own), inputs.ROWS):
            epoch = own[start : start + inputs.ROWS]
            assert len(set(epoch)) == len(epoch)


def test_synchronous_resume_is_exact(live: Live, tmp_path: Path) -> None:
    """In ``sync`` a resumed run has the prompts of the killed one, with filtering too."""
    losses = [*FILTERED, *REFILLED, "trainer.save_freq=2"]
    first = live("curriculum", *losses, fortunes=ROUGH, steps=12, kill_at=40)
    saved = _saved(tmp_path)
    second = live("curriculum", *losses, fortunes=ROUGH, steps=12)
    assert 0 < saved < 12
    repeated = {uid: row for uid, row in first.engine.rows.items() if uid in second.engine.rows}
    assert repeated
    assert repeated == {uid: second.engine.rows[uid] for uid in repeated}


@pytest.mark.parametrize("mode", MODES)
def test_row_curricula_and_source_rules(live: Live, mode: str) -> None:
    """Curricula of rows and source rules learn from each group, and are resumed with the rest."""
    learning = ["+data.sampler.source_curricula.c.type=pools", "+data.sampler.source_rule.type=sec"]
    losses = [*FILTERED, *REFILLED, *STALE, "trainer.save_freq=4"]
    first = live(mode, *learning, *losses, fortunes=ROUGH, steps=8)
    second = live(mode, *learning, *losses, fortunes=ROUGH, steps=12)
    pools = [
        {name: value for name, value in metrics.items() if name.startswith("curriculum/pool/")}
        for metrics in (first.metrics[1], first.metrics[8], second.metrics[9])
    ]
    assert pools[0] != pools[1]
    assert all(sum(pool.values()) == inputs.ROWS for pool in pools)
    assert second.metrics[9]["curriculum/rule_value/c"] != 0
    assert second.metrics[9]["curriculum/weight/c"] != pytest.approx(WEIGHTS["c"])


CAPPED = [
    "+data.sampler.source_reward_caps.a=0.7",
    "+data.sampler.source_reward_caps.b='lambda step: 1 if step < 10 else 0.7'",
]


@pytest.mark.parametrize("mode", MODES)
def test_reward_caps(live: Live, mode: str) -> None:
    """Groups above the cap of their source are dropped, from the step on at which it holds."""
    high = dict.fromkeys(WEIGHTS, Fortune(is_high=0.4))
    life = live(mode, *FILTERED, *CAPPED, fortunes=high, steps=40)
    rewards, rows = life.engine.rewards, life.engine.rows
    high_at = {source: list[int]() for source in WEIGHTS}
    for place, uid in enumerate(life.trained()):
        if sum(rewards[uid]) / SAMPLES > 0.7:
            high_at[rows[uid][0]].append(place // BATCH)
    assert 0 == len(high_at["a"]) < len(high_at["b"]) < len(high_at["c"])
    assert max(high_at["b"]) < 16
    assert life.shares(life.trained()) == pytest.approx(WEIGHTS, abs=0.02)
    last = life.metrics[40]
    assert 0 < last["curriculum/filter_ratio_reward_cap/a"] < 1
    assert last["curriculum/dropped/a"] > 0 == last["curriculum/dropped/c"]


@pytest.mark.parametrize("mode", MODES)
def test_sources_of_slimes_file(live: Live, tmp_path: Path, mode: str) -> None:
    """``data.sampler.config`` names the file of slime's data source: its shares are trained."""
    (path := tmp_path / "sources.yaml").write_text(
        "prompt_data: [a.jsonl, b.jsonl, c.jsonl]\n"
        "data_source_weights: ['lambda step: 0.8 if step < 20 else 0.2', 0.1, 0.1]\n"
        "data_source_reward_caps: {c: 0.7}\n"
    )
    named = [f"+data.sampler.config={path}", "~data.sampler.source_weights"]
    life = live(mode, *FILTERED, *named, fortunes=SMOOTH | {"c": Fortune(is_high=0.5)}, steps=40)
    for part, a in ((life.trained()[: 18 * BATCH], 0.8), (life.trained()[28 * BATCH :], 0.5)):
        shares = {"a": a, "b": (1 - a) / 2, "c": (1 - a) / 2}
        assert life.shares(part) == pytest.approx(shares, abs=0.06 * (1 - a) / 0.5)


def test_lost_queue(live: Live, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If a checkpoint lacks its queue, the prompts in flight count as lost and are replaced."""
    mode = "curriculum_colocate_async"
    live(mode, "trainer.save_freq=2", fortunes=ROUGH, steps=4)
    folder = tmp_path / "checkpoints" / "global_step_4"
    (folder / "transfer_queue").rename(folder / "elsewhere")
    with caplog.at_level("WARNING"):
        second = live(mode, fortunes=ROUGH, steps=8)
    assert "they count as failed" in caplog.text
    assert second.count("failed") >= BATCH
    assert torch.load(folder / "data.pt", weights_only=False)
