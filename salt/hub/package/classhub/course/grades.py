"""The verb `grades`: everybody's points as CSV, for a registrar or to be imported into Canvas or Moodle.

Canvas: https://community.canvaslms.com/t5/Instructor-Guide/How-do-I-import-grades-in-the-Gradebook/ta-p/807
Moodle: https://docs.moodle.org/en/Grade_import
"""

import csv
import io
from argparse import Namespace
from collections.abc import Callable

from classhub.course import gradebook
from classhub.course.gradebook import Marks, number
from classhub.course.report import Refused, Report
from classhub.course.settings import Person, Settings

# A spreadsheet would take a text that starts like this for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def text(value: str) -> str:
    """A name of somebody that no spreadsheet runs."""
    return f"'{value}" if value.startswith(FORMULA) else value


def points(person: Person, marks: Marks) -> str:
    """A person's points; empty if nothing is graded, which no gradebook takes for a zero."""
    score = marks.scores.get(person.username)
    return number(score.points) if score else ""


def plain(people: list[Person], found: dict[str, Marks]) -> list[list[str]]:
    """One line a person and assignment."""
    head = ["assignment", "username", "name", "section", "points", "most", "penalty", "complete"]
    rows = [head]
    for name, marks in found.items():
        for person in people:
            score = marks.scores.get(person.username)
            graded = (
                [number(score.penalty), "no" if score.unfinished else "yes"]
                if score
                else ["", "no"]
            )
            who = [person.username, text(person.name), text(person.section)]
            rows.append([name, *who, points(person, marks), number(marks.most), *graded])
    return rows


def canvas(people: list[Person], found: dict[str, Marks]) -> list[list[str]]:
    """Canvas's own columns; it finds people by SIS Login ID."""
    rows = [["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *found]]
    most = [number(marks.most) for marks in found.values()]
    rows.append(["    Points Possible", "", "", "", "", *most])
    for person in people:
        who = [text(person.name or person.username), "", "", person.username, text(person.section)]
        rows.append([*who, *(points(person, marks) for marks in found.values())])
    return rows


def moodle(people: list[Person], found: dict[str, Marks]) -> list[list[str]]:
    """Columns that Moodle's import offers to map by themselves."""
    rows = [["username", "email", *found]]
    for person in people:
        who = [person.username, text(person.email)]
        rows.append([*who, *(points(person, marks) for marks in found.values())])
    return rows


FORMATS: dict[str, Callable] = {"csv": plain, "canvas": canvas, "moodle": moodle}


def grades(settings: Settings, arguments: Namespace) -> Report:
    """Everybody's points; the CSV text is `csv` in the summary."""
    kind, wanted = arguments.format, arguments.assignment
    if kind not in FORMATS:
        raise Refused(f"there is no format {kind}; there are: {', '.join(FORMATS)}")
    found = gradebook.marks(settings)
    if not found:
        raise Refused("nothing is graded yet")
    if wanted and wanted not in found:
        raise Refused(f"nothing of {wanted} is graded yet; graded are: {', '.join(found)}")
    found = {wanted: found[wanted]} if wanted else found
    people = sorted(settings.students, key=lambda person: person.username)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(FORMATS[kind](people, found))
    table = {person.username: told(person, found) for person in people}
    return Report(table, {"csv": out.getvalue()})


def told(person: Person, found: dict[str, Marks]) -> str:
    """What of one person is in it."""
    scores = {name: marks.scores.get(person.username) for name, marks in found.items()}
    missing = [name for name, score in scores.items() if score is None]
    partly = [name for name, score in scores.items() if score and score.unfinished]
    words = [f"no grade in {', '.join(missing)}"] if missing else []
    words += [f"{', '.join(partly)} is not graded to the end"] if partly else []
    if len(missing) == len(found):
        return f"skipped: {'; '.join(words)}"
    return f"done: {'; '.join(words) or 'complete'}"


def add_commands(subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("grades", help="everybody's points as CSV")
    parser.add_argument("assignment", nargs="?", default="")
    parser.add_argument("--format", default="csv", help=", ".join(FORMATS))
    parser.set_defaults(run=grades)
