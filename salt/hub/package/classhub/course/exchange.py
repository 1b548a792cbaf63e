"""nbgrader's exchange, a part for each student: directories with the right owners and modes, and what is released.

<exchange>/<course>/outbound/<assignment>/       root 0755, files 0644: read by all
<exchange>/<course>/staging/                     root 0700: what is not yet in place
<exchange>/<course>/students/<user>/             root 0711
                                    inbound/     the student's, 0700
                                    feedback/    root and the student's group, 0750
"""

import contextlib
import os
import stat
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from classhub.course import trees
from classhub.course.report import Refused, Report, Unfit, each
from classhub.course.settings import Person, Settings


class Place(NamedTuple):
    """A directory below the exchange, and what it must be like."""

    path: tuple[str, ...]
    mode: int
    uid: int = 0
    gid: int = 0


def shared_places(course: str) -> list[Place]:
    return [
        Place((course,), 0o755),
        Place((course, "outbound"), 0o755),
        Place((course, "staging"), 0o700),
        Place((course, "students"), 0o711),
    ]


def places_of(course: str, person: Person) -> list[Place]:
    own = (course, "students", person.username)
    return [
        Place(own, 0o711),
        Place((*own, "inbound"), 0o700, person.uid, person.gid),
        Place((*own, "feedback"), 0o750, 0, person.gid),
    ]


@contextlib.contextmanager
def root_of(settings: Settings) -> Iterator[int]:
    """Descriptor of the exchange.

    Raises:
        Refused: it cannot be used, so nobody's part can.
    """
    path = settings.exchange
    with refusing(path):
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    with trees.opened(path) as fd:
        found = os.fstat(fd)
        if found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Refused(f"the exchange {path} can be written to by others than root")
        yield fd


@contextlib.contextmanager
def refusing(path: Path) -> Iterator[None]:
    """An error of the file system is one of the whole verb."""
    try:
        yield
    except OSError as error:
        raise Refused(f"the exchange {path} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def reached(root: int, parts: tuple[str, ...]) -> Iterator[int]:
    """Descriptor of a directory below `root`, part by part."""
    with contextlib.ExitStack() as stack:
        for part in parts:
            try:
                root = stack.enter_context(trees.opened(part, root))
            except NotADirectoryError:
                raise Unfit(f"{part} in the exchange is no directory") from None
        yield root


def settle(root: int, place: Place, test: bool) -> str:
    """Make or repair one directory, and never its content.

    Returns:
        What was done, or would be; empty if it was right.
    """
    name = place.path[-1]
    with reached(root, place.path[:-1]) as parent:
        made = not trees.kind(parent, name)
        if made and not test:
            os.mkdir(name, 0o700, dir_fd=parent)
        if made and test:
            return f"{name} made"
        with reached(parent, (name,)) as fd:
            found = os.fstat(fd)
            wrong_owner = (found.st_uid, found.st_gid) != (place.uid, place.gid)
            wrong_mode = stat.S_IMODE(found.st_mode) != place.mode
            if wrong_owner and not test:
                os.fchown(fd, place.uid, place.gid)
            if (wrong_mode or wrong_owner) and not test:
                os.fchmod(fd, place.mode)
    if made:
        return f"{name} made"
    wrong = [word for word, is_wrong in (("owner", wrong_owner), ("mode", wrong_mode)) if is_wrong]
    return f"{name}: {' and '.join(wrong)} repaired" if wrong else ""


def settle_all(root: int, places: list[Place], test: bool) -> list[str]:
    """Settle directories, parents first; in a test nothing can be said of what is below a missing one."""
    changes = []
    for place in places:
        try:
            changes.append(settle(root, place, test))
        except FileNotFoundError:
            if not test:
                raise
            changes.append(f"{place.path[-1]} made")
    return [change for change in changes if change]


def lay_out(settings: Settings, test: bool = False) -> Report:
    """Make or repair the exchange for everybody."""
    course = settings.course_id

    def person_part(person: Person) -> str:
        changes = settle_all(root, places_of(course, person), test)
        return f"done: {', '.join(changes)}" if changes else "skipped: is right"

    if test and not settings.exchange.is_dir():
        table = {person.username: "done: would be made" for person in settings.people}
        return Report(table, {"test": True, "course": ["all would be made"]})
    with root_of(settings) as root:
        with refusing(settings.exchange):
            shared = settle_all(root, shared_places(course), test)
        table = each("exchange", settings.people, person_part)
    return Report(table, {"test": test, "course": shared})


def publish(settings: Settings, assignment: str, folder: trees.Folder, test: bool) -> str:
    """Put a released assignment where all students can fetch it, in place of an earlier one.

    Returns:
        An outcome like a student's.

    Raises:
        Refused: the exchange cannot be written.
    """
    course = settings.course_id
    if test and not (settings.course_exchange / "outbound").is_dir():
        return "done: would be released"
    with root_of(settings) as root, refusing(settings.exchange):
        settle_all(root, shared_places(course), test)
        with reached(root, (course, "outbound")) as outbound:
            found = trees.kind(outbound, assignment)
            if found == "a directory":
                with trees.opened(assignment, outbound) as fd:
                    if trees.same(folder, fd):
                        return "skipped: is released already"
            words = "replaced" if found else "released"
            if test:
                return f"done: would be {words}"
            with reached(root, (course, "staging")) as staging:
                trees.tidy(staging)
                stage = trees.stage(folder, staging)
                trees.sync(staging)
                trees.swap(staging, stage.name, outbound, assignment)
                os.fsync(outbound)
                trees.discard(staging, stage.name)
    return f"done: {words}"


def add_commands(subparsers) -> None:
    parser = subparsers.add_parser(
        "exchange", help="make or repair everybody's part of the exchange"
    )
    parser.add_argument("--test", action="store_true", help="tell what would be done")
    parser.set_defaults(run=run)


def run(settings: Settings, arguments: Namespace) -> Report:
    return lay_out(settings, arguments.test)
