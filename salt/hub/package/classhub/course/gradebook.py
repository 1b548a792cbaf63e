"""nbgrader's gradebook, read: who has how many points, and where a person still has to grade."""

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, NamedTuple

from classhub.course.report import Refused
from classhub.course.settings import Settings
from classhub.course.times import Times, times_of

if TYPE_CHECKING:
    from nbgrader.api import Gradebook, SubmittedAssignment

FILE = "gradebook.db"
PATIENCE = 60  # seconds in which somebody else may write, such as the formgrader


@dataclass(frozen=True)
class Score:
    """What one person has for an assignment.

    Attributes:
        points: what counts, after the penalty
        most: what can be had
        penalty: points taken for being late
        unfinished: a person still has to grade something of it
    """

    points: float
    most: float
    penalty: float
    unfinished: bool

    def __str__(self) -> str:
        return f"{number(self.points)} of {number(self.most)}"


class Marks(NamedTuple):
    """An assignment in the gradebook: the points it has, and everybody's by username."""

    most: float
    scores: dict[str, Score]


def number(points: float) -> str:
    """Points without needless zeros."""
    return f"{points:.4f}".rstrip("0").rstrip(".")


def marks(settings: Settings) -> dict[str, Marks]:
    """What is graded, by assignment; nothing as long as there is no gradebook.

    Raises:
        Refused: the gradebook cannot be read.
    """
    path = settings.course_dir / FILE
    if not path.exists():  # nbgrader would make one
        return {}
    # late: it takes a second, which verbs without grades need not spend
    from nbgrader.api import Gradebook  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        with Gradebook(f"sqlite:///{path}") as book:
            return {
                one.name: Marks(float(one.max_score), _scores(book, settings, one.name))
                for one in book.assignments
            }
    except SQLAlchemyError as error:
        raise Refused(f"{path} cannot be read: {error}") from error


def scores(settings: Settings, assignment: str) -> dict[str, Score]:
    """Points by username, of those who are graded."""
    return marks(settings).get(assignment, Marks(0.0, {})).scores


def is_late(entry: "SubmittedAssignment", times: Times) -> bool:
    """Whether a submission was made after its person's due time and the grace.

    That is the calendar's or, where it has none, the one that was set in the formgrader.
    """
    due = times.due_for(entry.student.id)
    if not due and entry.assignment.duedate:  # without that, nbgrader cannot add an extension to it
        due = entry.duedate.replace(tzinfo=UTC)
    made = entry.timestamp and entry.timestamp.replace(tzinfo=UTC)
    return bool(due and made and made > due + times.grace)


def _scores(book: "Gradebook", settings: Settings, assignment: str) -> dict[str, Score]:
    times = times_of(settings, assignment)
    found = {}
    for one in book.assignment_submissions(assignment):
        points, penalty = float(one.score), _penalty(one, settings, times)
        found[one.student.id] = Score(
            max(0.0, points - penalty), float(one.max_score), penalty, bool(one.needs_manual_grade)
        )
    return found


def _penalty(entry: "SubmittedAssignment", settings: Settings, times: Times) -> float:
    """Points taken for being late; what the gradebook has may be from before a person gave some, or an extension."""
    if settings.late_penalty != "zero":
        return float(entry.late_submission_penalty)
    return max(0.0, float(entry.score)) if is_late(entry, times) else 0.0
