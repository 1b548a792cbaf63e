"""What the activity database can be asked: functions of the database and the course, to rows of a table.

A server runs from its start to its end; somebody uses the class from the first to the last use that JupyterHub told of,
where less than ten minutes are between two. Times are the course's.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from classhub.activity.database import Database
from classhub.course.settings import Settings
from classhub.course.times import Times, moment, times_of

HOUR, DAY, WEEK = 3600, 86400, 7 * 86400
RUSH = DAY  # seconds before an assignment is due in which a class is busiest
MARGIN = 1.1  # seats that are needed, for each that was taken
Row = dict[str, object]


class Interval(NamedTuple):
    """A server that ran, or a use of the class; seconds since the epoch."""

    user: str
    began: float
    ended: float


class Window(NamedTuple):
    """What is asked about; seconds since the epoch."""

    since: float
    until: float


def servers(database: Database, window: Window, now: float) -> list[Interval]:
    """The servers that ran in a window; one that still runs ends now."""
    rows = database.rows(
        "select user, began / 1e9, coalesce(ended / 1e9, ?) from session"
        " where began < ? * 1e9 and coalesce(ended, ?) > ? * 1e9",
        now, window.until, now * 1e9, window.since,
    )  # fmt: skip
    return [clipped(Interval(*row), window) for row in rows]


def uses(database: Database, window: Window) -> list[Interval]:
    """The uses in a window."""
    rows = database.rows(
        "select person.name, began, ended from usage join person on person.id = usage.person"
        " where began < ? and ended >= ?",
        window.until, window.since,
    )  # fmt: skip
    return [clipped(Interval(*row), window) for row in rows]


def clipped(one: Interval, window: Window) -> Interval:
    return Interval(one.user, max(one.began, window.since), min(one.ended, window.until))


def shown(settings: Settings, at: float) -> str:
    """A time in the course's zone."""
    return datetime.fromtimestamp(at, settings.zone).isoformat(" ", "minutes")


# -- how many


class Steps:
    """How many of some intervals there are at once.

    Args:
        intervals: in any order
    """

    def __init__(self, intervals: Iterable[Interval]) -> None:
        changes: dict[float, int] = defaultdict(int)
        for one in intervals:
            changes[one.began] += 1
            changes[one.ended] -= 1
        count, self.counts = 0, [(-math.inf, 0)]
        for at in sorted(changes):
            count += changes[at]
            self.counts.append((at, count))

    def most(self, since: float, until: float) -> tuple[int, float]:
        """The most at once in a window, and since when."""
        found, before = [], (0, since)
        for at, count in self.counts:
            if at <= since:
                before = (count, since)
            elif at < until:
                found.append((count, at))
        return max([before, *found], key=lambda one: (one[0], -one[1]))


def hourly(database: Database, settings: Settings, window: Window, now: float) -> list[Row]:
    """For each hour: how many people used the class, and how many servers ran at once at most."""
    people: dict[int, set[str]] = defaultdict(set)
    for one in uses(database, window):
        for hour in hours_of(one):
            people[hour].add(one.user)
    seats: dict[int, list[Interval]] = defaultdict(list)
    for one in servers(database, window, now):
        for hour in hours_of(one):
            seats[hour].append(one)
    return [
        {
            "hour": shown(settings, hour),
            "people": len(people.get(hour, ())),
            "servers": Steps(seats.get(hour, ())).most(hour, hour + HOUR)[0],
        }
        for hour in hours_of(Interval("", window.since, window.until))
    ]


def hours_of(one: Interval) -> Iterator[int]:
    """The hours that an interval touches, by their beginning."""
    hour = int(one.began) // HOUR * HOUR
    yield hour
    while (hour := hour + HOUR) < one.ended:
        yield hour


def peak(database: Database, settings: Settings, window: Window, now: float) -> list[Row]:
    """The most servers and the most people at once, and when."""
    rows, used = [], uses(database, window)
    for what, found in (
        ("servers", servers(database, window, now)),
        ("people", [one._replace(ended=one.ended + 1) for one in used]),  # its last second is one
    ):
        most, at = Steps(found).most(window.since, window.until)
        rows.append({"of": what, "most": most, "at": shown(settings, at) if most else ""})
    return rows


# -- who


def hours(database: Database, settings: Settings, window: Window, now: float) -> list[Row]:
    """For each student: hours of use in all, and in the time of each assignment, from its release until it is due.

    Where the times of assignments overlap, an hour counts for each of them.
    """
    times = {
        name: (start_of(settings, name), times_of(settings, name)) for name in settings.assignments
    }
    found: dict[str, dict[str, float]] = {person.username: {} for person in settings.students}
    for one in uses(database, window):
        if one.user in found:
            add(found[one.user], one, times)
    columns = ["hours", *times]
    return [
        {"user": user, **{name: round(spent.get(name, 0) / HOUR, 2) for name in columns}}
        for user, spent in sorted(found.items())
    ]


def add(spent: dict[str, float], one: Interval, times: dict[str, tuple[float, Times]]) -> None:
    """Add a use to what somebody spent."""
    spent["hours"] = spent.get("hours", 0) + one.ended - one.began
    for name, (start, known) in times.items():
        due = known.due_for(one.user)
        end = due.timestamp() if due else math.inf
        within = min(one.ended, end) - max(one.began, start)
        spent[name] = spent.get(name, 0) + max(0, within)


def start_of(settings: Settings, assignment: str) -> float:
    """When an assignment is given out; always, if the calendar does not say."""
    text = settings.assignments[assignment].get("release")
    return moment(text, settings.timezone).timestamp() if text else -math.inf


def sessions(database: Database, settings: Settings, window: Window, now: float) -> list[Row]:
    """Each server that ran: from when to when, on which node, and how it ended."""
    rows = database.rows(
        "select user, node, began, ended, code, oom, estimated from session"
        " where began < ? * 1e9 and coalesce(ended, ? * 1e9) > ? * 1e9 order by began",
        window.until, now, window.since,
    )  # fmt: skip
    return [
        {
            "user": user,
            "node": node,
            "began": shown(settings, began / 1e9),
            "ended": shown(settings, ended / 1e9) if ended else "",
            "hours": round(((ended or now * 1e9) - began) / 1e9 / HOUR, 2),
            "code": "" if code is None else code,
            "out of memory": "yes" if oom else "",
            "estimated": "yes" if estimated else "",
        }
        for user, node, began, ended, code, oom, estimated in rows
    ]


def gaps(database: Database, settings: Settings, window: Window, now: float) -> list[Row]:
    """When a node's events may be missing: what was then is estimated."""
    rows = database.rows(
        "select name, began, ended from gap join node on node.id = gap.node"
        " where began < ? and ended >= ? order by began",
        window.until, window.since,
    )  # fmt: skip
    return [
        {"node": node, "began": shown(settings, began), "ended": shown(settings, ended)}
        for node, began, ended in rows
    ]


# -- what is to come


def forecast(database: Database, settings: Settings, room: int, now: float) -> Row:
    """Seats and nodes that the next seven days need.

    As many as the busiest moment of the last four weeks took, and some more. Of the days, those before something was due
    count where something is due in the next seven days, else the others; if there were none of these, all.

    Args:
        room: bytes of memory of the smallest node; 0 if it is not known.
    """
    dues = list(due_times(settings))
    rush = any(now <= due <= now + WEEK for due in dues)
    days = [now - day * DAY for day in range(28, 0, -1)]
    busy = [due - RUSH for due in dues if now - 4 * WEEK <= due - RUSH and due <= now]
    calm = [day for day in days if all(abs(day - start) >= DAY for start in busy)]
    chosen = (busy if rush else calm) or days
    steps = Steps(servers(database, Window(now - 4 * WEEK, now), now))
    most, at = max(steps.most(day, day + DAY) for day in chosen)
    seats = min(math.ceil(most * MARGIN), max(len(settings.people), most))
    why = "the busiest moment of four weeks"
    if chosen is busy:
        why = "the busiest moment of a day before something was due"
    return {
        "seats": seats,
        "nodes": math.ceil(seats / (room // settings.seat)) if room >= settings.seat else "",
        "taken": most,
        "at": shown(settings, at) if most else "",
        "because": why + (", as something is due within a week" if rush else ""),
    }


def due_times(settings: Settings) -> Iterator[float]:
    """When something is due."""
    for name in settings.assignments:
        if due := times_of(settings, name).due:
            yield due.timestamp()


# -- what is asked about


def window_of(settings: Settings, since: str, until: str, now: datetime) -> Window:
    """A window of the course's time; a week until now if nothing is said."""
    end = moment(until, settings.timezone) if until else now
    start = moment(since, settings.timezone) if since else end - timedelta(days=7)
    return Window(start.timestamp(), end.timestamp())


QUESTIONS: dict[str, Callable[..., list[Row]]] = {
    "hourly": hourly,
    "peak": peak,
    "hours": hours,
    "sessions": sessions,
    "gaps": gaps,
}
