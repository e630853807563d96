"""States that nobody's data source has written: refused with a reason, within bounds of memory."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import itertools
import os
import resource
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from curriculum_learning import CheckpointError, CurriculumLearningError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.commands.inspect import describe
from curriculum_learning.samples.codec import CannotStoreError, decode, encode
from curriculum_learning.state.checkpoint import MAGIC, VERSION, read_state, write_state
from tests.harness import arguments, interrupt, write_rows

SIZES = {"math": 12, "code": 9, "chat": 7}


def crafted(path: Path, *records: bytes, frames: bytes | None = None) -> Path:
    """A file with a right checksum and any records in it, or any frames."""
    if frames is None:
        content = b"".join(struct.pack("<Q", len(record)) + record for record in records)
        frames = zstandard.ZstdCompressor().compress(content)
    whole = MAGIC + struct.pack("<IQQ16s", VERSION, 1, 1, bytes(16)) + frames
    path.write_bytes(whole + hashlib.blake2b(whole, digest_size=32).digest())
    return path


def memory_of_reading(path: Path) -> int:
    """By how many bytes the memory of a child process grows at most while it reads a file."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            read_state(path)
        finally:
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            os.write(writing, struct.pack("<q", (after - before) * 1024))
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        grown = struct.unpack("<q", pipe.read())[0]
    os.waitpid(child, 0)
    return int(grown)


def ext(code: int, content: object) -> msgspec.msgpack.Ext:
    """An extension of the codec with any content."""
    data = content if isinstance(content, bytes) else msgspec.msgpack.encode(content)
    return msgspec.msgpack.Ext(code, data)


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    """Something in itself in itself."""
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


TENSOR, ARRAY = 7, 5
PIECES: dict[str, bytes] = {
    "array of 2**32 items": b"\xdd\xff\xff\xff\xff",
    "mapping of 2**32 items": b"\xdf\xff\xff\xff\xff",
    "bytes of 4 GiB": b"\xc6\xff\xff\xff\xff",
    "lists in lists": b"\x91" * 1_000_000,
    "tuples in tuples": msgspec.msgpack.encode(nested(900, lambda value: ext(1, [value]))),
    "deep tuple that claims much": msgspec.msgpack.encode(
        nested(60, lambda value: ext(1, b"\xdd\x7f\xff\xff\xff" + msgspec.msgpack.encode(value)))
    ),
    "tensor of no bytes": msgspec.msgpack.encode(ext(TENSOR, ["float32", [2**40], b""])),
    "tensor of 0 by 2**62": msgspec.msgpack.encode(ext(TENSOR, ["float32", [-1, 2**62], b""])),
    "tensor of a function": msgspec.msgpack.encode(ext(TENSOR, ["load", [1], b"1234"])),
    "tensor of a module": msgspec.msgpack.encode(ext(TENSOR, ["os.system", [1], b"1234"])),
    "array of no bytes": msgspec.msgpack.encode(ext(ARRAY, ["<f8", [2**50], b""])),
    "array of objects": msgspec.msgpack.encode(ext(ARRAY, ["O", [1], b"12345678"])),
    "array of arrays": msgspec.msgpack.encode(ext(ARRAY, ["(1000000,1000000)f8", [0], b""])),
    "array of a sentence": msgspec.msgpack.encode(ext(ARRAY, ["what is this", [1], b"1"])),
    "set of lists": msgspec.msgpack.encode(ext(2, [[1]])),
    "mapping of threes": msgspec.msgpack.encode(ext(8, [[1, 2, 3]])),
    "unknown extension": msgspec.msgpack.encode(ext(99, 1)),
    "nothing": b"",
}


@pytest.mark.parametrize("name", PIECES)
def test_crafted_data_is_one_kind_of_error(tmp_path: Path, name: str) -> None:
    """Alone, as metadata or as a state: a ValueError of the codec, a CheckpointError of a file."""
    with pytest.raises(ValueError, match=r".+"):
        decode(PIECES[name])
    path = crafted(tmp_path / "a.state", PIECES[name])
    with pytest.raises(CheckpointError, match=r"a\.state cannot be decoded"):
        read_state(path)
    assert memory_of_reading(path) < 2**27


@pytest.mark.parametrize("count", [2, 60])
def test_a_small_file_cannot_hold_much(tmp_path: Path, count: int) -> None:
    """What shrinks without end is refused when it is larger than the file accounts for."""
    compressor = zstandard.ZstdCompressor(level=3)
    part = bytes(2**24)
    frames = compressor.compress(struct.pack("<Q", len(part) * count) + part)
    frames += b"".join(compressor.compress(part) for _ in range(count - 1))
    path = crafted(tmp_path / "a.state", frames=frames)
    assert path.stat().st_size < 2**20
    with pytest.raises(CheckpointError, match="holds much more than a file of its size"):
        read_state(path)
    assert memory_of_reading(path) < 2**27


def test_a_state_that_shrinks_well_is_read_again(tmp_path: Path) -> None:
    """Whatever was written can be read, also if nothing else than zeros is in it."""
    path = tmp_path / "a.state"
    state = {"zeros": bytes(10**8), "groups": [bytes(10**7)] * 3}
    write_state(path, state)
    assert path.stat().st_size < 10**6
    assert read_state(path) == state


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    """A pipe, a device or a folder: an error, and nothing waits for somebody to write."""
    os.mkfifo(tmp_path / "pipe.state")
    (tmp_path / "folder.state").mkdir()
    for path in (tmp_path / "pipe.state", tmp_path / "folder.state", Path("/dev/zero")):
        with pytest.raises(CheckpointError, match=r"cannot be read|not a regular file"):
            read_state(path)


def test_a_false_count_of_records_is_refused(tmp_path: Path) -> None:
    """Fewer, more or no records, and lengths that are none."""
    for lengths in ({"a": 2**62}, {"a": 2}, {"a": 0}, {"a": "x"}, {"a": None}, [1], {1: [2]}):
        path = crafted(tmp_path / "a.state", encode([{}, lengths]), b"one")
        with pytest.raises(CheckpointError, match="cannot be decoded"):
            read_state(path)
    heads: list[Any] = [[], [1], [{}, {}, {}], 5, [[1], {"a": 1}]]
    for head in heads:
        with pytest.raises(CheckpointError, match="cannot be decoded"):
            read_state(crafted(tmp_path / "a.state", encode(head), b"one"))


def test_depth_is_bounded_alike_on_both_ways() -> None:
    """What is nested too deeply to be read is not written."""
    for depth in range(1, 130):
        value = nested(depth, lambda inner: (inner,))
        if depth <= 65:
            assert decode(encode(value)) == value
        else:
            with pytest.raises(CannotStoreError, match="nested too deeply"):
                encode(value)
    for number in (0, 1, -1, 2**63, 2**64, -(2**63) - 1, 10**5000, -(10**5000)):
        assert decode(encode({"n": [number]})) == {"n": [number]}


def args_of(folder: Path) -> Any:
    """Arguments with everything on that keeps a state."""
    paths = [
        write_rows(
            folder / f"{name}.jsonl",
            ({"input": f"{name} {i}", "metadata": {"complexity_score": i}} for i in range(size)),
        )
        for name, size in SIZES.items()
    ]
    reward = {
        "type": "reward", "reward_threshold": 0.2, "initial_complexity_percentile": 30,
        "num_intervals": 3,
    }  # fmt: skip
    time = {
        "type": "time", "initial_complexity_percentile": 30, "final_complexity_percentile": 100,
        "complexity_warmup_steps": 10,
    }  # fmt: skip
    return arguments(
        folder, {}, prompt_data=paths, data_source_weights=[1, 2, 1], save=None, num_rollout=3,
        max_staleness=3, mixture_target="trained", data_source_adaptive={"update_frequency": 1},
        data_source_curricula=[reward, {**reward, "focus_new_intervals": True}, time],
        custom_rollout_log_function_path=(
            "curriculum_learning.custom_log.custom_rollout_log_function"
        ),
    )  # fmt: skip


def go_on(source: DataSource, rollouts: Iterator[int]) -> None:
    """Rollouts in which everything happens that can."""
    for rollout_id in rollouts:
        groups = source.get_samples(9)
        for number, sample in enumerate(sample for group in groups for sample in group):
            sample.reward = (number % 5) / 4
        source.add_samples([interrupt(group) for group in groups[:2]])
        source.observe(groups[6:7], fate="dropped")
        source.observe(groups[2:6], rollout_id=rollout_id, fate="trained")
        source.source_status()
        source.source_counts()
        source.state_dict()


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All places in nested data; of long lists the first ones."""
    yield at
    items: list[tuple[Any, Any]] = [*value.items()] if isinstance(value, dict) else []
    if isinstance(value, list):
        items = [*enumerate(value[:3])]
    for key, inner in items:
        yield from places(inner, (*at, key))


ODD: list[Any] = [
    None, True, -1, 0, 1, 7, 10**6, 2**31, 2**63, 2**70, -(2**70), 1.5, float("nan"),
    float("inf"), "", "x", "math", b"", b"\0" * 37, b"\x91" * 100, [], [1], [[]], {}, {"a": 1},
    {"x": {}}, [None] * 3, np.float64(2), (1, 2), {1}, {3: 4}, [[[[[[]]]]]],
]  # fmt: skip


@settings(max_examples=600, deadline=None, derandomize=True)
@given(st.data())
def test_a_state_with_anything_in_it_is_refused_or_gone_on_with(
    shared: tuple[Any, dict[str, Any]], data: st.DataObject
) -> None:
    """No value at any place is met later: refused at once, or served, reported and saved on."""
    args, state = shared
    state = copy.deepcopy(state)
    *outer, last = data.draw(st.sampled_from([at for at in places(state) if at]))
    inner = state
    for key in outer:
        inner = inner[key]
    if data.draw(st.integers(0, len(ODD))) == 0:
        del inner[last]
    else:
        inner[last] = data.draw(st.sampled_from(ODD))
    with contextlib.suppress(CheckpointError):
        describe(state)
    source = DataSource(args)
    before = source.state_dict()
    try:
        source.load_state_dict(state)
    except CheckpointError:
        assert source.state_dict() == before
        return
    with contextlib.suppress(CurriculumLearningError):  # such as weights that are all 0 now
        go_on(source, iter(range(7, 10)))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    """The arguments and the state of a run that has done everything."""
    args = args_of(tmp_path_factory.mktemp("crafted"))
    source = DataSource(args)
    go_on(source, itertools.islice(itertools.count(), 6))
    source.get_samples(3)
    source.update_metadata({"a": 1})
    return args, source.state_dict()
