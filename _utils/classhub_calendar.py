"""The course's calendar as a class writes it, and what culling says about times and people: every fault found at once,
and plain text for those who read it.

Pure functions; `_pillar/classhub.py` calls them on the master.
"""

import datetime
import re
import zoneinfo

KEYS = ("release", "due", "cutoff", "return", "grace", "extensions", "autograde")
_GRADING = ("collect", "submit")
_GUARDS = ("open", "before_due")
_EXAM = ("from", "to", "sections")
_TIMES = ("release", "due", "cutoff", "return")
# nbgrader takes neither "/" nor "+"; the name becomes a directory in each home
_ASSIGNMENT = re.compile(r"\w[\w .-]{0,98}\w|\w")


def plain(value: object) -> object:
    """A calendar, or a part of one, with its times as ISO 8601 texts; YAML has made times of some."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, datetime.date) else value


def faults(assignments: dict, timezone: str, people: list[str]) -> list[str]:
    """What is wrong with a calendar.

    Args:
        assignments: pillar ``classhub:course:assignments``, plain.
        timezone: IANA name of the course's time zone.
        people: usernames of the roster.
    """
    zone = _zone(timezone)
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
    found = _unknown(entry, KEYS)
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


# -- when nothing is stopped, and for whom ----------------------------------------------------------------------------


def cull_faults(cull: dict, assignments: dict, timezone: str, people: list[dict]) -> list[str]:
    """What is wrong with culling's assignments, exams, sections and pins.

    Args:
        cull: pillar ``classhub:cull``, plain.
        assignments: the calendar, plain.
        timezone: IANA name of the course's time zone.
        people: the roster.
    """
    zone = _zone(timezone)
    sections = {person["section"] for person in people}
    strangers = set(map(str, cull["pins"])) - {person["username"] for person in people}
    found = [f"pins: {name} is not in the roster" for name in sorted(strangers)]
    found += [
        f"sections:{name}: nobody is in it" for name in sorted(set(cull["sections"]) - sections)
    ]
    for name, entry in cull["assignments"].items():
        known = name in assignments
        told = _guarded(entry, assignments[name]) if known else ["is not in the calendar"]
        found += [f"assignments:{name}: {fault}" for fault in told]
    for number, exam in enumerate(cull["exams"]):
        found += [f"exams:{number}: {fault}" for fault in _exam(exam, zone, sections)]
    return [f"classhub:cull:{fault}" for fault in found]


def _guarded(entry: object, assignment: object) -> list[str]:
    """Faults of what is said about an assignment while, or before, which nothing is stopped."""
    if not isinstance(entry, dict):
        return [f"must be a mapping of {', '.join(_GUARDS)}"]
    found = _unknown(entry, _GUARDS)
    if not isinstance(entry.get("open", False), bool):
        found.append("open: must be true or false")
    minutes = entry.get("before_due", 0)
    if isinstance(minutes, bool) or not isinstance(minutes, int) or minutes < 0:
        found.append(f"before_due: {minutes!r} is not a number of minutes")
    if isinstance(assignment, dict) and not {"due", "cutoff"} & set(assignment):
        found.append("it has no due time in the calendar, at which that would end")
    return found


def _exam(exam: object, zone: zoneinfo.ZoneInfo, sections: set[str]) -> list[str]:
    if not isinstance(exam, dict):
        return [f"must be a mapping of {', '.join(_EXAM)}"]
    found, times = _unknown(exam, _EXAM), {}
    for key in ("from", "to"):
        found += _timed(times, key, exam.get(key, ""), zone)
    if len(times) == 2 and times["to"] <= times["from"]:
        found.append("to: is not after from")
    named = exam.get("sections", [])
    if not isinstance(named, list):
        return [*found, "sections: must be a list"]
    missing = sorted(set(map(str, named)) - sections)
    return found + [f"sections: nobody is in {name}" for name in missing]


def _unknown(entry: dict, keys: tuple[str, ...]) -> list[str]:
    return [
        f"{key}: unknown setting; there are {', '.join(keys)}" for key in entry if key not in keys
    ]


def _zone(name: str) -> zoneinfo.ZoneInfo:
    """A time zone; UTC for one that does not exist, which is a fault of its own."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return zoneinfo.ZoneInfo("UTC")
