"""nbgrader's gradebook and preprocessors, used for a whole class: opened once, and written in batches.

nbgrader opens its database some twelve times for each notebook, and waits for the disk at each score. Here all of its
own preprocessors work with one open gradebook, whose commits wait for the end of a batch.
"""

import contextlib
import hashlib
import logging
import sys
from collections.abc import Container, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from nbformat import NotebookNode
from nbgrader import preprocessors
from nbgrader.api import Gradebook, InvalidEntry, MissingEntry, SubmittedAssignment
from sqlalchemy import create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from classhub.course.gradebook import FILE, PATIENCE, is_late
from classhub.course.report import Refused, Unfit
from classhub.course.settings import Person, Settings
from classhub.course.times import Times

# nbgrader/converters/autograde.py: sanitize_preprocessors and autograde_preprocessors, but for Execute, for a second look
# at metadata, none of which comes back from the nodes, and for AssignLatePenalties, which looks at a submission only when
# it is graded: `_penalise`
SANITISE = (
    preprocessors.ClearOutput,
    preprocessors.DeduplicateIds,
    preprocessors.OverwriteKernelspec,
    preprocessors.OverwriteCells,
    preprocessors.CheckCellMetadata,
)
RECORD = (
    preprocessors.IgnorePattern,
    preprocessors.LimitOutput,
    preprocessors.SaveAutoGrades,
)
# the modules of those that open a gradebook
OPENING = [
    module
    for module in {sys.modules[step.__module__] for step in SANITISE + RECORD}
    if hasattr(module, "Gradebook")
]

logging.getLogger("traitlets").setLevel(logging.ERROR)  # each repair is in the report


class _Batch(Session):
    """A session in which nbgrader's commits and rollbacks are none: whoever opened it does them."""

    def commit(self) -> None:
        self.flush()

    def rollback(self) -> None:
        """What nbgrader says before it raises; `as_one` undoes the submission then."""

    def end(self, keep: bool) -> None:
        super().commit() if keep else super().rollback()


class ClassGradebook(Gradebook):
    """The gradebook of a course, as nbgrader's code uses it, opened once.

    Args:
        settings: of the course
        assignment: name of the one to grade
        writes: whether it is to be written; one at a time can

    Attributes:
        notebooks: names of its notebooks

    Raises:
        Refused: there is no gradebook, or it does not have the assignment.
    """

    def __init__(self, settings: Settings, assignment: str, writes: bool = False) -> None:
        path = settings.course_dir / FILE
        if not path.is_file():  # SQLite would make an empty one
            raise Refused(_unknown(assignment))
        self.settings, self.assignment, self.course_id = settings, assignment, settings.course_id
        self.authenticator = None
        url = f"sqlite:///{path}"
        self.engine = create_engine(url, connect_args={"timeout": PATIENCE})
        # SQLite's own Python module begins a transaction too late: docs.sqlalchemy.org, "pysqlite"
        event.listen(self.engine, "connect", _no_begin)
        event.listen(self.engine, "begin", _begin_to_write if writes else _begin_to_read)
        self.db = scoped_session(sessionmaker(bind=self.engine, class_=_Batch, autoflush=True))
        try:
            found = [one for one in self.assignments if one.name == assignment]
            self.notebooks = [one.name for one in found[0].notebooks] if found else []
        except SQLAlchemyError as error:
            raise Refused(f"{path} cannot be used: {error}") from error
        finally:
            self.let_go()
        if not self.notebooks:
            raise Refused(_unknown(assignment))

    def close(self) -> None:
        """Nothing: nbgrader's preprocessors close what they opened, and this stays open for the next."""

    def leave(self) -> None:
        """Close it for good."""
        self.let_go()
        self.engine.dispose()

    def as_one(self) -> AbstractContextManager:
        """All of what is written within it or, if something raises, nothing."""
        return self.db.begin_nested()

    def keep(self) -> None:
        """Commit what was written; the batch is on the disk then."""
        self.db().end(keep=True)

    def let_go(self) -> None:
        """Forget what was read or written since the last commit, so that others can write."""
        self.db().end(keep=False)

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Let nbgrader's preprocessors use this gradebook in place of opening one."""
        before = [module.Gradebook for module in OPENING]
        for module in OPENING:
            module.Gradebook = lambda *_: self
        try:
            yield
        finally:
            for module, gradebook in zip(OPENING, before, strict=True):
                module.Gradebook = gradebook

    def version(self) -> str:
        """What tells this state of the assignment from another: a sha256 of what nbgrader made of its source."""
        cells = [
            (notebook.name, cell.name, cell.cell_type, cell.source, cell.checksum)
            for notebook in self.find_assignment(self.assignment).notebooks
            for cell in notebook.source_cells
        ]
        self.let_go()
        return hashlib.sha256(repr(sorted(map(repr, cells))).encode()).hexdigest()

    # -- before the execution

    def sanitise(self, user: str, name: str, book: NotebookNode) -> NotebookNode:
        """A notebook as it is to be executed: locked cells as in the source, with their hidden tests."""
        try:
            return self._through(SANITISE, user, name, book)
        finally:
            self.let_go()

    # -- after it

    def record(
        self,
        person: Person,
        submitted: datetime | None,
        times: Times,
        books: dict[str, NotebookNode],
    ) -> dict[str, NotebookNode]:
        """Write the scores of one person's executed notebooks.

        Args:
            person: whose they are
            submitted: when that was, in UTC
            times: of the assignment
            books: executed notebooks by name; one that is not there has no points

        Returns:
            The notebooks as they are to be kept.

        Raises:
            Unfit: the gradebook has no place for them.
        """
        kept = {}
        try:
            entry = self._enter(person, submitted, times)
            for name in self.notebooks:
                if name in books:
                    kept[name] = self._through(RECORD, person.username, name, books[name])
                else:
                    self._no_points(person.username, name)
            self._penalise(entry, times)
        except (MissingEntry, InvalidEntry) as error:
            raise Unfit(f"the gradebook has no place for it: {error}") from error
        return kept

    def settle(self, users: Container[str], times: Times, test: bool = False) -> list[str]:
        """Bring the penalties of graded submissions up to date with the calendar.

        Args:
            users: whose
            times: of the assignment
            test: keep nothing of it

        Returns:
            Usernames of those whose penalty is another than before.

        Raises:
            Refused: the gradebook cannot be written.
        """
        try:
            self._set_due(times)
            entries = self.assignment_submissions(self.assignment)
            mine = [entry for entry in entries if entry.student.id in users]
            changed = [entry.student.id for entry in mine if self._penalise(entry, times)]
            if not test:
                self.keep()
        except SQLAlchemyError as error:
            raise Refused(f"the gradebook cannot be written: {error}") from error
        finally:
            self.let_go()
        return changed

    def _enter(
        self, person: Person, submitted: datetime | None, times: Times
    ) -> SubmittedAssignment:
        """See that the submission is in the gradebook: nbgrader/converters/autograde.py: init_assignment."""
        self.update_or_create_student(person.username)
        self._set_due(times)
        return self.update_or_create_submission(
            self.assignment,
            person.username,
            **({"timestamp": _naive(submitted)} if submitted else {}),
        )

    def _set_due(self, times: Times) -> None:
        """Enter the calendar's due time; where it has none, the one that was set in the formgrader stays."""
        if times.due:
            self.find_assignment(self.assignment).duedate = _naive(times.due + times.grace)

    def _penalise(self, entry: SubmittedAssignment, times: Times) -> bool:
        """Take from a late submission what the course has for that, and from no other; whether anything is new in it."""
        if times.due:
            entry.extension = times.due_for(entry.student.id) - times.due or None
        late = self.settings.late_penalty == "zero" and is_late(entry, times)
        changed = False
        self.db.flush()
        for notebook in entry.notebooks:
            self.db.expire(notebook, ["score"])  # it may be from before what was just entered
            penalty = max(0.0, notebook.score) if late else None
            changed |= (penalty or 0) != (notebook.late_submission_penalty or 0)
            notebook.late_submission_penalty = penalty
        return changed

    def _no_points(self, user: str, name: str) -> None:
        """What is not there has no points: as init_assignment has it."""
        for grade in self.find_submission_notebook(name, self.assignment, user).grades:
            grade.auto_score, grade.needs_manual_grade = 0, False

    def _through(self, steps: tuple, user: str, name: str, book: NotebookNode) -> NotebookNode:
        resources = {
            "nbgrader": {
                "student": user,
                "assignment": self.assignment,
                "notebook": name,
                "db_url": str(self.engine.url),
            }
        }
        with self.shared():
            for step in steps:
                book, resources = step()(book, resources)
        return book


def _unknown(assignment: str) -> str:
    return (
        f"the gradebook does not know {assignment} yet: make its release version first "
        f"(classhub.release {assignment})"
    )


def _naive(time: datetime) -> datetime:
    """A time as the gradebook has it: UTC without saying so."""
    return time.astimezone(UTC).replace(tzinfo=None)


def _no_begin(connection, _record) -> None:
    connection.isolation_level = None


def _begin_to_read(connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_to_write(connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
