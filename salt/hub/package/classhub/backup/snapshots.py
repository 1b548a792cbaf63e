"""The verb `snapshots`: what there is to restore, and whether the backup does its work. And times, as people say them."""

import re
from argparse import _SubParsersAction
from datetime import UTC, datetime, time, timedelta

from classhub.backup import guard, record
from classhub.backup.restic import Absent, Snapshot
from classhub.backup.settings import Settings
from classhub.course.report import Refused, Report

OVERDUE = 3  # intervals after which a backup is overdue
SLACK = 600  # seconds that it may take besides
RUN = 12 * 3600  # seconds that a run may take: TimeoutStartSec of its unit
DAILY, WEEKLY = 26 * 3600, 8 * 86400
ID = re.compile(r"[0-9a-f]{8,64}")
CLOCK = re.compile(r"(today|yesterday)[ T](\d{1,2}:\d{2}(?::\d{2})?)")
HINT = "a time such as '2030-01-31 14:00' or 'yesterday 14:00', or a snapshot's name"


def add_commands(verbs: _SubParsersAction) -> None:
    parser = verbs.add_parser("snapshots", help="what there is to restore, and whether all is well")
    parser.set_defaults(run=lambda settings, _words: snapshots(settings))
    parser = verbs.add_parser("health", help="whether all is well, by what this hub remembers")
    parser.set_defaults(run=lambda settings, _words: Report(health(settings)))


def snapshots(settings: Settings) -> Report:
    """The snapshots, and how the last backup, prune and drill ended."""
    ident = guard.filesystem(settings)
    with guard.reading(settings) as restic:
        try:
            found = guard.known(restic, ident)
        except Absent:
            if ident and record.read(settings):
                raise
            found = []
    table = health(settings)
    ran = found or not table["backup"].startswith("skipped")
    if ident and ran and not table["backup"].startswith("failed"):
        table["backup"] = _age(settings, found) or table["backup"]
    listed = [
        {"snapshot": one.name, "time": shown(one.time, settings), "trees": list(one.paths)}
        for one in reversed(found)
    ]
    return Report(table, {"repository": settings.repository, "snapshots": listed})


def health(settings: Settings) -> dict[str, str]:
    """How each verb that runs by itself last ended, without the repository, which may be out of reach."""
    longest = {"backup": OVERDUE * settings.interval + SLACK, "drill": DAILY, "prune": WEEKLY}
    try:
        known = record.read(settings)
    except Refused as error:
        return dict.fromkeys(longest, f"failed: {error}")
    return {verb: _health(settings, known.get(verb, {}), most) for verb, most in longest.items()}


def _health(settings: Settings, last: dict, most: int) -> str:
    if "begun" in last:
        began = datetime.fromisoformat(last["begun"])
        if _is_past(began, max(most, RUN + SLACK)):
            return f"failed: overdue, begun {shown(began, settings)} and never ended"
        if "at" not in last:
            return f"skipped: the first began {shown(began, settings)}, and has not ended yet"
    if "at" not in last:
        overdue = _is_past(datetime.fromtimestamp(settings.since, UTC), most)
        return "failed: overdue, has never run" if overdue else "skipped: has not run yet"
    when = datetime.fromisoformat(last["at"])
    if _is_past(when, most) and not last["outcome"].startswith("failed"):
        return f"failed: overdue, the last was {shown(when, settings)}"
    return f"{last['outcome']} ({shown(when, settings)})"


def _is_past(when: datetime, seconds: int) -> bool:
    return datetime.now(UTC) - when > timedelta(seconds=seconds)


def _age(settings: Settings, found: list[Snapshot]) -> str:
    """That the newest snapshot is too old, whatever the record says; empty if it is not."""
    if not found:
        return "failed: there is no snapshot"
    if _is_past(found[-1].time, OVERDUE * settings.interval + SLACK):
        return f"failed: overdue, the newest snapshot is of {shown(found[-1].time, settings)}"
    return ""


def shown(when: datetime, settings: Settings) -> str:
    """A time by the course's clock."""
    return f"{when.astimezone(settings.zone):%Y-%m-%d %H:%M}"


def chosen(settings: Settings, found: list[Snapshot], at: str) -> list[Snapshot]:
    """The snapshots that are meant: the newest that is not later than a time, or the one of this name; all, newest
    first, if nothing is said.

    Raises:
        Refused: there is none, or it is no time.
    """
    if not found:
        raise Refused("there is no backup yet: say classhub.backup")
    if not at:
        return found[::-1]
    if ID.fullmatch(at):
        named = [one for one in found if one.id.startswith(at)]
        if len(named) != 1:
            raise Refused(f"there is no snapshot {at}; {_listed(settings, found)}")
        return named
    until = moment(at, settings)
    before = [one for one in found if one.time <= until]
    if not before:
        raise Refused(f"nothing is saved of {at} or before; {_listed(settings, found)}")
    return [before[-1]]


def moment(text: str, settings: Settings, now: datetime | None = None) -> datetime:
    """A time of the course's clock, in UTC; a day alone is its end.

    Raises:
        Refused: it is none.
    """
    today = (now or datetime.now(UTC)).astimezone(settings.zone).date()
    try:
        if found := CLOCK.fullmatch(text.strip().lower()):
            day = today - timedelta(days=found[1] == "yesterday")
            clock = time.fromisoformat(found[2].rjust(5 if found[2].count(":") == 1 else 8, "0"))
            when = datetime.combine(day, clock)
        elif re.fullmatch(r"\d{4}-\d{2}-\d{2}", text.strip()):
            when = datetime.combine(datetime.fromisoformat(text.strip()), time.max)
        else:
            when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Refused(f"{text!r} is not {HINT}") from None
    # times are shown in minutes: 14:00 is also what was saved at 14:00:23
    when += timedelta(seconds=59) if not when.second else timedelta()
    return (when if when.tzinfo else when.replace(tzinfo=settings.zone)).astimezone(UTC)


def _listed(settings: Settings, found: list[Snapshot]) -> str:
    times = ", ".join(f"{one.name} of {shown(one.time, settings)}" for one in found[::-1][:10])
    return f"there are {times}" + (", and older ones" if len(found) > 10 else "")


def names(settings: Settings, found: list[Snapshot]) -> str:
    """Snapshots in words, newest first."""
    return ", ".join(f"{shown(one.time, settings)} ({one.name})" for one in found)
