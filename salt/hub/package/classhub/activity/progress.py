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
        people, _ = people_of(settings, assignment)
        found[assignment] = {
            "people": len(settings.students),
            "due": settings.assignments.get(assignment, {}).get("due", ""),
            **{key: sum(bool(one.get(key)) for one in people.values()) for key in COUNTED},
        }
    return found


def people_of(settings: Settings, assignment: str) -> tuple[dict[str, dict], dict[str, str]]:
    """Username -> how far the student is: see `Status`; and username -> why that is not known, of whom it is not."""
    run = Status(settings, assignment)
    table = each(f"status {assignment}", settings.students, run.of)
    return run.people, {user: why for user, why in table.items() if why.startswith("failed")}


def unstarted(settings: Settings, assignment: str) -> tuple[list[str], dict[str, str]]:
    """Usernames of the students who neither changed anything in it nor submitted; and of whom that is not known, why."""
    people, failed = people_of(settings, assignment)
    known = {user: one for user, one in people.items() if user not in failed}
    users = (user for user, one in known.items() if not (one["opened"] or one["submitted"]))
    return sorted(users), failed
