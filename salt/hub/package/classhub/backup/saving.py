"""The verb `backup`: a snapshot of all that cannot be made again."""

import errno
import json
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
        name, unread, too_deep = _save(restic, ident, snapshots)
    files = f"done: saved as {name}"
    if unread:
        named = ", ".join(first(unread))
        files = (
            f"failed: {len(unread)} files could not be read ({named}); all else is saved as {name}"
        )
    left_out = {"too_large": too_large(settings), "too_deep": first(too_deep)}
    return Report({"files": files} | copied, {"snapshot": name} | left_out)


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
    return Report(table, {"too_large": too_large(settings)})


def _save(
    restic: Restic, ident: str, snapshots: list[Snapshot]
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


def too_large(settings: Settings) -> list[str]:
    """Files that are not saved because of their size: a student can make one of many terabytes that holds nothing."""
    places = [str(path) for path in settings.trees if path.exists()]
    if not places:
        return []
    words = ["find", *places, "-type", "f", "-size", f"+{settings.max_bytes}c", "-print0"]
    done = subprocess.run(words, capture_output=True, check=False)
    names = [name.decode(errors="replace") for name in done.stdout.split(b"\0") if name]
    return first(sorted(names))


def first(names: list[str]) -> list[str]:
    """The first names, and how many more there are."""
    more = len(names) - SOME
    return names[:SOME] + ([f"and {more} more"] if more > 0 else [])
