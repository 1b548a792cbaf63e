"""The verb `autograde`: every collected submission executed on the nodes, and its scores in nbgrader's gradebook.

Submissions are prepared on the hub by many processes, executed in containers of their own on the nodes, and recorded
by this one process as they come back. One is graded once its file in .graded says so, which is written last: a run that
was killed leaves the others as they were, and the next one grades them.
"""

import json
import os
import secrets
import shutil
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from classhub.course import gradebook, trees
from classhub.course.collecting import flush
from classhub.course.release import alone_in, check_known
from classhub.course.report import Refused, Report, attempt, tell
from classhub.course.settings import Person, Settings
from classhub.course.store import now, write_file
from classhub.course.times import in_words, times_of

if TYPE_CHECKING:  # loaded when something is graded: other verbs need not spend a second on it
    from classhub.grading.nodes import Nodes
    from classhub.grading.submission import Prepared
    from classhub.grading.workers import Workers

STAGING = ".grading"  # in the course: what is not yet in its place
GRADED = ".graded"  # in the course: a file for each graded submission
ENDS = 2  # containers that end without a result before a submission has no points
LOSSES = 5  # times that nodes refuse or lose a submission before this run gives it up
STUCK = 3  # of these, for one that did not end: it costs the run as long as it may take
BATCH = 20  # submissions that are recorded at once
ALREADY = "skipped: is graded already"
RUNNER = Path(__file__).with_name("runner.py")


class Executed(NamedTuple):
    """A submission that came back from the nodes.

    Attributes:
        result: file of the runner's; nothing if it wrote none
        words: what Swarm says of it
    """

    person: Person
    result: Path | None
    words: str


class Autograde:
    """One run of `autograde`.

    Args:
        settings: of the course
        assignment: its name
        force: grade what is graded already, too
        test: only say what would be done

    Attributes:
        table: username -> outcome
        notes: username -> what is to be told of the submission
        seconds: what took how long
    """

    def __init__(self, settings: Settings, assignment: str, force: bool, test: bool) -> None:
        from classhub.grading.gradebook import ClassGradebook
        from classhub.grading.submission import Bench

        self.settings, self.assignment, self.force, self.test = settings, assignment, force, test
        self.times = times_of(settings, assignment)
        self.gradebook = ClassGradebook(settings, assignment, writes=True)
        self.version = self.gradebook.version()
        self.run = settings.spool / f"{assignment.replace(' ', '-')}-{secrets.token_hex(16)}"
        self.staging = settings.course_dir / STAGING
        self.bench = Bench(settings, assignment, self.gradebook.notebooks, self.run)
        self.table: dict[str, str] = {}
        self.notes: dict[str, list[str]] = {}
        self.prepared: dict[str, Prepared] = {}
        self.seconds = {"prepare": 0.0, "execute and record": 0.0, "record": 0.0}
        self.total, self.began = 0, 0.0

    # -- who is to be graded

    def choose(self, people: Sequence[Person]) -> list[Person]:
        """Those who are to be graded; the others get their outcome here."""
        outcomes = {person: attempt(person, self._reason_not_to) for person in people}
        self.table |= {person.username: outcome for person, outcome in outcomes.items() if outcome}
        return [person for person, outcome in outcomes.items() if not outcome]

    def _reason_not_to(self, person: Person) -> str:
        from classhub.grading.submission import digest

        user, course = person.username, self.settings.course_dir
        place = course / "submitted" / user / self.assignment
        if not place.is_dir():
            return "skipped: nothing is collected"
        record = self._recorded(user)
        there = (course / "autograded" / user / self.assignment).is_dir()
        if there and not self.force and record.get("submission") == digest(place):
            if record.get("version") == self.version:
                return ALREADY
            return f"{ALREADY}, by an earlier version of the tests; force grades it anew"
        return "done: would be graded" if self.test else ""

    def _recorded(self, user: str) -> dict:
        try:
            return json.loads(self._record_path(user).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def _record_path(self, user: str) -> Path:
        return self.settings.course_dir / GRADED / user / f"{self.assignment}.json"

    def settle(self) -> None:
        """Bring the late penalties of those who are graded already up to date, for which nothing need be executed."""
        graded = {user for user, outcome in self.table.items() if outcome.startswith(ALREADY)}
        words = "would get" if self.test else "graded; has"
        for user in self.gradebook.settle(graded, self.times, self.test):
            self.table[user] = f"done: {words} another late penalty"

    # -- the grading

    def grade(self, people: list[Person], nodes: "Nodes") -> None:
        """Grade people's submissions. The caller is alone in the course.

        Raises:
            Refused: the hub's engine cannot be used; who is graded by then stays so.
        """
        from classhub.grading.workers import Workers

        nodes.clear()
        spool = self.settings.spool
        spool.mkdir(mode=0o711, parents=True, exist_ok=True)
        for left in spool.iterdir():  # by killed runs
            shutil.rmtree(left)
        try:
            self._lay_out()
            with Workers(self.bench) as workers:
                with self._timed("prepare"):
                    ready = self._prepare(people, workers)
                with self._timed("execute and record"):
                    self._execute(ready, nodes, workers)
        finally:
            shutil.rmtree(self.run, ignore_errors=True)
            shutil.rmtree(self.staging, ignore_errors=True)

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[what] += time.monotonic() - began

    def _lay_out(self) -> None:
        """Make the run's directories, and put the runner where the nodes find it."""
        shutil.rmtree(self.staging, ignore_errors=True)
        self.staging.mkdir(mode=0o700)
        (self.run / "own").mkdir(mode=0o700, parents=True)
        self.run.chmod(0o711)
        (self.run / "runner").mkdir(mode=0o755)
        shutil.copyfile(RUNNER, self.run / "runner" / RUNNER.name)
        (self.run / "runner" / RUNNER.name).chmod(0o644)

    def _prepare(self, people: list[Person], workers: "Workers") -> list[Person]:
        """Prepare submissions; those that can be executed."""
        from classhub.grading.workers import DIED, prepare

        tell(f"autograde {self.assignment}: prepares {len(people)} submissions")
        ready = []
        for person, found in zip(
            people, workers.map(prepare, [(person,) for person in people]), strict=True
        ):
            outcome, prepared = found or (f"failed: {DIED}", None)
            if prepared:
                self.prepared[person.username] = prepared
                ready.append(person)
            else:
                self._say(person, outcome)
        return ready

    def _execute(self, people: list[Person], nodes: "Nodes", workers: "Workers") -> None:
        """Execute submissions, in as many rounds as it takes, and record them as they come back."""
        ends: Counter[Person] = Counter()
        losses: Counter[Person] = Counter()
        self.total, self.began = len(people), time.monotonic()
        rounds = 0
        while people:
            rounds += 1
            spool = self.run / str(rounds)
            spool.mkdir(mode=0o711)
            slots = dict(enumerate(self._lay(people, spool), 1))
            people, back = [], []
            for finished in nodes.run(spool, len(slots), self.run / "runner"):
                person = slots.pop(finished.slot)
                result = spool / str(finished.slot) / "result"
                has_result = finished.ran and result.stat().st_size > 0
                (ends if finished.ran else losses)[person] += STUCK if finished.stuck else 1
                if has_result or ends[person] >= ENDS:
                    back.append(Executed(person, result if has_result else None, finished.words))
                elif losses[person] >= LOSSES:
                    self._say(person, f"failed: no node could execute it: {finished.words}")
                else:
                    people.append(person)
                if len(back) >= BATCH:
                    self._keep(back, workers)
                    back = []
            if back:
                self._keep(back, workers)
            for person in slots.values():
                self._say(person, "failed: no node took it in time; say it again")

    def _lay(self, people: list[Person], spool: Path) -> list[Person]:
        """Lay out jobs for a round; those for whom that was possible, in the order of their slots."""
        laid: list[Person] = []
        for person in people:
            number = len(laid) + 1
            outcome = attempt(
                person,
                lambda one, slot=number: self.bench.lay(one.username, spool / str(slot), slot),
            )
            if outcome:
                shutil.rmtree(spool / str(number), ignore_errors=True)
                self._say(person, outcome)
            else:
                laid.append(person)
        return laid

    # -- what came back

    def _keep(self, back: list[Executed], workers: "Workers") -> None:
        """Record a batch: in the gradebook first, then in autograded/, and at last that it is graded."""
        with self._timed("record"):
            self._record_all(back, workers)

    def _record_all(self, back: list[Executed], workers: "Workers") -> None:
        from sqlalchemy.exc import SQLAlchemyError

        from classhub.grading.workers import DIED, settle

        items = [(one.person, self.prepared[one.person.username], *one[1:]) for one in back]
        outcomes: dict[Person, str] = {}
        for (person, *_), settled in zip(items, workers.map(settle, items), strict=True):
            outcomes[person] = (
                attempt(person, lambda one, found=settled: self._enter(one, *found))
                if settled
                else f"failed: {DIED}"
            )
        try:
            self.gradebook.keep()
            flush(self.staging)
        except (SQLAlchemyError, OSError) as error:
            self.gradebook.let_go()
            outcomes = dict.fromkeys(outcomes, f"failed: could not be recorded: {error}")
        for person, outcome in outcomes.items():
            self._say(person, outcome or attempt(person, self._place))

    def _enter(self, person: Person, books: dict, notes: dict[str, list[str]]) -> str:
        """Enter a submission's scores, and write what is kept of it."""
        user, prepared = person.username, self.prepared[person.username]
        told = {
            name: [
                printable(words)
                for words in (
                    *prepared.repairs.get(name, []),
                    *prepared.missing.get(name, []),
                    *notes.get(name, []),
                )
            ]
            for name in self.bench.skeletons
        }
        with self.gradebook.as_one():
            kept = self.gradebook.record(
                person,
                prepared.submitted,
                self.times,
                {name.removesuffix(".ipynb"): book for name, book in books.items()},
            )
            books = {f"{name}.ipynb": book for name, book in kept.items()}
            self.bench.write(user, books, told, self.staging / user)
        self.notes[user] = [f"{name}: {words}" for name, found in told.items() for words in found]
        return ""

    def _place(self, person: Person) -> str:
        """Put what is kept of a recorded submission in its place."""
        user, course = person.username, self.settings.course_dir
        parent = course / "autograded" / user
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with trees.opened(self.staging) as staging, trees.opened(parent) as there:
            trees.swap(staging, user, there, self.assignment)
        shutil.rmtree(self.staging / user, ignore_errors=True)  # what was there before
        record = {
            "submission": self.prepared[user].digest,
            "version": self.version,
            "graded_at": now().isoformat(timespec="seconds"),
            "notes": self.notes[user],
        }
        path = self._record_path(user)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        write_file(new, json.dumps(record, indent=1).encode())
        os.replace(new, path)
        return f"done: graded{'; ' + '; '.join(self.notes[user]) if self.notes[user] else ''}"

    def report(self) -> Report:
        """What came of it; whoever is graded has the points beside."""
        scores = gradebook.scores(self.settings, self.assignment)
        graded = [
            user for user, outcome in self.table.items() if outcome.startswith("done: graded")
        ]
        for user in set(graded) & set(scores):
            points = (
                f"done: {scores[user]}"
                + ", a person still has to grade a part" * scores[user].unfinished
            )
            self.table[user] = self.table[user].replace("done: graded", points, 1)
        summary = {"assignment": self.assignment, "test": self.test}
        notes = {user: words for user, words in self.notes.items() if words}
        seconds = {what: round(found, 1) for what, found in self.seconds.items()}
        return Report(self.table, summary | {"notes": notes, "seconds": seconds})

    def _say(self, person: Person, outcome: str) -> None:
        """Note an outcome, and tell how far the run is."""
        outcome = printable(outcome)
        self.table[person.username] = outcome
        done = sum(user in self.table for user in self.prepared)
        if not done:
            tell(f"autograde {self.assignment}: {person.username}: {outcome}")
            return
        left = (time.monotonic() - self.began) / done * (self.total - done)
        tell(
            f"autograde {self.assignment}: {person.username}: {outcome} "
            f"({done} of {self.total}, about {in_words(round(left))} to go)"
        )


def printable(words: str) -> str:
    """Words in which a student may have written, without what commands a terminal or begins a line of its own."""
    return "".join(character if character.isprintable() else " " for character in words)


def autograde(settings: Settings, arguments: Namespace) -> Report:
    """Grade the collected submissions of everybody, or of those named, on the class's nodes."""
    return grade_with(settings, arguments, class_nodes(settings))


def grade_with(settings: Settings, arguments: Namespace, nodes: "Nodes") -> Report:
    """Grade them on these nodes."""
    assignment, test = arguments.assignment, arguments.test
    people = settings.chosen(arguments.students) if arguments.students else settings.people
    check_known(settings, assignment)
    run = Autograde(settings, assignment, arguments.force, test)
    try:
        chosen = run.choose(people)
        run.settle()
        if chosen:
            with alone_in(settings.course_dir, assignment, grading=True):
                run.grade(chosen, nodes)
    finally:
        run.gradebook.leave()
    return run.report()


def class_nodes(settings: Settings) -> "Nodes":
    """The nodes, with the image that students' servers run.

    Raises:
        Refused: there is none yet.
    """
    from classhub.grading.nodes import Nodes

    try:
        image = json.loads(settings.image_file.read_text(encoding="utf-8"))["image"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"there is no image of the class yet ({error}); apply the states of the hub first"
        ) from error
    return Nodes(image, settings.grading, settings.course_id)


def add_commands(subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("autograde", help="grade what is collected, on the nodes")
    parser.add_argument("assignment")
    parser.add_argument("--students", default="", help="these alone: a,b,c")
    parser.add_argument("--force", action="store_true", help="also what is graded already")
    parser.add_argument("--test", action="store_true", help="tell who would be graded")
    parser.set_defaults(run=autograde)
