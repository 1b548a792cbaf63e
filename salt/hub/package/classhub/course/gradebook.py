"""nbgrader's gradebook, read: who has how many points, and where a person still has to grade."""

from dataclasses import dataclass
from typing import NamedTuple

from classhub.course.report import Refused
from classhub.course.settings import Settings

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
                one.name: Marks(float(one.max_score), _scores(book, one.name))
                for one in book.assignments
            }
    except SQLAlchemyError as error:
        raise Refused(f"{path} cannot be read: {error}") from error


def scores(settings: Settings, assignment: str) -> dict[str, Score]:
    """Points by username, of those who are graded."""
    return marks(settings).get(assignment, Marks(0.0, {})).scores


def _scores(book, assignment: str) -> dict[str, Score]:
    return {
        one.student.id: Score(
            max(0.0, float(one.score) - float(one.late_submission_penalty)),
            float(one.max_score),
            float(one.late_submission_penalty),
            bool(one.needs_manual_grade),
        )
        for one in book.assignment_submissions(assignment)
    }
