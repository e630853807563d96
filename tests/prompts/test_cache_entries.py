"""Whose entries of the cache are read, and when they are made again or removed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from curriculum_learning.prompts import cache
from curriculum_learning.prompts.cache import Cache
from curriculum_learning.prompts.prompts import Prompts
from tests.prompts.test_cache import large_file, read_all, source_config
from tests.prompts.test_cache import looks as looks  # a fixture


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_entries_are_for_their_owner_only(tmp_path: Path) -> None:
    """Folders have mode 0700, and files no more permissions than a file that its owner reads."""
    Prompts(source_config(large_file(tmp_path)), cache=Cache(tmp_path / "new" / "cache"))
    assert (tmp_path / "new" / "cache").stat().st_mode & 0o777 == 0o700
    for entry in _entries(tmp_path / "new" / "cache"):
        assert entry.stat().st_mode & 0o777 == 0o700
        assert {file.stat().st_mode & 0o777 for file in entry.iterdir()} == {0o400}


def test_an_entry_that_others_can_write_is_not_trusted(
    tmp_path: Path,
    looks: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nor one of another user, nor a link to a folder."""
    path, folder = large_file(tmp_path), tmp_path / "cache"
    cache = Cache(folder)
    Prompts(source_config(path), cache=cache)
    for entry in _entries(folder):
        entry.chmod(0o777)
    Prompts(source_config(path), cache=cache)
    assert looks == ["_index", "_look_through"] * 2
    for entry in _entries(folder):
        entry.chmod(0o700)
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 12345)
        Prompts(source_config(path), cache=cache)
    assert looks == ["_index", "_look_through"] * 3
    assert "is not used: it belongs to another user" in caplog.text
    Prompts(source_config(path), cache=cache)
    assert len(looks) == 6


def _change(file: Path, place: int) -> None:
    """Changes a byte of a file; size, and the time of the last change of the content, stay."""
    status = file.stat()
    file.chmod(0o600)
    with open(file, "r+b") as content:
        content.seek(place)
        byte = content.read(1)[0] ^ 1
        content.seek(place)
        content.write(bytes([byte]))
    file.chmod(0o400)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_forged_entry_is_found(tmp_path: Path, looks: list[str]) -> None:
    """An array that loads but is not the one that was written is made again."""
    path, folder = large_file(tmp_path), tmp_path / "cache"
    cache = Cache(folder)
    expected = read_all(Prompts(source_config(path), cache=cache))
    for file in folder.glob("*/array.npy"):
        _change(file, file.stat().st_size - 9)
    assert read_all(Prompts(source_config(path), cache=cache)) == expected
    assert looks.count("_index") == 2


def test_any_byte_of_a_large_file_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file of 80 MB of which one byte was changed is no entry any more."""
    cache = Cache(tmp_path / "cache")
    with cache.writing({"what": "x"}) as folder:
        assert folder is not None
        with open(folder / "rows", "wb") as file:
            file.truncate(80_000_000)
    with cache.reading({"what": "x"}) as folder:
        assert folder is not None
    _change(folder / "rows", 43_210_987)
    with cache.reading({"what": "x"}) as folder:
        assert folder is None
    assert "rows has changed since it was written" in caplog.text


def test_a_copied_entry_is_read_in_full_once(
    tmp_path: Path, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of the cache serves as well; its files are hashed at the first start only."""
    path, folder = large_file(tmp_path), tmp_path / "cache"
    Prompts(source_config(path), cache=Cache(folder))
    shutil.copytree(folder, tmp_path / "copy")
    hashed: list[Path] = []
    hash_of = cache._hash_of

    def noted(path: Path) -> str:
        hashed.append(path)
        return hash_of(path)

    monkeypatch.setattr(cache, "_hash_of", noted)
    for _ in range(2):
        Prompts(source_config(path), cache=Cache(tmp_path / "copy"))
        assert len(hashed) == 4
    assert looks == ["_index", "_look_through"]


def test_litter_and_old_entries_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What killed starts and old versions left goes, other files stay; the oldest make room."""
    folder = tmp_path / "cache"
    digest = "0" * 32
    for name in (
        f".{digest}.x",
        f".v4-{digest}.new",
        digest,
        f"v3-{digest}",
        f"v4-{digest}",
        "mine",
    ):
        (folder / name).mkdir(parents=True)
    (folder / f"v4-{digest}" / "array.npy").write_bytes(b"x" * 10**6)
    for name in (f".{digest}.x", f"v4-{digest}"):
        os.utime(folder / name, (0, 0))
    (folder / f"v4-{digest}" / "array.npy").touch()
    Prompts(source_config(large_file(tmp_path)), cache=Cache(folder))
    names = {path.name for path in folder.iterdir()}
    assert {f".v4-{digest}.new", f"v4-{digest}", "mine"} < names
    assert not {f".{digest}.x", digest, f"v3-{digest}"} & names
    monkeypatch.setattr("curriculum_learning.prompts.cache._MOST_BYTES", 10**6)
    Prompts(source_config(large_file(tmp_path), label_key="input"), cache=Cache(folder))
    assert not (folder / f"v4-{digest}").exists()
    assert (folder / "mine").exists()
