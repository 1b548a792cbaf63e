"""The verb `activity`: who uses the class, how many at once, for how long, and what the next week needs."""

import csv
import io
from argparse import Namespace

from classhub.activity.answers import QUESTIONS, Row, forecast, window_of
from classhub.activity.database import Database
from classhub.activity.progress import unstarted
from classhub.course.release import check_known
from classhub.course.report import Refused, Report
from classhub.course.settings import Settings
from classhub.course.store import now

FORMATS = ("json", "csv")
OTHERS = ("unstarted", "forecast")  # questions that need more than the database


def activity(settings: Settings, arguments: Namespace) -> Report:
    """Answer a question; the answer is `rows` or `csv` in the summary, and who could not be looked at in the table."""
    known = (*QUESTIONS, *OTHERS)
    if arguments.question not in known:
        raise Refused(f"{arguments.question} is no question; there are: {', '.join(known)}")
    if arguments.format not in FORMATS:
        raise Refused(f"there is no format {arguments.format}; there are: {', '.join(FORMATS)}")
    rows, failed = answer(settings, arguments)
    if arguments.format == "json":
        return Report(failed, {"rows": rows})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([list(rows[0]), *(row.values() for row in rows)] if rows else [])
    return Report(failed, {"csv": out.getvalue()})


def answer(settings: Settings, arguments: Namespace) -> tuple[list[Row], dict[str, str]]:
    """The rows of an answer, and why of whom none is known."""
    if arguments.question == "unstarted":
        if not arguments.assignment:
            raise Refused("unstarted needs an assignment")
        check_known(settings, arguments.assignment)
        users, failed = unstarted(settings, arguments.assignment)
        return [{"user": user} for user in users], failed
    moment = now()
    with Database(settings.activity_db) as database:
        if arguments.question == "forecast":
            return [forecast(database, settings, smallest_node(), moment.timestamp())], {}
        window = window_of(settings, arguments.since, arguments.until, moment)
        if window.since >= window.until:
            raise Refused("since must be before until")
        return QUESTIONS[arguments.question](database, settings, window, moment.timestamp()), {}


def smallest_node() -> int:
    """Bytes of memory of the smallest node."""
    from classhub.culling.engine import Engine  # a second to import, for this question alone

    _, rooms = Engine().survey()
    return min((room.total for room in rooms.values() if room.total), default=0)


def add_commands(subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("activity", help="tell who uses the class, and when")
    parser.add_argument("question", help=", ".join((*QUESTIONS, *OTHERS)))
    parser.add_argument("assignment", nargs="?", default="")
    parser.add_argument("--since", default="", help="a time of the course's; a week before --until")
    parser.add_argument("--until", default="", help="a time of the course's; now")
    parser.add_argument("--format", default="json", help=", ".join(FORMATS))
    parser.set_defaults(run=activity)
