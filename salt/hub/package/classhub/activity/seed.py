"""The verb `import-activity`: what a service that polled wrote, a row for each person every ten minutes, as intervals.

Its table is `activity(date, user, active)`, from github.com/jupyterhub/jupyterhub-deploy-teaching's kind of class. Polls
that follow each other become one interval.
"""

import sqlite3
from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from classhub.activity.database import POLL, POLLED, Database, has_polls
from classhub.course.report import Refused, Report
from classhub.course.settings import USERNAME, Settings

IMPORTED = 4  # how an interval is known: from polls


def import_activity(settings: Settings, arguments: Namespace) -> Report:
    """Take over a database of polls; what is there already is not there twice."""
    with Database(settings.activity_db, writes=True) as database:
        try:
            with closing(sqlite3.connect(f"file:{arguments.file}?mode=ro", uri=True)) as source:
                if not has_polls(source):
                    raise Refused(f"{arguments.file} has no table activity(date, user, active)")
                with database.writing():
                    counts = take(database, polls(source, "activity"))
        except sqlite3.Error as error:
            raise Refused(f"{arguments.file} cannot be read: {error}") from error
    return Report({user: f"done: {count} intervals" for user, count in sorted(counts.items())})


def take_own(database: Database) -> None:
    """Take over the polls that a database had before it became this one."""
    if has_polls(database.connection, POLLED):
        with database.writing() as connection:
            take(database, list(polls(connection, POLLED)))
            connection.execute(f"drop table {POLLED}")


def polls(source: sqlite3.Connection, table: str) -> Iterator[tuple[str, int]]:
    """Who was active, and when, person by person and in order."""
    query = f"select user, date from {table} where active order by user, date"  # noqa: S608 - a name of ours
    for user, date in source.execute(query):
        if isinstance(user, str) and USERNAME.fullmatch(user) and (at := seconds(date)):
            yield user, at


def seconds(date: object) -> int:
    """A time as SQLite's or Python's modules write it, in UTC unless it says otherwise; 0 for none."""
    if isinstance(date, int | float):
        return int(date)
    try:
        time = datetime.fromisoformat(str(date))
    except ValueError:
        return 0
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


def take(database: Database, active: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Write intervals for polls; how many tell something new of each person."""
    counts: dict[str, int] = {}
    for user, began, ended in intervals(active):
        new = merge(database, database.key("person", user), began, ended)
        counts[user] = counts.get(user, 0) + new
    return counts


def merge(database: Database, person: int, began: int, ended: int) -> bool:
    """Write an interval as one with those of this person that it overlaps; whether that tells anything new."""
    values = [person, ended, began]
    overlapped = database.rows(
        "select began, ended from usage where person = ? and began <= ? and ended >= ?", *values
    )
    if any(first <= began and ended <= last for first, last in overlapped):
        return False
    write = database.connection.execute
    write("delete from usage where person = ? and began <= ? and ended >= ?", values)
    began = min([began, *(first for first, _ in overlapped)])
    ended = max([ended, *(last for _, last in overlapped)])
    write("insert into usage values (?, ?, ?, ?)", [person, began, ended, IMPORTED])
    return True


def intervals(active: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int, int]]:
    """Person, first and last time of polls that follow each other. A poll sees what was within POLL before it."""
    known: list = []  # user, first, last
    for user, at in active:
        if known and known[0] == user and at - known[2] <= POLL * 3 // 2:
            known[2] = at
            continue
        if known:
            yield known[0], known[1] - 1, known[2] - 1
        known = [user, at, at]
    if known:
        yield known[0], known[1] - 1, known[2] - 1


def add_commands(subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "import-activity", help="take over what a service that polled wrote"
    )
    parser.add_argument("file", type=Path)
    parser.set_defaults(run=import_activity)
