"""The verb `restore`: a file, a directory or a whole home as it was, beside what is there now."""

import os
from argparse import _SubParsersAction
from collections.abc import Iterator
from itertools import count
from pathlib import Path, PurePosixPath

from classhub.backup import guard, scratch
from classhub.backup.copying import Given
from classhub.backup.restic import Restic, Snapshot
from classhub.backup.settings import Settings
from classhub.backup.snapshots import chosen, names, shown
from classhub.course import settings as course_settings
from classhub.course.homes import Home
from classhub.course.report import Refused, Report, attempt
from classhub.course.settings import Person

PATIENCE = 60  # seconds that somebody waits for the weekly prune
LONGEST = 255  # bytes of a name
TRIES = 100
KINDS = ("file", "dir", "symlink")


def add_commands(verbs: _SubParsersAction) -> None:
    parser = verbs.add_parser("restore", help="put something back, beside what is there")
    parser.add_argument("user")
    parser.add_argument("path", nargs="?", default="", help="within the home; without it all of it")
    parser.add_argument("--at", default="", help="a time, or a snapshot")
    parser.add_argument("--test", action="store_true", help="only say what would be done")
    parser.set_defaults(
        run=lambda settings, words: restore(settings, words.user, words.path, words.at, words.test)
    )


def restore(settings: Settings, user: str, path: str, at: str = "", test: bool = False) -> Report:
    """Give something of a person's home back, as it was then.

    Args:
        path: within the home; empty for the whole home
        at: a time or a snapshot; empty for the newest that has it
    """
    person = course_settings.load(settings.course).by_name.get(user)
    if person is None:
        raise Refused(f"{user} is not on the roster")
    parts = within(path)
    wanted = settings.homes.joinpath(user, *parts)
    with guard.reading(settings, PATIENCE) as restic:
        snapshots = guard.known(restic, guard.filesystem(settings))
        snapshot, kind = find(restic, snapshots, wanted, at)
        if kind not in KINDS:
            raise Refused(f"{tilde(parts)} was a {kind} then; those are not restored")
        free = free_names(parts, shown(snapshot.time, settings))
        told = f"as of {shown(snapshot.time, settings)}"
        if test:
            would = f"done: would be restored as {tilde((*parts[:-1], next(free)))}, {told}"
            return Report({user: would}, {"snapshot": snapshot.name})
        check_room(settings, wanted, restic.size(snapshot, wanted))
        with scratch.directory(settings) as top:
            failed = restic.restore(snapshot, top, [wanted])
            lost = {
                Path(name).relative_to(wanted).parts: why
                for name, why in failed.items()
                if Path(name).is_relative_to(wanted)
            }
            restored = top / str(wanted).lstrip("/")
            if () in lost or not os.path.lexists(restored):
                why = lost.get((), "restic restored nothing")
                raise Refused(f"{tilde(parts)} of {snapshot.name} cannot be restored: {why}")
            given = Given(person, restored, top, lost)
            outcome = give(settings, given, parts, free)
    if outcome.startswith("done"):
        outcome = f"{outcome}, {told}"
    if lost:
        outcome = f"failed: {len(lost)} files could not be restored; {outcome}"
    return Report({user: outcome}, {"snapshot": snapshot.name, "left_out": given.left_out})


def give(settings: Settings, given: Given, parts: tuple[str, ...], free: Iterator[str]) -> str:
    """Write what was restored into the home, and say as what."""

    def write(person: Person) -> str:
        with Home(person, settings.homes) as home:
            name = home.give(parts[:-1], free, given.write)
            given.finish()
        return f"done: restored as {tilde((*parts[:-1], name))}"

    with given:
        return attempt(given.person, write)


def find(restic: Restic, snapshots: list[Snapshot], wanted: Path, at: str) -> tuple[Snapshot, str]:
    """The snapshot that is meant, and what kind of thing it has there.

    Raises:
        Refused: it is not in it; the sentence lists those that have it.
    """
    settings = restic.settings
    asked = chosen(settings, snapshots, at)
    for snapshot in asked:
        if kind := restic.kind(snapshot, wanted):
            return snapshot, kind
    others = [one for one in snapshots[::-1] if one not in asked]
    having = [one for one in others if restic.kind(one, wanted)]
    when = f" at {shown(asked[0].time, settings)}" if at else ""
    has = f"it is in those of {names(settings, having)}" if having else "it is in no snapshot"
    raise Refused(f"{wanted} was not there{when}; {has}")


def within(path: str) -> tuple[str, ...]:
    """The parts of a path in a home.

    Raises:
        Refused: it leads out of the home.
    """
    parts = tuple(path.removeprefix("~/").rstrip("/").split("/")) if path.strip("/~") else ()
    if path.startswith("/") or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise Refused(f"{path!r} is no path in a home; write one such as ps1/problem1.ipynb")
    return parts


def tilde(parts: tuple[str, ...]) -> str:
    return "/".join(("~", *parts))


def free_names(parts: tuple[str, ...], when: str) -> Iterator[str]:
    """Names for what is restored: the old one with the time, and a number where that is taken."""
    when = when.replace(":", ".")
    name = PurePosixPath(parts[-1]) if parts else None
    for number in count(1):
        if number > TRIES:
            return
        mark = f"restored {when}" + (f", {number}" if number > 1 else "")
        if name is None:
            yield mark
            continue
        end = f" ({mark}){name.suffix}"
        room = LONGEST - len(end.encode(errors="surrogateescape"))
        stem = name.stem.encode(errors="surrogateescape")
        if room > 0:
            # a character is not cut in half
            kept = stem[:room].decode(errors="ignore") if len(stem) > room else name.stem
            yield kept + end


def check_room(settings: Settings, wanted: Path, size: int) -> None:
    """Refuse what would fill the hub's own disk on its way."""
    if scratch.room(settings) < size:
        raise Refused(
            f"{wanted} has {size >> 20} MiB, and {settings.state} has no room to unpack that; restore a part of it, or "
            "make room"
        )
