"""The verb `backup`: a snapshot of all that cannot be made again."""

import errno
import json
import os
import re
import subprocess
from argparse import _SubParsersAction
from pathlib import Path

from classhub.backup import databases, guard, scratch
from classhub.backup.restic import (
    CLASS,
    HOST,
    INCOMPLETE,
    TAG,
    Absent,
    Restic,
    Snapshot,
    literal,
)
from classhub.backup.settings import Settings
from classhub.course.report import Refused, Report

SOME = 20  # names that are told of many
OWN = ("*.lock", "*.json", ".*.new")  # what the backup remembers of this hub
LEAST = 16 << 20  # bytes of a file that is worth a look
HOLLOW = 10  # times as large as what it takes of the disk
NO_CLASS = "skipped: there is no class on this host yet"


def add_commands(verbs: _SubParsersAction) -> None:
    parser = verbs.add_parser("backup", help="save the class")
    parser.add_argument("--test", action="store_true", help="only say what would be done")
    parser.set_defaults(run=lambda settings, words: backup(settings, test=words.test))


def backup(settings: Settings, test: bool = False) -> Report:
    """Save the class as it is now.

    Returns:
        the report; its table has a line for the files, and one for each database.
    """
    if not guard.filesystem(settings):
        return Report({"files": NO_CLASS})
    if test:
        return _predicted(settings)
    with guard.writing(settings) as restic:
        # again, as this run may have waited
        ident = guard.filesystem(settings)
        restic_is_free(restic)
        snapshots = guard.opened(restic, ident, make=True)
        copied = databases.copy_all(settings)
        too_large, hollow = left_out(settings)
        name, unread, too_deep = _save(restic, ident, snapshots, hollow)
    files = f"done: saved as {name}"
    if unread:
        named = ", ".join(first(unread))
        files = (
            f"failed: {len(unread)} files could not be read ({named}); all else is saved as {name}"
        )
    summary = {"snapshot": name, **_told(too_large, hollow), "too_deep": first(too_deep)}
    return Report({"files": files} | copied, summary)


def restic_is_free(restic: Restic) -> None:
    """Take away what a killed run left locked; nothing where there is no repository yet."""
    try:
        restic.unlock()
    except Absent:
        return


def _predicted(settings: Settings) -> Report:
    with guard.reading(settings) as restic:
        try:
            guard.known(restic, guard.filesystem(settings))
            words = "would be saved"
        except Absent:
            words = f"would be saved to a new repository, {settings.repository}"
    table = {
        str(path): f"done: {words}" if path.exists() else "skipped: is not there yet"
        for path in (*settings.saved, *settings.databases)
    }
    return Report(table, _told(*left_out(settings)))


def _save(
    restic: Restic, ident: str, snapshots: list[Snapshot], hollow: list[str]
) -> tuple[str, list[str], list[str]]:
    """One run of restic: the snapshot's name, and which files it could not read, those of too long a path apart."""
    settings = restic.settings
    words = ["backup", "--json", "--host", HOST, "--tag", f"{TAG},{CLASS}{ident}"]
    words += ["--exclude-larger-than", str(settings.max_bytes)]
    words += ["--parent", snapshots[-1].id] if snapshots else []
    live = [str(path) + end for path in settings.databases for end in databases.COMPANIONS]
    words += [f"--exclude={pattern}" for pattern in settings.excluded]
    words += [f"--exclude={literal(path)}" for path in (*live, scratch.place(settings))]
    words += [f"--exclude={literal(settings.state)}/{name}" for name in OWN]
    patterns = settings.cache / "hollow"
    patterns.write_text("\n".join(map(_line, hollow)), errors="surrogateescape")
    words += ["--exclude-file", str(patterns)]
    words += [str(path) for path in settings.saved if _can_be_saved(path)]
    done = restic.run(*words, codes=(0, INCOMPLETE))
    name = json.loads(done.stdout.strip().splitlines()[-1])["snapshot_id"][:8]
    try:
        guard.filesystem(settings)
    except Refused:
        # the disk went away meanwhile: what was saved is no state of the class
        restic.run("forget", name)
        raise
    return name, *_unread(done.stderr)


def _can_be_saved(path: Path) -> bool:
    """Whether there is such a tree.

    Raises:
        Refused: it is a link, of which restic would save nothing but the link.
    """
    if path.is_symlink():
        raise Refused(
            f"{path} is a symbolic link: mount what it leads to in its place (mount --bind)"
        )
    return path.exists()


def _unread(words: str) -> tuple[list[str], list[str]]:
    """What restic could not read although it is there, and what nobody could by its path, which is its owner's doing.

    What a student removed meanwhile is neither.
    """
    unread, too_deep = set(), set()
    for line in words.splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if told.get("message_type") != "error" or told.get("during") != "archival":
            continue
        try:
            Path(told["item"]).lstat()
            unread.add(told["item"])
        except FileNotFoundError:
            continue
        except OSError as error:
            (too_deep if error.errno == errno.ENAMETOOLONG else unread).add(told["item"])
    return sorted(unread), sorted(too_deep)


def left_out(settings: Settings) -> tuple[list[str], list[str]]:
    """Files that are not saved, although they may take no room: those that are too large, and hollow ones.

    restic reads what a file does not hold, too, and a student can make any number of terabytes of that. A hollow file is
    saved as long as the owner's others leave it room within `max_file`.
    """
    places = [str(path) for path in settings.trees if path.exists()]
    if not places:
        return [], []
    least = min(LEAST, settings.max_bytes)
    words = ["find", *places, "-type", "f", "-size", f"+{least}c", "-printf", r"%s %b %U %p\0"]
    done = subprocess.run(words, capture_output=True, check=False)
    too_large: list[str] = []
    hollow: dict[str, list[tuple[int, str]]] = {}
    for line in filter(None, done.stdout.split(b"\0")):
        size, blocks, uid, name = os.fsdecode(line).split(" ", 3)
        if int(size) > settings.max_bytes:
            too_large.append(name)
        elif int(size) > HOLLOW * 512 * int(blocks):
            hollow.setdefault(uid, []).append((int(size), name))
    beyond = [name for files in hollow.values() for name in _beyond(files, settings.max_bytes)]
    return sorted(too_large), sorted(beyond)


def _beyond(files: list[tuple[int, str]], most: int) -> list[str]:
    """The largest of some files, without which the others have no more than `most` bytes."""
    names = []
    for size, name in sorted(files):
        most -= size
        if most < 0:
            names.append(name)
    return names


def _told(too_large: list[str], hollow: list[str]) -> dict[str, list[str]]:
    told = {"too_large": first(too_large), "hollow": first(hollow)}
    return {
        key: [os.fsencode(name).decode(errors="replace") for name in names]
        for key, names in told.items()
    }


def _line(path: str) -> str:
    """A path in a file of patterns, where restic takes variables and cuts off blanks; `?` means any one character."""
    return re.sub(r"\s", "?", literal(path)).replace("$", "$$")


def first(names: list[str]) -> list[str]:
    """The first names, and how many more there are."""
    more = len(names) - SOME
    return names[:SOME] + ([f"and {more} more"] if more > 0 else [])
