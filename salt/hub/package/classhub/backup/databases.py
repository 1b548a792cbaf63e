"""SQLite databases that are in use: copied by SQLite itself, each proved to be whole, and put back.

A copy of the files could be of two moments, and such a database is broken.
"""

import grp
import json
import os
import pwd
import sqlite3
import stat
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from classhub.backup import record
from classhub.backup.settings import Settings
from classhub.course.ledger import fsync_dir, private
from classhub.course.report import Refused

WAIT = 120  # seconds that a copy waits for somebody who writes
COMPANIONS = ("", "-wal", "-shm", "-journal")
MANIFEST = "manifest.json"


def staged_name(path: Path) -> str:
    """The name of a database's copy: its path, as one word."""
    return str(path).strip("/").replace("/", "--")


def copy_all(settings: Settings) -> dict[str, str]:
    """Copy every database into an empty stage, with a list of them and of this host's accounts.

    Returns:
        the database's path -> outcome.
    """
    stage = settings.stage
    stage.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in stage.iterdir():
        left.unlink()
    outcomes, copied = {}, {}
    for path in settings.databases:
        if not path.exists():
            outcomes[str(path)] = "skipped: is not there yet"
            continue
        try:
            copy(path, stage / staged_name(path))
        except (sqlite3.Error, OSError) as error:
            (stage / staged_name(path)).unlink(missing_ok=True)
            outcomes[str(path)] = f"failed: was not saved: {error}; the snapshots before have it"
            continue
        found = path.stat()
        copied[str(path)] = {
            "copy": staged_name(path),
            "uid": found.st_uid,
            "gid": found.st_gid,
            "mode": stat.S_IMODE(found.st_mode),
        }
        outcomes[str(path)] = "done: saved, and whole"
    lacking = {path: told for path, told in outcomes.items() if path not in copied}
    record.write(
        stage / MANIFEST, {"databases": copied, "lacking": lacking, "accounts": accounts()}
    )
    return outcomes


def copy(path: Path, target: Path) -> None:
    """Copy a database while others write to it.

    Raises:
        sqlite3.Error: it is no database, is damaged, or somebody kept it locked for too long.
    """
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    # rw: what a killed writer left half done has to be undone first; never made where there is none
    with (
        closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=WAIT)) as source,
        closing(sqlite3.connect(target)) as copied,
    ):
        source.backup(copied, progress=_patience(time.monotonic() + WAIT))
        # of the copy alone: one file, which is whole without a journal
        copied.execute("pragma journal_mode = delete")
        told = copied.execute("pragma quick_check").fetchall()
    if told != [("ok",)]:
        raise sqlite3.DatabaseError(f"is damaged: {told[0][0]}")


def _patience(until: float) -> Callable[[int, int, int], None]:
    """Python's backup() tries for ever while somebody else has the database."""

    def progress(status: int, _remaining: int, _total: int) -> None:
        busy = status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        if busy and time.monotonic() > until:
            raise sqlite3.OperationalError(f"somebody has kept it locked for {WAIT} seconds")

    return progress


def check(path: Path) -> None:
    """Prove that a copy is whole.

    Raises:
        sqlite3.Error: it is not.
    """
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        told = database.execute("pragma quick_check").fetchall()
    if told != [("ok",)]:
        raise sqlite3.DatabaseError(f"is damaged: {told[0][0]}")


def accounts() -> dict[str, dict[str, int]]:
    """The host's own accounts and groups, whose numbers are others on another host."""
    return {
        "users": {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()},
        "groups": {entry.gr_name: entry.gr_gid for entry in grp.getgrall()},
    }


def manifest(stage: Path) -> dict:
    """What `copy_all` wrote.

    Raises:
        Refused: it is not there, or cannot be read.
    """
    try:
        return json.loads((stage / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refused(f"{stage / MANIFEST} cannot be read: {error}") from error


def put_back(stage: Path, entry: dict, path: Path) -> None:
    """Put a copy in the place of its database, with the owner and the rights that that had.

    Raises:
        sqlite3.Error, OSError: it is not whole, or there is no room; what was there is still there.
    """
    check(stage / entry["copy"])
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with (
        open(stage / entry["copy"], "rb") as source,
        open(beside, "xb", opener=private) as target,
    ):
        while part := source.read(1 << 20):
            target.write(part)
        target.flush()
        os.fchown(target.fileno(), entry["uid"], entry["gid"])
        os.fchmod(target.fileno(), entry["mode"])
        os.fsync(target.fileno())
    for companion in COMPANIONS[1:]:
        path.with_name(path.name + companion).unlink(missing_ok=True)
    beside.replace(path)
    fsync_dir(path.parent)
