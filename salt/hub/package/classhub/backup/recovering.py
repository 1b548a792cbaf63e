"""The verb `recover`: a whole class on a new hub."""

import fcntl
import json
import os
import re
import shutil
import sqlite3
import stat
from argparse import _SubParsersAction
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from classhub.backup import databases, guard, record, scratch
from classhub.backup.restic import CLASS, Restic, Snapshot
from classhub.backup.settings import Settings
from classhub.backup.snapshots import chosen, shown
from classhub.backup.walking import below
from classhub.course.report import Refused, Report, tell
from classhub.course.settings import LEAST_UID

ROOM = 1 << 30
LIVES = "this hub has a class already ({what}); nothing was restored. Recover onto a new host, before it is deployed"
BEGUN = (
    "a recovery of {name} was begun on this hub; say classhub.recover without at, which ends it. For another snapshot "
    "begin again with an empty host"
)
LACKS = (
    "the snapshot {name} lacks databases ({what}); nothing was restored. Take an older one (at=...), or this one without "
    "them (at={name})"
)
MISSING = "this host lacks accounts that files of the class belong to ({names}): apply the state backup to it first"


class Content(NamedTuple):
    """What is in a snapshot.

    Attributes:
        files: how many
        size: bytes of them
        uids, gids: whose they are
    """

    files: int
    size: int
    uids: set[int]
    gids: set[int]


class Numbers(NamedTuple):
    """Old number -> this host's, of the accounts and groups that have others here."""

    uids: dict[int, int]
    gids: dict[int, int]


def add_commands(verbs: _SubParsersAction) -> None:
    parser = verbs.add_parser("recover", help="bring the whole class to a new hub")
    parser.add_argument("--at", default="", help="a time, or a snapshot")
    parser.add_argument("--test", action="store_true", help="only say what would be done")
    parser.set_defaults(run=lambda settings, words: recover(settings, words.at, words.test))


def recover(settings: Settings, at: str = "", test: bool = False) -> Report:
    """Restore everything, with its owners, and put the databases in their places.

    A run that was killed is done again from its beginning, with the same snapshot. Files that cannot be restored do not
    keep the others from it.
    """
    with guard.held(settings, "work", fcntl.LOCK_EX), guard.reading(settings) as restic:
        begun = _begun(settings)
        if not begun and (what := in_the_way(settings)):
            raise Refused(LIVES.format(what=", ".join(what)))
        snapshot = _chosen(settings, restic.snapshots(), begun, at)
        manifest = _manifest(restic, snapshot)
        lost = _lost(restic, snapshot, manifest)
        if lost and not (begun or (at and snapshot.id.startswith(at))):
            what = ", ".join(f"{path}: {why}" for path, why in lost.items())
            raise Refused(LACKS.format(name=snapshot.name, what=what))
        content = content_of(restic, snapshot)
        numbers = renumbering(manifest["accounts"], content)
        _check_room(settings, content)
        kept = {path: one for path, one in manifest["databases"].items() if path not in lost}
        told = (
            f"{content.files} files, {content.size >> 20} MiB, of {shown(snapshot.time, settings)}"
        )
        summary = {"snapshot": snapshot.name}
        if test:
            table = {"files": f"done: would restore {told}"}
            table |= dict.fromkeys(kept, "done: would be put back")
        else:
            tell(f"recover: restoring {told}")
            table = {"files": f"done: restored {told}"} | _restored(restic, snapshot, kept, numbers)
            if not _begun(settings):
                summary["next"] = "salt-run classhub.deploy"
        table |= manifest.get("lacking", {}) | {
            path: f"failed: {why}" for path, why in lost.items()
        }
    return Report(table, summary)


def _restored(
    restic: Restic, snapshot: Snapshot, kept: dict[str, dict], numbers: Numbers
) -> dict[str, str]:
    """Bring everything to its place; what became of each database, and of what could not be restored."""
    settings = restic.settings
    if _begun(settings):
        _make_way(restic, snapshot)
    record.write(guard.recovering(settings), {"snapshot": snapshot.id})
    failed = restic.restore(snapshot, Path("/"))
    _renumber(snapshot, numbers)
    outcomes = _put_back(settings, kept, numbers)
    if not Report(outcomes).failed:
        guard.recovering(settings).unlink()
        guard.opened(restic, _class_of(snapshot))
    return outcomes | {name: f"failed: {why}" for name, why in failed.items()}


def _manifest(restic: Restic, snapshot: Snapshot) -> dict:
    name = str(restic.settings.stage / databases.MANIFEST)
    return json.loads(restic.run("dump", "--no-lock", snapshot.id, name).stdout)


def _lost(restic: Restic, snapshot: Snapshot, manifest: dict) -> dict[str, str]:
    """The databases that a snapshot should have and does not have whole, and why.

    One that was not there yet is none of them.
    """
    settings, lacking = restic.settings, manifest.get("lacking", {})
    lost = {
        path: lacking.get(path, "is not in it").removeprefix("failed: ")
        for path in map(str, settings.databases)
        if path not in manifest["databases"] and not lacking.get(path, "").startswith("skipped")
    }
    with scratch.directory(settings) as top:
        failed = restic.restore(snapshot, top, [settings.stage])
        for path, entry in manifest["databases"].items():
            copy = settings.stage / entry["copy"]
            try:
                if why := failed.get(str(copy)):
                    raise OSError(why)
                databases.check(top / str(copy).lstrip("/"))
            except (sqlite3.Error, OSError) as error:
                lost[path] = str(error)
    return lost


def _begun(settings: Settings) -> str:
    """The snapshot of a recovery that was not finished; empty if there is none."""
    try:
        return json.loads(guard.recovering(settings).read_text(encoding="utf-8"))["snapshot"]
    except FileNotFoundError:
        return ""


def _chosen(settings: Settings, found: list[Snapshot], begun: str, at: str) -> Snapshot:
    """The snapshot that is meant, which is that of a recovery that was not finished.

    Raises:
        Refused: there is none, or another one is asked for.
    """
    snapshot = chosen(settings, found, begun or at)[0]
    if begun and at and chosen(settings, found, at)[0] != snapshot:
        raise Refused(BEGUN.format(name=snapshot.name))
    return snapshot


def in_the_way(settings: Settings) -> list[str]:
    """What says that a class lives here."""
    places = (settings.pinned, settings.marker, settings.ledger, *settings.databases)
    return [str(path) for path in places if os.path.lexists(path)]


def _class_of(snapshot: Snapshot) -> str:
    return next(tag.removeprefix(CLASS) for tag in snapshot.tags if tag.startswith(CLASS))


def content_of(restic: Restic, snapshot: Snapshot) -> Content:
    files, size, uids, gids = 0, 0, set(), set()
    with restic.listed(snapshot) as nodes:
        for node in nodes:
            files += node["type"] == "file"
            size += node.get("size", 0)
            uids.add(node["uid"])
            gids.add(node["gid"])
    return Content(files, size, uids, gids)


def renumbering(then: dict[str, dict[str, int]], content: Content) -> Numbers:
    """What numbers of the old hub's own accounts are here. People's are the same: the ledger comes along.

    Raises:
        Refused: an account that files belong to is not here.
    """
    now, found, missing = databases.accounts(), [], []
    for kind, used in (("users", content.uids), ("groups", content.gids)):
        changed = {}
        for name, number in then[kind].items():
            if number >= LEAST_UID or number not in used:
                continue
            if name not in now[kind]:
                missing.append(name)
            elif now[kind][name] != number:
                changed[number] = now[kind][name]
        found.append(changed)
    if missing:
        raise Refused(MISSING.format(names=", ".join(sorted(set(missing)))))
    return Numbers(*found)


def _check_room(settings: Settings, content: Content) -> None:
    settings.homes.mkdir(mode=0o755, exist_ok=True)
    free = shutil.disk_usage(settings.homes).free
    if free < content.size + ROOM:
        raise Refused(
            f"{settings.homes} has {free >> 20} MiB free, and the class has {content.size >> 20} MiB. Is its disk mounted?"
        )


def _make_way(restic: Restic, snapshot: Snapshot) -> None:
    """Remove what a killed run has restored and restic would not restore again: links, FIFOs, files of several names.

    It fails where a link is, and takes a second name away without a word. Only what is in the snapshot goes.
    """
    there: dict[str, list[str]] = {}
    for path in _paths(snapshot):
        if os.path.lexists(path) and _is_odd(os.lstat(path)):
            # as restic lists a name that is no UTF-8
            listed = re.sub("[\udc80-\udcff]", "\ufffd", path)
            there.setdefault(listed, []).append(path)
    with restic.listed(snapshot) as nodes:
        for node in nodes:
            for path in there.pop(node["path"], ()):
                os.unlink(path)


def _is_odd(found: os.stat_result) -> bool:
    if stat.S_ISREG(found.st_mode):
        return found.st_nlink > 1
    return not stat.S_ISDIR(found.st_mode)


def _renumber(snapshot: Snapshot, numbers: Numbers) -> None:
    """Give what belonged to an account of the old hub to that of this one. Nobody but root is at work here yet."""
    if not (numbers.uids or numbers.gids):
        return
    seen = set()
    for path in _paths(snapshot):
        found = os.lstat(path)
        if found.st_nlink > 1:
            if (found.st_dev, found.st_ino) in seen:
                continue
            seen.add((found.st_dev, found.st_ino))
        uid = numbers.uids.get(found.st_uid, found.st_uid)
        gid = numbers.gids.get(found.st_gid, found.st_gid)
        if (uid, gid) != (found.st_uid, found.st_gid):
            os.lchown(path, uid, gid)


def _paths(snapshot: Snapshot) -> Iterator[str]:
    for top in snapshot.paths:
        yield top
        yield from (entry.path for entry in below(top))


def _put_back(settings: Settings, kept: dict[str, dict], numbers: Numbers) -> dict[str, str]:
    outcomes = {}
    for path, entry in kept.items():
        owners = {
            "uid": numbers.uids.get(entry["uid"], entry["uid"]),
            "gid": numbers.gids.get(entry["gid"], entry["gid"]),
        }
        try:
            databases.put_back(settings.stage, entry | owners, Path(path))
            outcomes[path] = "done: put back"
        except (sqlite3.Error, OSError) as error:
            outcomes[path] = f"failed: {error}"
    return outcomes
