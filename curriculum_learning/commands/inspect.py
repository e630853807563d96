"""``inspect``: shows what is in saved states. It reads them as plain data and runs no code."""

from __future__ import annotations

import argparse
import datetime
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curriculum_learning.commands.arguments import WELL, WRONG
from curriculum_learning.commands.inspected_rows import show_rows, statistics_of
from curriculum_learning.commands.terminal import show, show_json, show_table
from curriculum_learning.errors import CheckpointError
from curriculum_learning.groups.served import listed
from curriculum_learning.mixing.ledger import WHOLE
from curriculum_learning.samples.codec import decode
from curriculum_learning.service.account import TABLES, read_service
from curriculum_learning.service.database import FORMAT, Database
from curriculum_learning.state.checkpoint import VERSION, Stamp, read_state, stamp_of
from curriculum_learning.state.shape import check_types

_NAME = re.compile(r"^curriculum_learning_(\d+)\.(state|autosave)$")


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit code.

    Raises:
        CheckpointError: As ``look_at``.
    """
    found = look_at(Path(options.checkpoint))
    if options.json:
        show_json(found)
    else:
        for state in found["states"]:
            verdict = state["problem"] or f"intact, format {state['format']}"
            show(f"{state['file']}  {state['bytes']} bytes  {state['written']}  {verdict}")
        if found["latest"] is not None:
            show()
            _show(found["latest"])
    return WRONG if any(state["problem"] for state in found["states"]) else WELL


def look_at(path: Path) -> dict[str, Any]:
    """Reads a state file, or all states in a folder or in its ``rollout/``.

    Returns:
        ``states``: for each file ``file``, ``rollout_id`` (by its name), ``kind``, ``bytes``,
        ``written`` (ISO 8601), ``format`` and ``problem`` (None if it is intact).
        ``latest``: what ``describe`` returns for the intact one written last, or None.

    Raises:
        CheckpointError: There is no such file, or no state in the folder; or ``path`` is a file
            that cannot be read.
    """
    states, latest = [], None
    for file in _files(path):
        problem: str | None = None
        try:
            status = file.stat()
            is_database = file.suffix == ".sqlite"
            state = _read_database(file) if is_database else read_state(file)
            latest = {"file": str(file), **describe(state)}
        except FileNotFoundError:  # the run has just removed it
            continue
        except CheckpointError as error:
            if not path.is_dir():
                raise
            problem = str(error)
        match = _NAME.match(file.name)
        stamp = stamp_of(file) or Stamp()
        states.append(
            {
                "file": str(file),
                "rollout_id": int(match[1]) if match else None,
                "kind": match[2] if match else None,
                "bytes": status.st_size,
                "written": _time(status.st_mtime_ns if is_database else stamp.written_at),
                "format": None if problem else FORMAT if is_database else VERSION,
                "problem": problem,
            }
        )
    return {"states": states, "latest": latest}


def _files(path: Path) -> list[Path]:
    """Lists state files, the one written last at the end."""
    if path.is_file():
        return [path]
    if path.is_dir():
        folder = path / "rollout" if (path / "rollout").is_dir() else path
        files = [file for file in folder.iterdir() if _NAME.match(file.name) and file.is_file()]
        if files:
            return sorted(files, key=lambda file: ((stamp_of(file) or Stamp()).counter, file.name))
        problem = (
            f"{path} has no states (curriculum_learning_*.state or .autosave, there or in "
            f"rollout/); give the folder that the run has as save"
        )
    elif path.exists():
        problem = f"{path} is no file"
    else:
        problem = (
            f"there is no file or folder {path}; give a state, or the folder that the run has as "
            f"save"
        )
    raise CheckpointError(problem, key="CHECKPOINT", value=str(path))


def _read_database(path: Path) -> dict[str, Any]:
    """Reads the database of a Ray service, which may be in use: its state, with ``clients``."""
    log = path.with_name(f"{path.name}-wal")
    with tempfile.TemporaryDirectory() as folder:
        written = None
        while written != path.stat().st_mtime_ns:  # the log has moved into the file meanwhile
            written = path.stat().st_mtime_ns
            for file in (path, log) if log.exists() else (path,):
                shutil.copy(file, folder)
        database = Database(Path(folder) / path.name, "inspect", TABLES, resume=True)
        try:
            state = read_service(database, 0.0)
        finally:
            database.close()
    clients = state["clients"].items()
    leased = {f"{client.label}/{name}": {"leased": len(client.groups)} for name, client in clients}
    return {**state, "clients": leased}


def describe(state: Mapping[str, Any]) -> dict[str, Any]:
    """Summarises a state as plain data.

    Returns:
        ``rollout_id``, ``step`` (the next one), ``groups`` (counts by fate), ``settings``,
        ``metadata`` (its keys), ``rule`` (the source rule), and ``sources``: for each its rows,
        whether it is ``endless`` (rows and epochs are then those of its levels), ``epoch``,
        ``offset``, ``drawn``, ``credit`` (groups that the ledger owes it), the kind of its
        ``curriculum``, ``level`` and ``ema``, ``statistics`` of its rows, ``waiting``,
        ``in_flight``, ``presumed``, and ``fates`` if the state counts them by source. For the
        database of a Ray service also ``clients``: for each, groups ``leased``.

    Raises:
        CheckpointError: It is no state of a data source.
    """
    try:
        return _describe(state)
    except Exception as error:  # whatever was put into the file, it is one kind of error
        raise CheckpointError(
            f"the file is intact, but this is not a state of a data source: {error!r}; a sampler's "
            f"state is in the loader's own checkpoint",
            key="CHECKPOINT",
        ) from error


def _describe(state: Mapping[str, Any]) -> dict[str, Any]:
    identity, groups = state["identity"], state["groups"]
    clock, mixture = state["clock"], state["mixture"]
    check_types(state)
    in_flight, presumed = listed(groups["in_flight"]), listed(groups["presumed"])
    sources = {}
    for name, place in mixture.get("sources", {}).items():
        fingerprint = identity["sources"].get(name, {})
        curriculum = place.get("curriculum") or {"kind": None, "state": {}}
        learned = curriculum["state"]
        sources[name] = {
            "rows": fingerprint.get("rows"),
            "endless": fingerprint.get("rows", 0) is None,
            "served_rows": fingerprint.get("served_rows"),
            "hash": fingerprint.get("hash"),
            "epoch": place.get("epoch"),
            "offset": place.get("offset"),
            "epoch_rows": place.get("rows"),
            "drawn": place["drawn"],
            "credit": place["credit"] / WHOLE,
            "curriculum": curriculum["kind"],
            "level": learned.get("level"),
            "ema": learned.get("ema"),
            "statistics": statistics_of(place.get("statistics")),
            "waiting": sum(entry[1] == name for entry in state["waiting"]),
            "in_flight": sum(entry[1] == name for entry in in_flight),
            "presumed": sum(entry[1] == name for entry in presumed),
            "fates": {
                fate: count.get(name, 0)
                for fate, count in groups["counts"].items()
                if isinstance(count, Mapping)
            },
        }
    return {
        "rollout_id": state.get("rollout_id"),
        "step": clock["step"] if clock["override"] is None else clock["override"],
        "told": clock["told"],
        "groups": {
            "ids": groups["next_group"],
            "waiting": len(state["waiting"]),
            "in_flight": len(in_flight),
            **{fate: _total(count) for fate, count in groups["counts"].items()},
        },
        "accounting": groups["accounting"],
        "generated": len(state["generated"]),
        "generated_bytes": sum(map(len, state["generated_data"])),
        "settings": {key: value for key, value in identity.items() if key != "sources"},
        "metadata": sorted(map(str, decode(state["metadata"]))),
        "rule": mixture.get("rule"),
        "sources": sources,
        "clients": state.get("clients"),
    }


def _total(count: Any) -> int:
    """Sums a count of groups, which may be by source."""
    return int(sum(count.values()) if isinstance(count, Mapping) else count)


def _show(found: Mapping[str, Any]) -> None:
    settings = ", ".join(f"{key}={value}" for key, value in found["settings"].items())
    show(f"{found['file']}: rollout {found['rollout_id']}, goes on at step {found['step']}")
    show(f"settings: {settings}")
    counts = [f"{n} {fate.replace('_', ' ')}" for fate, n in found["groups"].items() if n]
    show(f"groups: {', '.join(counts) or 'none yet'}")
    if found["generated"]:
        show(
            f"{found['generated']} of them have begun; what they have generated takes "
            f"{found['generated_bytes']} bytes"
        )
    if not found["accounting"]:
        show("nothing told which groups were trained: those in flight are not served again")
    if found["metadata"]:
        show(f"metadata: {', '.join(found['metadata'])}")
    rule = found["rule"]
    if rule is not None and rule["kind"] == "AdaptiveWeights":
        emas = rule["sources"].items()
        show("reward averages: " + ", ".join(f"{name} {_short(ema)}" for name, (ema, _) in emas))
    elif rule is not None:
        show(f"source rule: {rule['kind']}")
    columns = ["epoch", "drawn", "credit", "level", "ema", "waiting", "in_flight", "presumed"]
    rows = [
        [
            name,
            "endless" if source["endless"] else f"{source['offset']} of {source['epoch_rows']}",
            *(
                "-" if column == "epoch" and source["endless"] else _short(source[column])
                for column in columns
            ),
        ]
        for name, source in found["sources"].items()
    ]
    show_table(["source", "row of epoch", *(column.replace("_", " ") for column in columns)], rows)
    show_rows(found["sources"])
    if found["clients"]:
        clients = [[name, str(client["leased"])] for name, client in found["clients"].items()]
        show_table(["client", "leased"], clients)


def _short(value: Any) -> str:
    if value is None:
        return "-"
    return f"{round(value, 6) + 0.0:.3g}" if isinstance(value, float) else str(value)


def _time(nanoseconds: int) -> str | None:
    if not nanoseconds:
        return None
    when = datetime.datetime.fromtimestamp(nanoseconds // 10**9, datetime.timezone.utc)
    return when.isoformat()
