"""The verb `drill`: what is saved can be restored. Files at random, and every database, each night."""

import hashlib
import os
import random
import sqlite3
import stat
from argparse import _SubParsersAction
from contextlib import ExitStack, suppress
from pathlib import Path

from classhub.backup import databases, guard, scratch
from classhub.backup.restic import Restic, Snapshot, nanoseconds
from classhub.backup.saving import NO_CLASS
from classhub.backup.settings import Settings
from classhub.course import trees
from classhub.course.report import Refused, Report

NO_SNAPSHOT = "there is no backup yet: say classhub.backup"
LONGEST = 4000  # bytes; the system takes 4095
MEND = "what to do: docs/howto/back-up-and-restore.md, When a drill fails"


def add_commands(verbs: _SubParsersAction) -> None:
    parser = verbs.add_parser("drill", help="restore files at random and compare them")
    parser.add_argument("--test", action="store_true", help="only say what would be done")
    parser.set_defaults(run=lambda settings, words: drill(settings, test=words.test))


def drill(settings: Settings, test: bool = False) -> Report:
    """Restore some files of the newest snapshot, and compare each with the class's own if that has not changed since."""
    ident = guard.filesystem(settings)
    if not ident:
        return Report({"files": NO_CLASS})
    with guard.reading(settings) as restic:
        snapshots = guard.known(restic, ident)
        if not snapshots:
            raise Refused(NO_SNAPSHOT)
        newest = snapshots[-1]
        staged, drawn = choose(restic, newest, random.SystemRandom())
        chosen = staged + fitting(drawn, scratch.room(settings) - size(staged))
        over = len(staged) + len(drawn) - len(chosen)
        if test:
            table = {"files": f"done: {len(chosen)} of {newest.name} would be restored"}
            return Report(table, {"snapshot": newest.name})
        with scratch.directory(settings) as top:
            table = _tried(restic, newest, chosen, top)
    if over and "files" in table:
        table["files"] += f"; {over} had no room here"
    return Report(table, {"snapshot": newest.name})


def choose(
    restic: Restic, snapshot: Snapshot, chance: random.Random
) -> tuple[list[dict], list[dict]]:
    """All that is staged, and other files of a snapshot, each as likely as any other.

    One pass, and no more kept than is chosen: a class has millions of files.
    """
    stage, most = f"{restic.settings.stage}/", restic.settings.drill.files
    staged, chosen, seen = [], [], 0
    with restic.listed(snapshot) as nodes:
        for node in nodes:
            # a name that is no UTF-8 cannot be asked for
            if node["type"] != "file" or "\ufffd" in node["path"] or _is_long(node["path"]):
                continue
            if node["path"].startswith(stage):
                staged.append(node)
                continue
            seen += 1
            if len(chosen) < most:
                chosen.append(node)
            elif (place := chance.randrange(seen)) < most:
                chosen[place] = node
    if not seen:
        raise Refused(f"the snapshot {snapshot.name} has no files")
    return staged, chosen


def size(nodes: list[dict]) -> int:
    return sum(node.get("size", 0) for node in nodes)


def fitting(nodes: list[dict], room: int) -> list[dict]:
    """The smallest of some files, as many as there is room for.

    Raises:
        Refused: what else has to be there fills it already.
    """
    if room < 0:
        raise Refused("the hub's own disk has no room to unpack the databases")
    kept = sorted(nodes, key=lambda node: node.get("size", 0))
    while size(kept) > room:
        kept.pop()
    return kept


def _is_long(path: str) -> bool:
    """Whether a path that the system takes would be too long below a scratch directory."""
    return len(os.fsencode(path)) > LONGEST


def _tried(restic: Restic, snapshot: Snapshot, chosen: list[dict], top: Path) -> dict[str, str]:
    """The table: a line for all that went well, and one for each file that did not."""
    failed = restic.restore(snapshot, top, [node["path"] for node in chosen])
    table = {path: f"failed: {why}; {MEND}" for path, why in failed.items()}
    compared, moved = 0, 0
    for node in chosen:
        path = node["path"]
        if path in table:
            continue
        copy = top / path.lstrip("/")
        same = compare(node, copy)
        if same is False:
            table[path] = f"failed: what is restored is not what is saved; {MEND}"
        compared += same is True
        moved += same is None
    for node in chosen:
        path = Path(node["path"])
        if path.parent == restic.settings.stage and path.name != databases.MANIFEST:
            _prove(top / str(path).lstrip("/"), str(path), table)
    if not table:
        told = f"done: {len(chosen)} restored; {compared} compared with the class's, {moved} have changed since"
        table["files"] = f"{told}, and were verified by restic"
    return table


def _prove(copy: Path, path: str, table: dict[str, str]) -> None:
    try:
        databases.check(copy)
    except (sqlite3.Error, OSError) as error:
        table.setdefault(path, f"failed: the database {error}; {MEND}")


def compare(node: dict, copy: Path) -> bool | None:
    """Whether a restored file is the class's own; nothing if that has changed since the snapshot, or is gone."""
    try:
        with open(copy, "rb") as file:
            if os.fstat(file.fileno()).st_size != node.get("size", 0):
                return False
            digest = hashlib.file_digest(file, "sha256").digest()
    except FileNotFoundError:
        return False
    live = _live_digest(node)
    return None if live is None else live == digest


def _live_digest(node: dict) -> bytes | None:
    """The hash of the file that was saved, if it is still the same; a student cannot set a file's ctime."""
    fd = _opened(Path(node["path"]))
    if fd is None:
        return None
    with open(fd, "rb") as file:
        if not _unchanged(file.fileno(), node):
            return None
        digest = hashlib.file_digest(file, "sha256").digest()
        return digest if _unchanged(file.fileno(), node) else None


def _unchanged(fd: int, node: dict) -> bool:
    found = os.fstat(fd)
    same = found.st_size == node.get("size", 0) and found.st_ctime_ns == nanoseconds(node["ctime"])
    return stat.S_ISREG(found.st_mode) and same


def _opened(path: Path) -> int | None:
    """A file, opened without following any link on the way: the way may lead through a home."""
    with ExitStack() as stack, suppress(OSError):
        fd = stack.enter_context(trees.opened(path.anchor))
        for part in path.parts[1:-1]:
            fd = stack.enter_context(trees.opened(part, fd))
        return os.open(path.name, trees.READ, dir_fd=fd)
    return None
