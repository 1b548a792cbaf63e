"""The course's calendar: the verbs `calendar`, which shows it, and `keep-calendar`, which does what has come due.

What is done is remembered in the course's .calendar.json by assignment, action and planned time. So a run that was
missed is caught up by the next one, however late, and a time that is changed is a new one. Every action is safe to
repeat: one that a killed run did, but did not remember, is done again.

An assignment's `autograde` says when it is graded by itself: at `collect`, once all is in, or at each `submit`.
"""

import json
import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple

from classhub.course import trees
from classhub.course.ledger import fsync_dir
from classhub.course.release import names_in
from classhub.course.report import Refused, Report, tell
from classhub.course.settings import Settings
from classhub.course.store import Store, now, write_file
from classhub.course.times import moment, sealed_at, times_of

JOURNAL = ".calendar.json"
RETRY = timedelta(minutes=10)  # after an action that was refused or failed for somebody
GIVE_UP = timedelta(days=1)  # on those for whom it failed; who is refused is tried for ever
ORDER = ("release", "collect", "autograde", "return")


class Action(NamedTuple):
    """Something to do at a time."""

    when: datetime
    verb: str
    assignment: str

    @property
    def key(self) -> str:
        return f"{self.assignment} {self.verb} {self.when.isoformat()}"


def actions(settings: Settings) -> list[Action]:
    """All actions of the calendar, in the order in which they are to be done."""
    found = []
    for name, entry in settings.assignments.items():
        for verb in ("release", "return"):
            if entry.get(verb):
                found.append(Action(moment(entry[verb], settings.timezone), verb, name))
        verbs = ("collect", "autograde") if entry.get("autograde") else ("collect",)
        ends = times_of(settings, name).ends()
        found += [Action(when, verb, name) for when in ends for verb in verbs]
    return sorted(found, key=lambda action: (action.when, ORDER.index(action.verb)))


def submissions(settings: Settings) -> list[Action]:
    """What to do about the newest submission of each assignment that is graded as it is submitted."""
    wanted = [
        name for name, entry in settings.assignments.items() if entry.get("autograde") == "submit"
    ]
    newest = {}
    if wanted:
        for line in Store(settings.store).ledger.lines:
            newest[line["assignment"]] = sealed_at(line)
    return [Action(newest[name], "autograde", name) for name in wanted if name in newest]


class Journal:
    """What was done, and what was tried in vain.

    Attributes:
        entries: action's key -> {"done": bool, "at": time, "outcome": words}
    """

    def __init__(self, settings: Settings) -> None:
        self.path = settings.course_dir / JOURNAL
        try:
            self.entries = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self.entries = {}
        except (OSError, ValueError) as error:
            raise Refused(f"{self.path} cannot be read: {error}; move it away") from error

    def is_due(self, action: Action) -> bool:
        entry = self.entries.get(action.key)
        if action.when > now() or (entry and entry["done"]):
            return False
        return not entry or now() - datetime.fromisoformat(entry["at"]) >= RETRY

    def note(self, action: Action, done: bool, outcome: str) -> None:
        """Remember what became of an action."""
        at = now().isoformat(timespec="seconds")
        self.entries[action.key] = {"done": done, "at": at, "outcome": outcome}
        new = self.path.with_suffix(".new")
        write_file(new, json.dumps(self.entries, indent=1).encode())
        os.replace(new, self.path)
        fsync_dir(self.path.parent)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one that keeps the calendar.

        Raises:
            Refused: somebody else does.
        """
        with trees.opened(self.path.parent) as fd:
            trees.hold(fd, "another run keeps the calendar just now")
            yield


def words_of(settings: Settings, action: Action) -> list[list[str]]:
    """An action as it is said on the command line, verb by verb; what is graded is collected first."""
    if action.verb == "autograde":
        return [[verb, "--", action.assignment] for verb in ("collect", "autograde")]
    comes = settings.source_git or settings.source_directory
    has_source = comes or action.assignment in names_in(settings.course_dir / "source")
    generate = action.verb == "return" or (action.verb == "release" and has_source)
    return [[action.verb, *(["--generate"] if generate else []), "--", action.assignment]]


def act(settings: Settings, action: Action) -> tuple[bool, str]:
    """Do it; whether it is done, and what to say of it."""
    from classhub.course.__main__ import parser  # noqa: PLC0415

    tell(f"calendar: {action.verb} {action.assignment}, planned for {shown(settings, action.when)}")
    try:
        for words in words_of(settings, action):
            arguments = parser().parse_args(words)
            report = arguments.run(settings, arguments).as_dict()
    except (Refused, OSError) as error:
        return False, f"failed: {error}"
    counts = {word: report["summary"][word] for word in ("done", "skipped", "failed")}
    told = ", ".join(f"{count} {word}" for word, count in counts.items())
    late = now() - action.when > GIVE_UP
    return (not counts["failed"] or late), f"{'failed' if counts['failed'] else 'done'}: {told}"


def keep(settings: Settings, arguments: Namespace) -> Report:
    """Do what has come due; the table is by action."""
    journal, table = Journal(settings), {}
    with journal.alone():
        journal = Journal(settings)
        for action in [*actions(settings), *submissions(settings)]:
            if not journal.is_due(action):
                continue
            planned = shown(settings, action.when)
            name = f"{action.verb} {action.assignment}, planned for {planned}"
            if arguments.test:
                table[name] = "done: would be done"
                continue
            done, outcome = act(settings, action)
            journal.note(action, done, outcome)
            table[name] = outcome
    return Report(table, {"test": arguments.test})


def shown(settings: Settings, when: datetime) -> str:
    """A time by the course's clock."""
    return when.astimezone(settings.zone).isoformat(" ", "minutes")


def calendar(settings: Settings, arguments: Namespace) -> Report:
    """The calendar as it is kept."""
    entries = Journal(settings).entries
    found = {}
    for name in settings.assignments:
        times = times_of(settings, name)
        plan = [action for action in actions(settings) if action.assignment == name]
        found[name] = {
            "due": shown(settings, times.due) if times.due else "",
            "autograde": settings.assignments[name].get("autograde", ""),
            "extensions": {
                user: shown(settings, when) for user, when in sorted(times.extensions.items())
            },
            "actions": [
                {
                    "verb": action.verb,
                    "planned": shown(settings, action.when),
                    "outcome": entries.get(action.key, {}).get("outcome", ""),
                }
                for action in plan
            ],
        }
    return Report(summary={"calendar": found})


def add_commands(subparsers) -> None:
    """Add the verbs to the command line."""
    subparsers.add_parser("calendar", help="show the calendar").set_defaults(run=calendar)
    parser = subparsers.add_parser("keep-calendar", help="do what has come due")
    parser.add_argument("--test", action="store_true", help="only say what would be done")
    parser.set_defaults(run=keep)
