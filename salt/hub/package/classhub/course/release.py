"""Releasing an assignment: into the exchange, and a copy into each home.

A student who has it keeps it as it is; who was missed by a killed run gets it from the next one.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

import classhub
from classhub.course import exchange, gradebook, source, tools, trees
from classhub.course.homes import Home
from classhub.course.report import Progress, Refused, Report, Unfit, attempt, tell
from classhub.course.settings import Person, Settings, check_assignment

GENERATED = ".generated"  # nbgrader writes here, so that release/ has whole assignments only
GENERATE_TIMEOUT = 900
LOCKS = ".locks"  # in the course: a file for each assignment
BATCH = 200  # students whose copies are made to last at once


# -- the course's side


def names_in(path: Path) -> set[str]:
    try:
        return {entry.name for entry in path.iterdir() if entry.is_dir() and entry.name[0] != "."}
    except FileNotFoundError:
        return set()


def check_known(settings: Settings, assignment: str) -> None:
    """Refuse an assignment that the course does not have."""
    check_assignment(assignment)
    known = names_in(settings.course_dir / "source") | names_in(settings.course_dir / "release")
    if assignment not in known:
        names = ", ".join(sorted(known)) or "none"
        raise Refused(f"there is no assignment {assignment}; the course has: {names}")


def check_released(settings: Settings, assignment: str) -> None:
    if assignment not in names_in(settings.course_dir / "release"):
        raise Refused(f"{assignment} has no release version yet: make it with --generate")


def check_source(settings: Settings, assignment: str) -> None:
    if assignment not in names_in(settings.course_dir / "source"):
        raise Refused(f"{assignment} has no source to generate it from")


def nbgrader(
    course_dir: Path, *words: str, timeout: float = GENERATE_TIMEOUT
) -> subprocess.CompletedProcess:
    """Run nbgrader in the course, without capabilities and with a home of its own: it reaches no student's files."""
    bins = os.pathsep.join((str(Path(sys.executable).parent), "/usr/bin", "/bin"))
    with tempfile.TemporaryDirectory() as home:
        env = {
            "PATH": bins,
            "HOME": home,
            "LC_ALL": "C.UTF-8",
            "PYTHONNOUSERSITE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",  # what services read is to stay as old as it is
            "PYTHONPATH": str(Path(classhub.__file__).parent.parent),
        }
        # as long as it takes until a batch of scores is recorded
        database = f"sqlite:///{course_dir / gradebook.FILE}?timeout={gradebook.PATIENCE}"
        command = ("nbgrader", *words, f"--CourseDirectory.db_url={database}")
        return tools.run(command, course_dir, env, timeout, stderr=subprocess.STDOUT)


@contextlib.contextmanager
def held(path: Path, words: str) -> Iterator[None]:
    """Be the only one that holds this file.

    Raises:
        Refused: somebody else does, with these words.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        trees.hold(fd, words)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def alone_in(course_dir: Path, assignment: str, *, grading: bool = False) -> Iterator[None]:
    """Be the only one that works on the assignment, and the only one in the course who grades or for whom nbgrader works.

    While one assignment is graded, which may take an hour, another one can be released.

    Raises:
        Refused: somebody else is.
    """
    words = "nbgrader is at work in the course for another run; try again later"
    (course_dir / LOCKS).mkdir(mode=0o700, exist_ok=True)
    with (
        held(course_dir / (".lock" if grading else ".lock-nbgrader"), words),
        held(course_dir / LOCKS / assignment, words),
    ):
        yield


def generate(settings: Settings, assignment: str) -> None:
    """Make the release version with nbgrader, whole or not at all.

    Raises:
        Refused: nbgrader failed; its last words are in the message.
    """
    with alone_in(settings.course_dir, assignment):
        _generate(settings, assignment)


def _generate(settings: Settings, assignment: str) -> None:
    tell(f"release {assignment}: nbgrader makes the release version")
    course = settings.course_dir
    to = f"--CourseDirectory.release_directory={GENERATED}"
    try:
        result = nbgrader(course, "generate_assignment", assignment, "--force", to)
    except subprocess.TimeoutExpired:
        raise Refused(f"nbgrader did not generate {assignment} in time") from None
    if result.returncode != 0:
        raise Refused(f"nbgrader could not generate {assignment}: {tools.last_words(result)}")
    (course / "release").mkdir(exist_ok=True)
    with trees.opened(course / GENERATED) as made, trees.opened(course / "release") as released:
        trees.swap(made, assignment, released, assignment)
    shutil.rmtree(course / GENERATED)


def released_tree(settings: Settings, assignment: str) -> trees.Folder:
    path = settings.course_dir / "release" / assignment
    folder = trees.load(path, settings.max_files, settings.max_bytes)
    if not folder.count:
        raise Refused(f"{path} is empty")
    return folder


def make(
    settings: Settings, assignment: str, generates: bool, test: bool
) -> tuple[trees.Folder, str]:
    """The release version, made anew if asked for, and what was taken from where assignments come from.

    Raises:
        Refused: there is none, and none can be made.
    """
    taken = source.take(settings, assignment, test) if generates else ""
    if not (test and taken.startswith("done")):
        check_known(settings, assignment)
        (check_source if generates else check_released)(settings, assignment)
    if generates and not test:
        generate(settings, assignment)
    if test and assignment not in names_in(settings.course_dir / "release"):
        return trees.Folder(), taken
    return released_tree(settings, assignment), taken


# -- the students' side


class Handout:
    """An assignment on its way into homes.

    Batches of students: their copies are written, made to last all at once, and only then put in place.

    Args:
        settings: of the course
        assignment: its name
        folder: its content
        aside: name for what is in the way of the copy; empty: that stays as it is
        test: only tell what would be done
    """

    def __init__(
        self, settings: Settings, assignment: str, folder: trees.Folder, aside: str, test: bool
    ) -> None:
        self.homes, self.assignment, self.folder = settings.homes, assignment, folder
        self.aside, self.test = aside, test

    def give(self, people: Sequence[Person]) -> dict[str, str]:
        """Give it to people; returns the table."""
        table: dict[str, str] = {}
        progress = Progress(f"release {self.assignment}", len(people))
        for start in range(0, len(people), BATCH):
            batch = people[start : start + BATCH]
            self.stages: dict[str, trees.Stage] = {}
            self.lasting: dict[int, str] = {}  # device -> error
            prepared = {person: attempt(person, self.prepare) for person in batch}
            for person, outcome in prepared.items():
                if person.username in self.stages:
                    outcome = attempt(person, self.finish)  # noqa: PLW2901
                table[person.username] = progress.outcome(person, outcome)
        return table

    def prepare(self, person: Person) -> str:
        """Write a student's copy, or find that none is needed: the outcome then."""
        with Home(person, self.homes) as home:
            found = home.kind(self.assignment)
            if found == "a directory" and not self.aside:
                return "skipped: has it already"
            if found and not self.aside:
                raise Unfit(f"~/{self.assignment} is {found}; it is left alone")
            if found and home.has(self.folder, self.assignment):
                return "skipped: has it already, unchanged"
            kept = f", what was there is in ~/{self.aside}" if found else ""
            if self.test:
                return f"done: would be given{kept}"
            self.stages[person.username] = home.stage(self.folder)
            return ""

    def finish(self, person: Person) -> str:
        """Put a student's copy in place."""
        stage = self.stages[person.username]
        with Home(person, self.homes) as home:
            if stage.device not in self.lasting:
                self.lasting[stage.device] = self.sync(home.fd)
            if error := self.lasting[stage.device]:
                home.discard(stage)
                raise Unfit(error)
            found = home.kind(self.assignment)
            home.place(stage, self.assignment, self.aside if found else "")
        return f"done: given{f', what was there is in ~/{self.aside}' if found else ''}"

    @staticmethod
    def sync(fd: int) -> str:
        try:
            trees.sync(fd)
        except OSError as error:
            return f"the disk did not take it: {error.strerror}"
        return ""


def release(settings: Settings, arguments: Namespace) -> Report:
    """Release an assignment to the exchange, and to the homes of all students or of those named."""
    assignment, test = check_assignment(arguments.assignment), arguments.test
    people = settings.chosen(arguments.students)
    folder, taken = make(settings, assignment, arguments.generate, test)
    outbound = exchange.publish(settings, assignment, folder, test)
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = f"{assignment}.before-{moment}" if arguments.force else ""
    table = Handout(settings, assignment, folder, aside, test).give(people)
    if not test:
        with trees.opened(settings.homes) as homes:
            trees.sync(homes)  # the renames, too
    summary = {"assignment": assignment, "test": test, "exchange": outbound}
    return Report(table, summary | ({"source": taken} if taken else {}))


def assignments(settings: Settings, arguments: Namespace) -> Report:
    """What assignments there are, and how far each has come."""
    where = {
        "source": names_in(settings.course_dir / "source"),
        "release": names_in(settings.course_dir / "release"),
        "exchange": names_in(settings.course_exchange / "outbound"),
    }
    found = {
        name: {place: name in names for place, names in where.items()}
        for name in sorted(set().union(*where.values()))
    }
    return Report(summary={"assignments": found})


def add_commands(subparsers) -> None:
    subparsers.add_parser("assignments", help="list the assignments").set_defaults(run=assignments)
    parser = subparsers.add_parser("release", help="give an assignment to the students")
    parser.add_argument("assignment")
    parser.add_argument("--generate", action="store_true", help="make the release version first")
    parser.add_argument(
        "--force", action="store_true", help="give it anew; what students have is kept beside it"
    )
    parser.set_defaults(run=release)
    parser.add_argument("--students", default="", help="these alone: a,b,c")
    parser.add_argument("--test", action="store_true", help="tell what would be done")
