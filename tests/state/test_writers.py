"""Who may write to a folder, and what a file system or a stranger can do about it."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from curriculum_learning import CheckpointError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.custom_log import custom_rollout_log_function
from curriculum_learning.state import lock
from curriculum_learning.state.checkpoint import read_state, write_state
from tests.harness import arguments, data_source

SIZES = {"math": 40, "code": 30}


def in_a_child(act: Callable[[], object]) -> str:
    """What an action says in a child process that was forked here: its result, or its error."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            said = str(act())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def test_a_folder_that_cannot_be_written_to_is_found_at_the_start(tmp_path: Path) -> None:
    """Before a prompt is served; nothing is made there by looking."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match=r"cannot be written to .*: Not a directory\)"):
        DataSource(arguments(tmp_path, SIZES, save=str(tmp_path / "file" / "states")))
    DataSource(arguments(tmp_path, SIZES, save=str(tmp_path / "new" / "states"))).close()
    assert not (tmp_path / "new").exists()


def test_a_run_is_told_when_it_begins_that_another_process_writes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not only at its first save; the other may end before."""
    first = data_source(tmp_path, SIZES)
    first.save(0)

    def begin() -> list[str]:
        caplog.clear()
        data_source(tmp_path, SIZES).load()
        return [text for text in caplog.messages if "It may end before" in text]

    assert "is being written to by process" in in_a_child(begin)
    first.close()
    assert in_a_child(begin) == "[]"


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    """A second data source is warned of and kept out, until the first one is closed or gone."""
    args = arguments(tmp_path, SIZES)
    first = DataSource(args)
    first.save(0)
    second = DataSource(arguments(tmp_path, SIZES))
    with pytest.raises(CheckpointError, match="written to by another data source of this process"):
        second.save(1)
    with pytest.raises(CheckpointError, match="written to by another data source of this process"):
        second.observe([], rollout_id=1, fate="trained")
    assert second.rollout_step == 0
    first.save(1)
    heir = DataSource(args)
    heir.load(1)
    heir.save(2)  # the run goes on there
    with pytest.raises(CheckpointError, match="written to by another data source of this process"):
        first.save(2)
    heir.close()
    del second, first
    again = DataSource(args)
    again.load(2)
    again.save(3)


def test_a_second_live_data_source_is_pointed_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two that save to one folder are a warning, when the second one is made."""
    first = data_source(tmp_path, SIZES)
    assert not caplog.records
    second = data_source(tmp_path, SIZES)
    assert "another data source of this process saves to" in caplog.text
    caplog.clear()
    first.close()
    second.close()
    data_source(tmp_path, SIZES, save=str(tmp_path / "other"))
    data_source(tmp_path, SIZES, save=None)
    data_source(tmp_path, SIZES)
    assert not caplog.records


def test_another_process_is_kept_out(tmp_path: Path) -> None:
    """The error names the process that writes; when that is killed the folder is free."""
    args = arguments(tmp_path, SIZES)
    program = (
        "import sys, time; from tests.harness import arguments; from pathlib import Path\n"
        "from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as Source\n"
        "source = Source(arguments(Path(sys.argv[1]), {'math': 40, 'code': 30}))\n"
        "source.save(0); print('saved', flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "saved\n"
    source = DataSource(args)
    source.load(0)
    with pytest.raises(CheckpointError, match=f"written to by process {child.pid} on"):
        source.save(1)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    source.save(1)


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link that was planted where a file is written to is replaced or refused."""
    args = arguments(tmp_path, SIZES)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = Path(args.save) / "rollout"
    folder.mkdir(parents=True)
    for name in (
        "curriculum_learning_0.state", "curriculum_learning_0.autosave",
        ".curriculum_learning_0.state.tmp", ".curriculum_learning_0.autosave.tmp",
    ):  # fmt: skip
        (folder / name).symlink_to(victim)
    source = DataSource(args)
    source.observe(source.get_samples(1), rollout_id=0, fate="trained")
    source.save(0)
    source.close()
    assert read_state(folder / "curriculum_learning_0.state")["rollout_id"] == 0
    (Path(args.save) / ".curriculum_learning.lock").unlink()
    (Path(args.save) / ".curriculum_learning.lock").symlink_to(victim)
    with pytest.raises(CheckpointError, match="symbolic link"):
        source.save(1)
    assert victim.read_text() == "precious"


def test_writers_of_one_file_do_not_damage_it(tmp_path: Path) -> None:
    """Processes that write one file at a time leave a whole one, and nothing else."""
    path = tmp_path / "a.state"
    children = []
    for number in range(4):
        if (child := os.fork()) == 0:
            code = 1
            try:
                for _ in range(40):
                    write_state(path, {"writer": number, "data": bytes([number]) * 50_000})
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    while children:
        if path.exists():
            state = read_state(path)
            assert state["data"] == bytes([state["writer"]]) * 50_000
        done, status = os.waitpid(children[0], os.WNOHANG)
        if done:
            assert status == 0
            children.pop(0)
    assert os.listdir(tmp_path) == ["a.state"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
@pytest.mark.parametrize("of", ["folders", "everything"])
def test_a_file_system_without_fsync_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, of: str
) -> None:
    """What a file system does not have is done without; what it fails at is an error."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if of == "everything" or os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    source = data_source(tmp_path, SIZES)
    source.save(0)
    resumed = data_source(tmp_path, SIZES)
    resumed.load(0)
    code = errno.EIO
    with pytest.raises(CheckpointError, match="Input/output error"):
        source.save(1)


def test_a_file_system_without_locks_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where there are no locks a warning asks for care."""

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    source = data_source(tmp_path, SIZES)
    source.save(0)
    assert "a file system without locks" in caplog.text


def test_a_platform_without_locks_has_a_lock_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the file itself is the lock, and the error says what to remove after a kill."""
    monkeypatch.setattr(lock, "fcntl", None)
    first = data_source(tmp_path, SIZES)
    first.save(0)
    second = data_source(tmp_path, SIZES)
    with pytest.raises(CheckpointError, match=r"if that process is gone, remove .*\.lock"):
        second.save(0)
    first.close()
    second.load(0)
    second.save(1)


def test_a_forked_child_has_a_data_source_of_its_own(tmp_path: Path) -> None:
    """It goes on where the parent was, may not write beside it, and leaves its lock alone."""
    source = data_source(tmp_path, SIZES)
    source.observe(source.get_samples(2), rollout_id=0, fate="trained")
    assert in_a_child(lambda: source.get_samples(1)[0][0].group_index) == "2"
    assert f"written to by process {os.getpid()}" in in_a_child(lambda: source.save(0))
    log = lambda: custom_rollout_log_function(1, source.args, [], {}, 1.0)  # noqa: E731 - a case
    assert "CheckpointError: save" in in_a_child(log)
    source.save(0)
    source.close()
    assert in_a_child(lambda: data_source(tmp_path, SIZES).load(0)) == "None"


def test_a_fork_at_a_bad_moment_is_said(tmp_path: Path) -> None:
    """If another thread is inside, the copy in the child is torn: an error, and no deadlock."""
    inside, leave = threading.Event(), threading.Event()

    def slow(args: Any, rollout_id: None, buffer: list[Any], room: int) -> list[Any]:
        inside.set()
        leave.wait(30)
        return []

    source = data_source(tmp_path, SIZES, buffer_filter_path=slow)
    source.add_samples(source.get_samples(1))
    thread = threading.Thread(target=source.get_samples, args=(1,))
    thread.start()
    inside.wait(30)
    for act in (
        lambda: source.get_samples(1), lambda: source.state_dict(), lambda: source.save(0),
        lambda: source.observe([], fate="trained"), lambda: source.rollout_step,
    ):  # fmt: skip
        assert "ConfigurationError: the process was forked while" in in_a_child(act)
    assert in_a_child(lambda: len(data_source(tmp_path, SIZES, save=None).get_samples(1))) == "1"
    leave.set()
    thread.join()
    assert source.get_samples(1)


def test_the_lock_goes_with_the_process_that_took_it(tmp_path: Path) -> None:
    """A child that outlives its parent does not keep the folder locked."""
    args = arguments(tmp_path, SIZES)
    program = (
        "import os, sys, time; from tests.harness import arguments; from pathlib import Path\n"
        "from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as Source\n"
        "source = Source(arguments(Path(sys.argv[1]), {'math': 40, 'code': 30}))\n"
        "source.save(0)\n"
        "if (child := os.fork()) == 0: time.sleep(60)\n"
        "print(child, flush=True); os._exit(0)\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stdout is not None
    child = int(run.stdout.readline())
    run.wait()
    source = DataSource(args)
    source.load(0)
    source.save(1)
    os.kill(child, signal.SIGKILL)
    run.stdout.close()


@pytest.mark.parametrize("copies", [copy.deepcopy, copy.copy, pickle.dumps])
def test_a_data_source_is_not_copied(tmp_path: Path, copies: Callable[[Any], Any]) -> None:
    """Two copies would serve the same groups; the error says what to do instead."""
    source = data_source(tmp_path, SIZES)
    with pytest.raises(TypeError, match=r"Send args .*ray_service.*state_dict"):
        copies(source)
    assert source.get_samples(1)
