"""The course's calendar: the verbs `calendar`, which shows it, and `keep-calendar`, which does what has come due.

What is done is remembered in the course's .calendar.json, and of grading in .calendar-grading.json, by assignment, action and planned time. So a run that was
missed is caught up by the next one, however late, and a time that is changed is a new one. Every action is safe to
repeat: one that a killed run did, but did not remember, is done again. Work is returned once it is graded, also if that
is after the time for it.

Grading takes as long as the nodes do, so the hub keeps it apart: an exam's release does not wait for it.

An assignment's `autograde` says when it is graded by itself: at `collect`, once all is in, or at each `submit`.
"""

import json
import os
from argparse import BooleanOptionalAction, Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from classhub.course import gradebook, trees
from classhub.course.feedback import graded
from classhub.course.ledger import fsync_dir
from classhub.course.release import held, names_in
from classhub.course.report import Refused, Report, tell
from classhub.course.sealing import TIMESTAMP
from classhub.course.settings import Settings
from classhub.course.store import Store, now, write_file
from classhub.course.times import moment, sealed_at, times_of

JOURNAL, GRADING_JOURNAL = ".calendar.json", ".calendar-grading.json"
GRADING_LOCK = ".calendar-grading.lock"
RETRY = timedelta(minutes=10)  # after an action that was refused or failed for somebody
GIVE_UP = timedelta(days=1)  # on those for whom it failed; what is refused is tried for ever
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
    """All actions of the calendar, in the order in which they are to be done.

    What is collected after the time of the return, of somebody with an extension, has a return of its own.
    """
    found = []
    for name, entry in settings.assignments.items():
        times = {
            verb: moment(entry[verb], settings.timezone)
            for verb in ("release", "return")
            if entry.get(verb)
        }
        found += [Action(when, verb, name) for verb, when in times.items()]
        verbs = ("collect", "autograde") if entry.get("autograde") else ("collect",)
        ends = times_of(settings, name).ends()
        found += [Action(when, verb, name) for when in ends for verb in verbs]
        if "return" in times:
            found += [Action(when, "return", name) for when in ends if when > times["return"]]
    return sorted(found, key=place)


def place(action: Action) -> tuple[datetime, int]:
    """Where an action stands among the others."""
    return action.when, ORDER.index(action.verb)


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


def waiting(settings: Settings, assignment: str) -> list[str]:
    """The students whose collected work is not graded to the end."""
    scores, there = gradebook.scores(settings, assignment), graded(settings, assignment)

    def stamp(place: str, user: str) -> bytes:
        path = settings.course_dir / place / user / assignment / TIMESTAMP
        return path.read_bytes() if path.exists() else b""

    def is_graded(user: str) -> bool:
        if user not in there or stamp("autograded", user) != stamp("submitted", user):
            return False
        return not (user in scores and scores[user].unfinished)

    collected = [
        person.username
        for person in settings.students
        if (settings.course_dir / "submitted" / person.username / assignment).is_dir()
    ]
    return [user for user in collected if not is_graded(user)]


class Journal:
    """What was done, and what was tried in vain.

    Of two files, as grading is kept apart: each has one writer.

    Attributes:
        entries: of each file, by whether it is that of grading: action's key -> {"done": bool, "at": time, "outcome":
            words}. There is also "since", when it first failed for somebody while it was done for the others; and of a
            return that was done for the others "waits", whose work was still to be graded
    """

    def __init__(self, settings: Settings) -> None:
        self.top = settings.course_dir
        self.paths = {False: self.top / JOURNAL, True: self.top / GRADING_JOURNAL}
        self.entries = {grading: _read(path) for grading, path in self.paths.items()}

    def entry(self, action: Action) -> dict:
        """What is known of an action; empty if it was never tried."""
        # before there were two files, grading was in the first
        return self.entries[True].get(action.key) or self.entries[False].get(action.key, {})

    def is_due(self, action: Action) -> bool:
        entry = self.entry(action)
        if entry.get("done"):
            return False
        return not entry or now() - datetime.fromisoformat(entry["at"]) >= RETRY

    def is_settled(self, action: Action) -> bool:
        """Whether it was done, be it for all but those for whom it failed."""
        entry = self.entry(action)
        return entry.get("done", False) or "since" in entry

    def note(self, action: Action, entry: dict) -> None:
        """Remember what became of an action."""
        grading = action.verb == "autograde"
        path, entries = self.paths[grading], self.entries[grading]
        entries[action.key] = entry | {"at": now().isoformat(timespec="seconds")}
        new = path.with_suffix(".new")
        write_file(new, json.dumps(entries, indent=1).encode())
        os.replace(new, path)
        fsync_dir(self.top)

    @contextmanager
    def alone(self, grading: bool | None = None) -> Iterator[None]:
        """Be the only one that keeps the calendar, or that part of it.

        Raises:
            Refused: somebody else does.
        """
        words = "another run keeps the calendar just now"
        with ExitStack() as stack:
            if grading is not True:
                trees.hold(stack.enter_context(trees.opened(self.top)), words)
            if grading is not False:
                stack.enter_context(held(self.top / GRADING_LOCK, words))
            yield


def _read(path: Path) -> dict[str, dict]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be read: {error}; move it away") from error


def words_of(settings: Settings, action: Action, before: dict, ready: list[str]) -> list[list[str]]:
    """An action as it is said on the command line, verb by verb; what is graded is collected first.

    A release that reached some is given to the others as it is: since then its source may be half changed.

    Args:
        before: what is remembered of it.
        ready: of a return that waited, for whom it is to be done now.
    """
    if action.verb == "autograde":
        return [[verb, "--", action.assignment] for verb in ("collect", "autograde")]
    comes = settings.source_git or settings.source_directory
    has_source = comes or action.assignment in names_in(settings.course_dir / "source")
    first = action.verb == "release" and has_source and "since" not in before
    generate = first or action.verb == "return"
    options = [
        *(["--generate"] if generate else []),
        *(["--students", ",".join(ready)] if ready else []),
    ]
    return [[action.verb, *options, "--", action.assignment]]


def act(settings: Settings, action: Action, before: dict, ready: list[str]) -> dict[str, int]:
    """Do it; how many are done, skipped and failed."""
    from classhub.course.__main__ import parser  # noqa: PLC0415

    tell(f"calendar: {action.verb} {action.assignment}, planned for {shown(settings, action.when)}")
    for words in words_of(settings, action, before, ready):
        arguments = parser().parse_args(words)
        summary = arguments.run(settings, arguments).as_dict()["summary"]
    return {word: summary[word] for word in ("done", "skipped", "failed")}


def remembered(before: dict, counts: dict[str, int], waits: list[str]) -> dict:
    """What is to be remembered of an action that was done for those for whom it could be."""
    told = ", ".join(f"{count} {word}" for word, count in counts.items())
    if counts["failed"]:
        since = before.get("since", now().isoformat(timespec="seconds"))
        if now() - datetime.fromisoformat(since) <= GIVE_UP:
            return {"done": False, "outcome": f"failed: {told}", "since": since}
        told += "; given up, say it by hand"
    if waits:
        told += f"; {len(waits)} still to be graded"
    outcome = f"{'failed' if counts['failed'] else 'done'}: {told}"
    return {"done": not waits, "outcome": outcome} | ({"waits": waits} if waits else {})


def step(settings: Settings, journal: Journal, action: Action, test: bool) -> str:
    """Do an action if it is due; the outcome, or nothing if there was nothing to do."""
    if not journal.is_due(action):
        return ""
    before = journal.entry(action)
    try:
        # before the return, so that who is graded meanwhile gets it by the next
        waits = waiting(settings, action.assignment) if action.verb == "return" else []
        waited = [user for user in before.get("waits", []) if user in settings.by_name]
        ready = [user for user in waited if user not in waits]
        if "waits" in before and not ready:
            entry = before
        elif test:
            return "done: would be done"
        else:
            entry = remembered(before, act(settings, action, before, ready), waits)
    except (Refused, OSError) as error:
        entry = before | {"done": False, "outcome": f"failed: {error}"}
    if not test:
        journal.note(action, entry)
    return "" if entry is before else entry["outcome"]


def keep(settings: Settings, arguments: Namespace) -> Report:
    """Do what has come due; the table is by action.

    Nothing is returned as long as what is to be collected or graded before was not.
    """
    journal, table, unsettled = Journal(settings), {}, set()
    with journal.alone(arguments.grading):
        journal = Journal(settings)
        plan = sorted([*actions(settings), *submissions(settings)], key=place)
        for action in (one for one in plan if one.when <= now()):
            mine = arguments.grading in (None, action.verb == "autograde")
            if action.verb == "return" and action.assignment in unsettled:
                continue
            outcome = step(settings, journal, action, arguments.test) if mine else ""
            if outcome:
                planned = shown(settings, action.when)
                table[f"{action.verb} {action.assignment}, planned for {planned}"] = outcome
            settled = journal.is_settled(action) or (arguments.test and outcome)
            if action.verb in ("collect", "autograde") and not settled:
                unsettled.add(action.assignment)
    return Report(table, {"test": arguments.test})


def shown(settings: Settings, when: datetime) -> str:
    """A time by the course's clock."""
    return when.astimezone(settings.zone).isoformat(" ", "minutes")


def calendar(settings: Settings, arguments: Namespace) -> Report:
    """The calendar as it is kept."""
    journal = Journal(settings)
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
                    "outcome": journal.entry(action).get("outcome", ""),
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
    parser.add_argument(
        "--grading", action=BooleanOptionalAction, help="only grade, or all but that; else both"
    )
    parser.set_defaults(run=keep)
