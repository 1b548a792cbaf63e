"""How far the class is with each assignment that is given out: counts, and who has not begun."""

from classhub.course.release import names_in
from classhub.course.report import each
from classhub.course.settings import Settings
from classhub.course.status import Status

COUNTED = ("has", "opened", "submitted", "late", "collected", "graded", "returned")


def progress(settings: Settings) -> dict[str, dict]:
    """Assignment -> how many students have it, opened it, ...; and ``due``, as the calendar has it."""
    found = {}
    for assignment in sorted(names_in(settings.course_exchange / "outbound")):
        people = people_of(settings, assignment)
        found[assignment] = {
            "people": len(settings.students),
            "due": settings.assignments.get(assignment, {}).get("due", ""),
            **{key: sum(bool(one.get(key)) for one in people.values()) for key in COUNTED},
        }
    return found


def people_of(settings: Settings, assignment: str) -> dict[str, dict]:
    """Username -> how far the student is: see `Status`."""
    run = Status(settings, assignment)
    each(f"status {assignment}", settings.students, run.of)
    return run.people


def unstarted(settings: Settings, assignment: str) -> list[str]:
    """Usernames of the students who neither changed anything in it nor submitted."""
    people = people_of(settings, assignment)
    return sorted(
        user for user, one in people.items() if not (one.get("opened") or one.get("submitted"))
    )
