"""Prompt files on other machines: memory file systems and a local server, with faults."""

from __future__ import annotations

import http.server
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest

from curriculum_learning import DataError
from curriculum_learning import MultipleWeightedRolloutDataSourceWithBuffer as DataSource
from curriculum_learning.prompts.cache import Cache
from curriculum_learning.prompts.opening import open_rows
from tests.harness import check_resume
from tests.prompts.files.test_files import LARGE, PACKINGS, ROWS, WRITERS, write


@pytest.fixture
def memory() -> Iterator[Any]:
    """An empty file system in memory."""
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True) if system.ls("/") else None
    system.store.clear()


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", WRITERS)
def test_a_remote_file_is_as_a_local_one(
    tmp_path: Path, memory: Any, kind: str, packing: str
) -> None:
    """Every kind of file gives the same rows and fingerprint, and slices."""
    path = write(tmp_path, kind, packing, LARGE)
    url = f"memory://bucket/{path.name}"
    memory.pipe_file(f"/bucket/{path.name}", path.read_bytes())
    cache = Cache(tmp_path / "cache")
    opened, local = open_rows(url, "s", cache), open_rows(str(path), "s", cache)
    assert opened.records(range(len(LARGE))) == LARGE
    assert opened.fingerprint == local.fingerprint
    assert open_rows(f"{url}@[-3:]", "s", cache).records([0]) == LARGE[-3:-2]
    assert opened.where(0).startswith(f"/bucket/{path.name}")


def test_remote_shards_are_one_source(tmp_path: Path, memory: Any) -> None:
    """A folder and a glob on another machine are shards, by name; a missing one is an error."""
    for number in range(3):
        path = write(tmp_path, "jsonl", ".gz", ROWS[number * 5 :][:5], f"p-{number}-of-3")
        memory.pipe_file(f"/set/{path.name}", path.read_bytes())
    memory.pipe_file("/set/README.md", b"rows")
    cache = Cache(tmp_path / "cache")
    for url in ("memory://set", "memory://set/*.gz"):
        assert open_rows(url, "s", cache).records(range(15)) == ROWS[:15]
    memory.rm("/set/p-1-of-3.jsonl.gz")
    with pytest.raises(DataError, match="lacks 1 of 3 shards"):
        open_rows("memory://set", "s", cache)


class Server(http.server.BaseHTTPRequestHandler):
    """Serves files from a mapping, with faults."""

    files: ClassVar[dict[str, bytes]]
    asked: ClassVar[Counter[str]]
    cuts = 0
    """So many answers are cut off."""
    changes = False
    """A file has another tag after it was sent."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        content = self._answer()
        if content is None:
            return
        kind = type(self)
        if kind.cuts:
            kind.cuts -= 1
            content = content[: len(content) // 2]
            self.close_connection = True
        self.wfile.write(content)
        if kind.changes:
            kind.files[self.path] += b"\n"

    def _answer(self) -> bytes | None:
        content = self.files.get(self.path)
        self.asked[self.command] += 1
        if content is None:
            self.send_error(404)
            return None
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", str(hash(content)))
        self.end_headers()
        return content

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[tuple[type[Server], str]]:
    """The handler of a server on this machine, and its address."""

    class Serving(Server):
        files: ClassVar[dict[str, bytes]] = {"/rows.jsonl": _lines()}
        asked: ClassVar[Counter[str]] = Counter()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Serving) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield Serving, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def _lines() -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in LARGE)


def test_a_file_is_fetched_once(tmp_path: Path, server: tuple[type[Server], str]) -> None:
    """Later starts only ask whether it is the same; another content is fetched again."""
    handler, address = server
    cache = Cache(tmp_path / "cache")
    for _ in range(3):
        opened = open_rows(f"{address}/rows.jsonl", "s", cache)
        assert len(opened) == len(LARGE)
    assert handler.asked["GET"] == 1
    handler.files["/rows.jsonl"] = handler.files["/rows.jsonl"].replace(b"0 xxx", b"0 yyy")
    again = open_rows(f"{address}/rows.jsonl", "s", cache)
    assert again.row(0)["input"].startswith("0 yyy")
    assert again.fingerprint != opened.fingerprint
    assert handler.asked["GET"] == 2


def test_a_transfer_that_is_cut_off_is_tried_again(
    tmp_path: Path, server: tuple[type[Server], str]
) -> None:
    """Half a file is never used: it comes whole at the third try, or is an error."""
    handler, address = server
    handler.cuts = 2
    cache = Cache(tmp_path / "cache")
    assert len(open_rows(f"{address}/rows.jsonl", "s", cache)) == len(LARGE)
    handler.cuts = 3
    handler.files["/rows.jsonl"] += b"\n"
    with pytest.raises(DataError, match="cannot be fetched, tried 3 times"):
        open_rows(f"{address}/rows.jsonl", "s", cache)


def test_a_file_that_changes_meanwhile_is_an_error(
    tmp_path: Path, server: tuple[type[Server], str]
) -> None:
    """A file that is written while it is fetched is not used."""
    handler, address = server
    handler.changes = True
    with pytest.raises(DataError, match="it has changed meanwhile"):
        open_rows(f"{address}/rows.jsonl", "s", Cache(tmp_path / "cache"))
    handler.changes = False
    assert len(open_rows(f"{address}/rows.jsonl", "s", Cache(tmp_path / "cache"))) == len(LARGE)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("{address}/gone.jsonl", "does not exist"),
        ("http://127.0.0.1:9/rows.jsonl", "cannot be fetched, tried 3 times"),
        ("nowhere://rows.jsonl", "at no place that fsspec knows"),
        ("memory://no/*.jsonl", "matches no file"),
        ("memory://no.jsonl", "does not exist"),
    ],
)
def test_what_cannot_be_fetched_is_said(
    tmp_path: Path, server: tuple[type[Server], str], url: str, problem: str
) -> None:
    """A dead server, a missing file and an unknown place are errors with source and URL."""
    with pytest.raises(DataError, match=problem) as raised:
        open_rows(url.format(address=server[1]), "math", Cache(tmp_path / "cache"))
    assert "'math'" in str(raised.value)
    assert raised.value.key == "prompt_data"


def test_without_a_cache_nothing_is_fetched(server: tuple[type[Server], str]) -> None:
    """There is no place for the file, and the error says what to set."""
    with pytest.raises(DataError, match="set data_source_cache"):
        open_rows(f"{server[1]}/rows.jsonl", "s")


def test_a_run_over_remote_files_resumes_exactly(tmp_path: Path, memory: Any) -> None:
    """Cut anywhere, a run over remote files goes on as if it had not been."""
    for number in range(2):
        path = write(tmp_path, "jsonl", ".zst", ROWS[number * 9 :][:9], f"part-{number}")
        memory.pipe_file(f"/set/{path.name}", path.read_bytes())
    args = {
        "prompt_data": "memory://set",
        "rollout_shuffle": True,
        "data_source_cache": str(tmp_path / "cache"),
    }

    def serve(source: DataSource, step: int) -> list[str]:
        return [group[0].prompt for group in source.get_samples(2 + step)]

    check_resume(lambda: DataSource(args), serve, 5, tmp_path)
