"""The course's calendar as a class writes it: every fault found at once, and plain text for those who read it.

Pure functions; `_pillar/classhub.py` calls them on the master.
"""

import datetime
import re
import zoneinfo

KEYS = ("release", "due", "cutoff", "return", "grace", "extensions", "autograde")
_GRADING = ("collect", "submit")
_TIMES = ("release", "due", "cutoff", "return")
# nbgrader takes neither "/" nor "+"; the name becomes a directory in each home
_ASSIGNMENT = re.compile(r"\w[\w .-]{0,98}\w|\w")


def plain(assignments: dict) -> dict:
    """The calendar with its times as ISO 8601 texts; YAML has made times of some."""
    return {str(name): _plain(entry) for name, entry in assignments.items()}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return value.isoformat() if isinstance(value, datetime.date) else value


def faults(assignments: dict, timezone: str, people: list[str]) -> list[str]:
    """What is wrong with a calendar.

    Args:
        assignments: pillar ``classhub:course:assignments``, plain.
        timezone: IANA name of the course's time zone.
        people: usernames of the roster.
    """
    zone = zoneinfo.ZoneInfo(timezone)
    found = []
    for name, entry in assignments.items():
        where = f"classhub:course:assignments:{name}"
        if not _ASSIGNMENT.fullmatch(name):
            found.append(f"{where}: cannot be the name of an assignment")
        elif not isinstance(entry, dict):
            found.append(f"{where}: must be a mapping of {', '.join(KEYS)}")
        else:
            found += [f"{where}:{fault}" for fault in _entry(entry, zone, people)]
    return found


def _entry(entry: dict, zone: zoneinfo.ZoneInfo, people: list[str]) -> list[str]:
    found = [
        f"{key}: unknown setting; there are {', '.join(KEYS)}" for key in entry if key not in KEYS
    ]
    times: dict[str, datetime.datetime] = {}
    for key in _TIMES:
        if key in entry:
            found += _timed(times, key, entry[key], zone)
    found += _order(times)
    grace = entry.get("grace", 0)
    if isinstance(grace, bool) or not isinstance(grace, int) or grace < 0:
        found.append(f"grace: {grace!r} is not a number of seconds")
    grading = entry.get("autograde", "collect")
    if grading not in _GRADING:
        found.append(f"autograde: {grading!r} is not one of {', '.join(_GRADING)}")
    elif "autograde" in entry and grading == "collect" and not {"due", "cutoff"} & set(entry):
        found.append("autograde: there is no due time after which all is collected")
    extensions = entry.get("extensions", {})
    if extensions and "due" not in entry:
        return [*found, "extensions: there is no due time to extend"]
    return found + _extensions(extensions, times.get("due"), zone, people)


def _timed(times: dict, key: str, text: object, zone: zoneinfo.ZoneInfo) -> list[str]:
    """Put a time among the others; the fault if it is none."""
    try:
        times[key] = _moment(text, zone)
    except ValueError as error:
        return [f"{key}: {error}"]
    return []


def _moment(text: object, zone: zoneinfo.ZoneInfo) -> datetime.datetime:
    try:
        time = datetime.datetime.fromisoformat(str(text))
    except ValueError:
        time = None
    if time is None or not re.search(r"\d[T ]\d", str(text)):
        raise ValueError(f"{text!r} is not a time; write 2030-01-31T23:59")
    if time.tzinfo:
        return time.astimezone(datetime.UTC)
    known = time.replace(tzinfo=zone).astimezone(datetime.UTC)
    if known.astimezone(zone).replace(tzinfo=None) != time:
        raise ValueError(f"{text} does not exist in {zone}: the clock is put forward over it")
    return known


def _order(times: dict) -> list[str]:
    """Each time against the one before it."""
    there = [key for key in _TIMES if key in times]
    return [
        f"{later}: is before {earlier}"
        for earlier, later in zip(there, there[1:], strict=False)
        if times[later] < times[earlier]
    ]


def _extensions(
    extensions: object,
    due: datetime.datetime | None,
    zone: zoneinfo.ZoneInfo,
    people: list[str],
) -> list[str]:
    if not isinstance(extensions, dict):
        return ["extensions: must be a mapping of username to time"]
    found, times = [], {}
    for user, text in extensions.items():
        where = f"extensions:{user}"
        if user not in people:
            found.append(f"{where}: is not in the roster")
        told = _timed(times, user, text, zone)
        found += [f"extensions:{fault}" for fault in told]
        if due and user in times and times[user] < due:
            found.append(f"{where}: is before due")
    return found
