"""Who comes late gets what was released before: once for each person, however the assignment left the home later."""

import json
import os
from argparse import Namespace

from classhub.course.release import Handout, names_in, released_tree
from classhub.course.report import Refused, Report
from classhub.course.settings import Person, Settings
from classhub.course.store import fsync_dir, write_file


def known(settings: Settings) -> set[str]:
    """Who has been welcomed already.

    Raises:
        Refused: the record cannot be read.
    """
    try:
        return set(json.loads(settings.welcomed.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, TypeError) as error:
        raise Refused(
            f"{settings.welcomed} cannot be used ({error}); remove it, and everybody gets what they lack"
        ) from error


def welcome(settings: Settings, arguments: Namespace) -> Report:
    """Give newcomers all that is released. Whom it failed for is a newcomer next time; who left is one again."""
    welcomed = known(settings)
    newcomers = [person for person in settings.students if person.username not in welcomed]
    told: dict[str, list[str]] = {person.username: [] for person in newcomers}
    released = names_in(settings.course_exchange / "outbound")
    if newcomers:
        for assignment in sorted(released & names_in(settings.course_dir / "release")):
            for name, outcome in _give(settings, assignment, newcomers, arguments.test).items():
                told[name].append(f"{assignment} {outcome}")
    table = {name: _told(outcomes) for name, outcomes in told.items()}
    settled = {name for name, outcome in table.items() if not outcome.startswith("failed")}
    present = (welcomed & settings.by_name.keys()) | settled
    if present != welcomed and not arguments.test:
        _record(settings, present)
    return Report(table)


def _record(settings: Settings, names: set[str]) -> None:
    new = settings.welcomed.with_suffix(".new")
    write_file(new, json.dumps(sorted(names)).encode())
    os.replace(new, settings.welcomed)
    fsync_dir(new.parent)


def _give(settings: Settings, assignment: str, people: list[Person], test: bool) -> dict[str, str]:
    try:
        folder = released_tree(settings, assignment)
    except Refused as error:
        return {person.username: f"failed: {error}" for person in people}
    return Handout(settings, assignment, folder, "", test).give(people)


def _told(outcomes: list[str]) -> str:
    """The outcome of one person, from `<assignment> done: ...` and the like."""
    failed = [outcome for outcome in outcomes if " failed: " in outcome]
    given = [outcome.partition(" ")[0] for outcome in outcomes if " done: " in outcome]
    if failed:
        return f"failed: {'; '.join(failed)}"
    return f"done: {', '.join(given) or 'nothing'} given"


def add_commands(subparsers) -> None:
    parser = subparsers.add_parser("welcome", help="give newcomers what is released")
    parser.add_argument("--test", action="store_true", help="tell what would be done")
    parser.set_defaults(run=welcome)
