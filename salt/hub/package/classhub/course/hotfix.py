"""The verb `hotfix`: put right a released assignment's own cells in the copies that students work with.

Only cells that are not the student's to change, tests and locked ones, are replaced, found by nbgrader's grade_id. All
others stay as they are. A copy is exchanged for the mended one in one step, and itself becomes the one that is kept,
in ~/.classhub/before/<time>/; so a save that comes at the same moment is not lost.
"""

import os
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from classhub.course import exchange, trees
from classhub.course.homes import Home
from classhub.course.notebooks import Cell, grade_id, grader, is_own, parsed, text, written
from classhub.course.release import make
from classhub.course.report import Refused, Report, Unfit, each
from classhub.course.settings import Person, Settings, check_assignment

LARGEST = 64 << 20  # bytes of a working copy, which outputs make large


class Book(NamedTuple):
    """A released notebook: its own cells by grade_id, and of each the grade_ids that come before it, nearest first."""

    own: dict[str, Cell]
    before: dict[str, list[str]]


# -- notebooks


def read_released(data: bytes) -> Book:
    own, before, passed = {}, {}, []
    for cell in parsed(data)["cells"]:
        name = grade_id(cell)
        if name and is_own(cell):
            own[name], before[name] = cell, list(reversed(passed))
        if name:
            passed.append(name)
    return Book(own, before)


def mend(copy: dict, released: Book) -> list[str]:
    """Put a working copy's own cells right, in place.

    Returns:
        What was done, in words.
    """
    told, cells = [], copy["cells"]
    for name, cell in released.own.items():
        where = next((i for i, one in enumerate(cells) if grade_id(one) == name), None)
        if where is None:
            cells.insert(place_for(name, cells, released), dict(cell))
            told.append(f"{name} put back")
        elif differs(cells[where], cell):
            cells[where] = mended(cells[where], cell)
            told.append(name)
    return told


def place_for(name: str, cells: list, released: Book) -> int:
    """Where a missing cell belongs: after the nearest that comes before it in the release."""
    places = {grade_id(cell): i for i, cell in reversed(list(enumerate(cells)))}
    return next((places[other] + 1 for other in released.before[name] if other in places), 0)


def differs(one: Cell, other: Cell) -> bool:
    return (
        text(one) != text(other)
        or one.get("cell_type") != other.get("cell_type")
        or grader(one) != grader(other)
    )


def mended(old: Cell, released: Cell) -> Cell:
    """The released cell under the copy's id; what it printed belonged to the old one."""
    new = dict(released)
    if "id" in old:
        new["id"] = old["id"]
    return new


# -- the students' side


class Hotfix:
    """An assignment's mended cells on their way into working copies.

    Args:
        settings: of the course
        assignment: its name
        folder: its release version
        running: usernames of those whose server runs
        test: only tell what would be done
    """

    def __init__(
        self,
        settings: Settings,
        assignment: str,
        folder: trees.Folder,
        running: set[str],
        test: bool,
    ) -> None:
        self.homes, self.assignment = settings.homes, assignment
        self.running, self.test = running, test
        self.books = {path: read_released(data) for path, data in notebooks(folder)}
        self.moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + f".{os.getpid()}"
        self.counts: dict[str, int] = {}

    def fix(self, person: Person) -> str:
        """Mend one person's copies."""
        told, faults = [], []
        with Home(person, self.homes) as home:
            if not home.kind(self.assignment):
                return "skipped: does not have it"
            for path, book in self.books.items():
                try:
                    done = self._fix_one(home, path, book)
                except Unfit as error:
                    faults.append(str(error))
                else:
                    told += [f"{path}: {', '.join(done)}"] if done else []
        if told and person.username in self.running:
            told.append("the server runs: what is open there must be reloaded from disk")
        if faults:
            return "failed: " + "; ".join(faults + told)
        return f"done: {'; '.join(told)}" if told else "skipped: is up to date"

    def _fix_one(self, home: Home, path: PurePosixPath, book: Book) -> list[str]:
        """Mend one copy; what was done to it."""
        folders, shown = (self.assignment, *path.parts[:-1]), f"~/{self.assignment}/{path}"
        found = home.read(folders, path.name, LARGEST)
        if found is None:
            return []  # deleted by its student, or not there before this release: fetched anew
        try:
            copy = parsed(found[0])
            done = mend(copy, book)
            new = written(copy) if done else b""
        except ValueError as error:
            raise Unfit(f"{shown}: {error}; it is left alone") from error
        if done and not self.test:
            home.exchange(folders, path.name, new, found, ("before", self.moment, *folders))
        for name in done:
            key = f"{path}: {name}"
            self.counts[key] = self.counts.get(key, 0) + 1
        return done


def notebooks(folder: trees.Folder, top: str = "") -> Iterator[tuple[PurePosixPath, bytes]]:
    """The notebooks of a tree."""
    for name, (data, _) in folder.files.items():
        if name.endswith(".ipynb"):
            yield PurePosixPath(top, name), data
    for name, inner in folder.folders.items():
        yield from notebooks(inner, f"{top}/{name}".lstrip("/"))


def hotfix(settings: Settings, arguments: Namespace) -> Report:
    """Mend the copies of all students or of those named, and what is in the exchange."""
    assignment, test = check_assignment(arguments.assignment), arguments.test
    people = settings.chosen(arguments.students)
    folder, taken = make(settings, assignment, arguments.generate, test)
    running = {name.strip() for name in arguments.running.split(",")}
    try:
        run = Hotfix(settings, assignment, folder, running, test)
    except ValueError as error:
        raise Refused(
            f"release/{assignment} has a notebook that cannot be read: {error}"
        ) from error
    outbound = exchange.publish(settings, assignment, folder, test)
    table = each(f"hotfix {assignment}", people, run.fix)
    summary = {"assignment": assignment, "test": test, "exchange": outbound, "cells": run.counts}
    return Report(table, summary | ({"source": taken} if taken else {}))


def add_commands(subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("hotfix", help="mend an assignment in students' working copies")
    parser.add_argument("assignment")
    parser.add_argument("--generate", action="store_true", help="make the release version first")
    parser.add_argument("--students", default="", help="these alone: a,b,c")
    parser.add_argument("--running", default="", help="people whose server runs: a,b,c")
    parser.add_argument("--test", action="store_true", help="tell what would be done")
    parser.set_defaults(run=hotfix)
