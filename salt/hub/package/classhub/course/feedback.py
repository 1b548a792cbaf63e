"""The verbs `feedback` and `return`: what nbgrader makes of a graded submission, and its way to the student.

nbgrader makes the pages beside the course's own (.feedback); they come to feedback/<user>/<assignment> once they are
whole. `return` puts them into the home, ~/feedback/<assignment>, and where nbgrader's list in JupyterLab
fetches them from: <exchange>/<course>/students/<user>/feedback/<hash>.html.
"""

import hashlib
import os
import shutil
import subprocess
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from classhub.course import exchange, gradebook, tools, trees
from classhub.course.homes import Home
from classhub.course.release import alone_in, check_known, names_in, nbgrader
from classhub.course.report import Refused, Report, Unfit, each, tell
from classhub.course.sealing import SECRET
from classhub.course.settings import Person, Settings
from classhub.course.times import times_of

GENERATED = ".feedback"  # nbgrader writes here
SECRET_BYTES = 4096  # a student wrote it; nbgrader's own has 128
PERSON_SECONDS = 30  # for nbgrader to make one person's pages


def graded(settings: Settings, assignment: str) -> set[str]:
    """Usernames with a graded submission in the course."""
    top = settings.course_dir / "autograded"
    return {user for user in names_in(top) if (top / user / assignment).is_dir()}


def notebooks(folder: Path, suffix: str) -> set[str]:
    """The names of an assignment's notebooks, or of their pages."""
    return {path.stem for path in folder.glob(f"*{suffix}")} if folder.is_dir() else set()


# -- feedback


def make(settings: Settings, assignment: str, people: Sequence[Person], test: bool) -> Report:
    """Make the pages of those who are graded.

    Raises:
        Refused: nbgrader made none at all; its last words are in the message.
    """
    with alone_in(settings.course_dir, assignment):
        return _make(settings, assignment, people, test)


def _make(settings: Settings, assignment: str, people: Sequence[Person], test: bool) -> Report:
    there = graded(settings, assignment)
    chosen = {person.username for person in people} & there
    words = ""
    if chosen and not test:
        tell(f"feedback {assignment}: nbgrader makes {len(chosen)} people's pages")
        settle(settings, assignment, chosen)
        words = generate(settings, assignment, sorted(there - chosen), len(chosen))
    course = settings.course_dir

    def take(person: Person) -> str:
        if person.username not in there:
            return "skipped: is not graded"
        if test:
            return "done: would be made"
        wanted = notebooks(course / "autograded" / person.username / assignment, ".ipynb")
        made = notebooks(course / GENERATED / person.username / assignment, ".html")
        if not wanted or wanted - made:
            raise Unfit(f"nbgrader made no page of {', '.join(sorted(wanted - made)) or 'it'}")
        swap_in(course, person.username, assignment)
        return f"done: {len(made)} pages"

    table = each(f"feedback {assignment}", people, take)
    shutil.rmtree(course / GENERATED, ignore_errors=True)
    if words and not any(outcome.startswith("done") for outcome in table.values()):
        raise Refused(f"nbgrader could not make the feedback on {assignment}: {words}")
    return Report(table, {"assignment": assignment, "test": test})


def settle(settings: Settings, assignment: str, users: set[str]) -> None:
    """Bring late penalties up to date: they are from the grading, and late work loses what a person gave since, too.

    With `none` those that the gradebook has stay.
    """
    if settings.late_penalty != "zero":
        return
    # late: it takes a second, which verbs without grades need not spend
    from classhub.grading.gradebook import ClassGradebook

    book = ClassGradebook(settings, assignment, writes=True)
    try:
        book.settle(users, times_of(settings, assignment))
    finally:
        book.leave()


def generate(settings: Settings, assignment: str, without: list[str], count: int) -> str:
    """Have nbgrader make the pages of all but some; its last words if it failed."""
    shutil.rmtree(settings.course_dir / GENERATED, ignore_errors=True)
    options = [
        f"--CourseDirectory.feedback_directory={GENERATED}",
        f"--CourseDirectory.student_id_exclude={','.join(without)}",
        "--GenerateFeedback.preprocessors=nbgrader.preprocessors.GetGrades",
        "--GenerateFeedback.preprocessors=classhub.course.hidden.StripHiddenTests",
        "--GenerateFeedback.preprocessors=nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
    ]
    try:
        result = nbgrader(
            settings.course_dir,
            "generate_feedback",
            assignment,
            *options,
            timeout=60 + count * PERSON_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return "it did not end in time"
    return tools.last_words(result) if result.returncode else ""


def swap_in(course: Path, user: str, assignment: str) -> None:
    """Put one person's new pages in place of the earlier ones."""
    (course / "feedback" / user).mkdir(mode=0o700, parents=True, exist_ok=True)
    with (
        trees.opened(course / GENERATED / user) as made,
        trees.opened(course / "feedback" / user) as there,
    ):
        trees.sync(made)
        trees.swap(made, assignment, there, assignment)


# -- return


class Return:
    """Pages on their way to the students.

    Args:
        settings: of the course
        assignment: its name
        force: return what is not graded to the end, too
        test: only tell what would be done
    """

    def __init__(self, settings: Settings, assignment: str, force: bool, test: bool) -> None:
        self.settings, self.assignment, self.force, self.test = settings, assignment, force, test
        self.scores = gradebook.scores(settings, assignment)
        self.moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())

    def give(self, person: Person) -> str:
        """Give one person the pages, at home and in the exchange."""
        score = self.scores.get(person.username)
        place = self.settings.course_dir / "feedback" / person.username / self.assignment
        if not place.is_dir() and not (self.test and score):
            return "skipped: is not graded"
        if score and score.unfinished and not self.force:
            return "skipped: a person still has to grade a part of it"
        if self.test:
            return "done: would be returned"
        pages = read_pages(place)
        words = [self._at_home(person, pages), self._in_exchange(person, place, pages)]
        done = [word for word in words if word]
        return f"done: {', '.join(done)}" if done else "skipped: is returned already"

    def _at_home(self, person: Person, pages: dict[str, bytes]) -> str:
        folder = trees.Folder({f"{name}.html": (page, False) for name, page in pages.items()})
        with Home(person, self.settings.homes) as home, home.within("feedback"):
            if home.has(folder, self.assignment):
                return ""
            found = home.kind(self.assignment)
            aside = f"{self.assignment}.before-{self.moment}" if found else ""
            home.write_tree(folder, self.assignment, aside)
        kept = f" (what was there is in ~/feedback/{aside})" if aside else ""
        return f"is in ~/feedback/{self.assignment}{kept}"

    def _in_exchange(self, person: Person, place: Path, pages: dict[str, bytes]) -> str:
        """Put them where nbgrader's list finds them.

        Raises:
            Unfit: it cannot, as nbgrader names them by a secret that came with the submission.
        """
        secret = secret_of(place)
        if not secret:
            raise Unfit(
                f"is in ~/feedback/{self.assignment}; nbgrader's list cannot show it, as the submission has no {SECRET}"
            )
        wanted = {page_name(secret, name): page for name, page in pages.items()}
        course = self.settings.course_id
        with (
            exchange.root_of(self.settings) as root,
            exchange.reached(root, exchange.places_of(course, person)[-1].path) as fd,
        ):
            trees.tidy(fd)
            changed = [name for name, page in wanted.items() if not trees.same_file(fd, name, page)]
            for name in changed:
                put(fd, name, wanted[name], person.gid)
            os.fsync(fd)
        return "is in nbgrader's list" if changed else ""


def read_pages(place: Path) -> dict[str, bytes]:
    """The pages of one person, by notebook."""
    return {path.stem: path.read_bytes() for path in sorted(place.glob("*.html"))}


def secret_of(place: Path) -> bytes:
    """What nbgrader's submit put beside the work; nothing if it is odd."""
    try:
        with open(place / SECRET, "rb") as file:
            secret = file.read(SECRET_BYTES + 1)
        secret.decode()
    except (OSError, UnicodeDecodeError):
        return b""
    return secret if len(secret) <= SECRET_BYTES else b""


def page_name(secret: bytes, notebook: str) -> str:
    """A page's name in the exchange: nbgrader/utils.py: notebook_hash."""
    return f"{hashlib.md5(secret + notebook.encode(), usedforsecurity=False).hexdigest()}.html"


def put(fd: int, name: str, page: bytes, gid: int) -> None:
    """A page that its student can read and nobody can change, in place of an earlier one."""
    stage = trees.stage_name()
    try:
        trees.write_file(fd, stage, page, 0o640, last=True)
        os.chown(stage, 0, gid, dir_fd=fd, follow_symlinks=False)
        os.rename(stage, name, src_dir_fd=fd, dst_dir_fd=fd)
    except OSError:
        trees.discard(fd, stage)
        raise


def return_(settings: Settings, arguments: Namespace) -> Report:
    """Make the pages anew, unless told otherwise, and give them to the students."""
    assignment, test = arguments.assignment, arguments.test
    people = settings.chosen(arguments.students)
    check_known(settings, assignment)
    failed = {}
    if arguments.generate:
        made = make(settings, assignment, people, test)
        failed = {
            user: outcome for user, outcome in made.table.items() if outcome.startswith("failed")
        }
    run = Return(settings, assignment, arguments.force, test)
    good = [person for person in people if person.username not in failed]
    table = each(f"return {assignment}", good, run.give) | failed
    ungraded = [user for user, outcome in table.items() if outcome == "skipped: is not graded"]
    unfinished = sorted(user for user, score in run.scores.items() if score.unfinished)
    summary = {"assignment": assignment, "test": test, "unfinished": unfinished}
    return Report(table, summary | {"not_graded": ungraded})


def add_commands(subparsers) -> None:
    """Add the verbs to the command line."""
    maker = subparsers.add_parser("feedback", help="make the pages that graded work is returned as")
    maker.set_defaults(run=run_feedback)
    giver = subparsers.add_parser("return", help="give the students their graded work")
    giver.add_argument("--generate", action="store_true", help="make the pages first")
    giver.add_argument("--force", action="store_true", help="also what is not graded to the end")
    giver.set_defaults(run=return_)
    for parser in (maker, giver):
        parser.add_argument("assignment")
        parser.add_argument("--students", default="", help="these alone: a,b,c")
        parser.add_argument("--test", action="store_true", help="tell what would be done")


def run_feedback(settings: Settings, arguments: Namespace) -> Report:
    check_known(settings, arguments.assignment)
    people = settings.chosen(arguments.students)
    return make(settings, arguments.assignment, people, arguments.test)
