"""Whether a server is stopped: every reason to keep one, and the order in which they count."""

import dataclasses
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

import tests.support.hub  # noqa: F401  isort: skip

from classhub.course.settings import Person, Settings
from classhub.culling import policy
from classhub.culling.policy import (
    Case,
    Decision,
    Look,
    Room,
    Seen,
    Server,
    before_asking,
    relieve,
    upon,
)
from classhub.culling.rules import Limits, Rules
from classhub.culling.windows import Windows

NOW = datetime(2030, 3, 15, 12, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
LIMITS = Limits(idle=DAY, cap=timedelta(), grace=HOUR)


def server(**facts):
    return Server("ada", "", **({"started": NOW - 9 * DAY} | facts))


def case(limits=LIMITS, **facts):
    own = {key: facts.pop(key) for key in ("started", "pending", "ready") if key in facts}
    return Case(server(**own), limits, **facts)


# -- what needs no question

SETTLED = [
    ({"pending": "spawn"}, "pending", "pending spawn"),
    ({"pending": "stop"}, "pending", "pending stop"),
    ({"ready": False}, "pending", "not ready"),
    ({"pending": "spawn", "pinned": True}, "pending", "pending spawn"),
    ({"pinned": True}, "pinned", "pinned"),
    ({"pinned": True, "protection": "an exam"}, "pinned", "pinned"),
    ({"protection": "an exam, until 13:00"}, "protected", "an exam, until 13:00"),
    ({"started": None}, "unknown", "the hub does not say since when it runs"),
    ({"started": NOW - 3 * HOUR}, "active", "started 3:00 ago"),
    ({"started": NOW + 3 * HOUR}, "active", "started 0:00 ago"),  # a clock was put back
    ({"started": NOW - DAY + MINUTE}, "active", "started 23:59 ago"),
    ({"started": NOW - DAY}, None, ""),
    ({"started": NOW - 3 * HOUR, "pressed": True}, None, ""),
    ({"started": NOW - 59 * MINUTE, "pressed": True}, "active", "started 0:59 ago"),
    ({"pressed": True, "pinned": True}, "pinned", "pinned"),
    ({}, None, ""),
]


@pytest.mark.parametrize(("facts", "kind", "words"), SETTLED)
def test_what_is_settled_before_a_server_is_asked(facts, kind, words):
    found = before_asking(case(**facts), NOW)
    if kind is None:
        assert found is None
    else:
        assert found == Decision(False, kind, words)


# -- what a server's own word leads to


def looked(quiet, busy="", ended=None):
    return Look(NOW - quiet, busy, None if ended is None else NOW - ended)


CAP = LIMITS._replace(cap=3 * DAY)
BUSY = "1 of 2 kernels busy"
# Each: (look, facts of the case, stop, kind, words)
UPON = [
    (looked(DAY), {}, True, "idle", "idle 24:00"),
    (looked(26 * HOUR + 3 * MINUTE), {}, True, "idle", "idle 26:03"),
    (looked(DAY - MINUTE), {}, False, "active", "active 23:59 ago"),
    (looked(timedelta(0)), {}, False, "active", "active 0:00 ago"),
    (looked(-HOUR), {}, False, "active", "active 0:00 ago"),  # its clock is ahead
    # it cannot be asked
    (Look(error="it answers 500"), {}, False, "unanswered", "kept, as it cannot be asked: it "),
    (Look(error="x"), {"limits": CAP, "seen": Seen(NOW - 9 * DAY, NOW)}, False, "unanswered", "k"),
    # something runs in it
    (looked(5 * DAY, BUSY), {}, False, "busy", "1 of 2 kernels busy, idle 120:00"),
    (looked(90 * DAY, BUSY), {"seen": Seen(NOW - 90 * DAY, NOW)}, False, "busy", BUSY),
    (looked(timedelta(0), BUSY), {}, False, "active", "active 0:00 ago"),
    # a cap counts from the first look that found it busy
    (looked(5 * DAY, BUSY), {"limits": CAP}, False, "busy", BUSY),
    (looked(5 * DAY, BUSY), {"limits": CAP, "seen": Seen(NOW - 2 * DAY, NOW)}, False, "busy", BUSY),
    (looked(5 * DAY, BUSY), {"limits": CAP, "seen": Seen(NOW - 3 * DAY, NOW)}, True, "cap", "busy for"),
    (looked(MINUTE, BUSY), {"limits": CAP, "seen": Seen(NOW - 3 * DAY, NOW)}, True, "cap", "busy for 72:"),
    (looked(MINUTE, BUSY), {"limits": CAP, "seen": Seen(NOW + DAY, NOW)}, False, "active", "active"),
    (looked(MINUTE), {"limits": CAP, "seen": Seen(NOW - 3 * DAY, NOW)}, False, "active", "active"),
    # it was busy a moment ago
    (looked(DAY, ended=59 * MINUTE), {}, False, "grace", "was busy 0:59 ago, idle 24:00"),
    (looked(DAY, ended=HOUR), {}, True, "idle", "idle 24:00"),
    (looked(DAY), {"seen": Seen(None, NOW - 59 * MINUTE)}, False, "grace", "was busy 0:59 ago"),
    (looked(DAY), {"seen": Seen(None, NOW - HOUR)}, True, "idle", "idle 24:00"),
    (looked(DAY, ended=2 * HOUR), {"seen": Seen(None, NOW - MINUTE)}, False, "grace", "was busy 0:01"),
    (looked(DAY), {"seen": Seen(None, NOW + DAY)}, True, "idle", "idle"),  # a clock was put back
    # the limits of its student
    (looked(2 * HOUR), {"limits": Limits(HOUR, timedelta(), timedelta())}, True, "idle", "idle 2:00"),
    (looked(2 * DAY), {"limits": Limits(3 * DAY, timedelta(), HOUR)}, False, "active", "active 48:"),
    (looked(timedelta(0)), {"limits": Limits(timedelta(), timedelta(), timedelta())}, True, "idle", "i"),
]  # fmt: skip


@pytest.mark.parametrize(("look", "facts", "stop", "kind", "words"), UPON)
def test_what_is_decided_upon_a_servers_own_word(look, facts, stop, kind, words):
    found = upon(case(**facts), look, NOW)
    assert (found.stop, found.kind) == (stop, kind)
    assert found.words.startswith(words)
    assert found.spare is None


SPARE = [
    (looked(2 * HOUR), 2 * HOUR),
    (looked(HOUR), HOUR),
    (looked(59 * MINUTE), None),
    (looked(2 * HOUR, BUSY), None),
    (looked(2 * HOUR, ended=30 * MINUTE), None),
    (Look(error="x"), None),
]


@pytest.mark.parametrize(("look", "spare"), SPARE)
def test_where_memory_is_short_the_grace_is_enough(look, spare):
    found = upon(case(pressed=True), look, NOW)
    assert not found.stop
    assert found.spare == spare
    assert upon(case(), look, NOW).spare is None


# -- what is remembered


def test_busy_since_the_first_look_of_an_unbroken_row():
    busy, idle, silent = Look(NOW, BUSY), Look(NOW), Look(error="x")
    one = Seen().after(busy, NOW)
    assert one == Seen(NOW, NOW)
    two = one.after(silent, NOW + HOUR).after(busy, NOW + 2 * HOUR)
    assert two == Seen(NOW, NOW + 2 * HOUR)
    three = two.after(idle, NOW + 3 * HOUR)
    assert three == Seen(None, NOW + 2 * HOUR)
    assert three.after(busy, NOW + 4 * HOUR) == Seen(NOW + 4 * HOUR, NOW + 4 * HOUR)


def test_hourly_runs_see_a_computation_end():
    """Busy at two runs, then at rest: kept for the grace after it was last seen busy, and then no more."""
    grace = LIMITS._replace(grace=90 * MINUTE)
    seen, kinds = Seen(), []
    for hour in range(5):
        now = NOW + hour * HOUR
        look = Look(NOW - 2 * DAY, BUSY if hour < 2 else "")
        kinds.append(upon(case(grace, seen=seen), look, now).kind)
        seen = seen.after(look, now)
    assert kinds == ["busy", "busy", "grace", "idle", "idle"]


# -- short of memory

GIB = 1 << 30


def pressed(*quiet, memory=GIB, node="n1"):
    """Cases that may be stopped for their memory, and their decisions."""
    cases, decisions = [], {}
    for number, hours in enumerate(quiet):
        one = Case(Server(f"{node}s{number}", "", NOW - 9 * DAY), LIMITS, node=node, memory=memory)
        cases.append(one)
        spare = None if hours is None else hours * HOUR
        decisions[one.server.key] = Decision(False, "active", "active", spare)
    return cases, decisions


RELIEVED = [
    # (reserved of ten, pressure, hours idle, who is stopped)
    (10, 0.8, (1, 5, 3), ["n1s1", "n1s2"]),
    (9, 0.8, (1, 5, 3), ["n1s1"]),
    (8, 0.8, (1, 5, 3), []),
    (10, 0.5, (1, 5, 3), ["n1s1", "n1s2", "n1s0"]),
    (10, 0.0, (1, 5, 3), []),
    (10, 0.8, (None, None, 3), ["n1s2"]),
    (10, 0.9, (2, 2, 2), ["n1s0"]),
]


@pytest.mark.parametrize(("reserved", "pressure", "quiet", "stopped"), RELIEVED)
def test_those_that_idle_longest_are_stopped_until_there_is_room(
    reserved, pressure, quiet, stopped
):
    cases, decisions = pressed(*quiet)
    rooms = {"n1": Room("node1", 10 * GIB, reserved * GIB)}
    found = relieve(cases, decisions, rooms, pressure)
    assert list(found) == stopped
    assert all(one.stop and one.kind == "pressure" for one in found.values())


def test_what_is_stopped_anyway_makes_room_first():
    cases, decisions = pressed(1, 5)
    decisions["n1s0"] = Decision(True, "idle", "idle 25:00")
    assert relieve(cases, decisions, {"n1": Room("node1", 10 * GIB, 9 * GIB)}, 0.8) == {}


def test_each_node_is_relieved_by_its_own_servers():
    one, two = pressed(5), pressed(2, node="n2")
    rooms = {"n1": Room("node1", 10 * GIB, 5 * GIB), "n2": Room("node2", 10 * GIB, 9 * GIB)}
    found = relieve([*one[0], *two[0]], one[1] | two[1], rooms, 0.8)
    assert {key: decision.words for key, decision in found.items()} == {
        "n2s0": "idle 2:00, node2 is short of memory"
    }


def test_a_server_that_reserves_nothing_is_not_stopped_for_memory():
    cases, decisions = pressed(5, memory=0)
    assert relieve(cases, decisions, {"n1": Room("node1", 10 * GIB, 9 * GIB)}, 0.8) == {}


# -- overrides

RULES = Rules(
    idle=86400,
    grace=600,
    roles={"instructor": {"idle": 10}, "grader": {"cap": 20}},
    sections={"B": {"idle": 30, "grace": 0}},
)


@pytest.mark.parametrize(
    ("role", "section", "idle", "cap", "grace"),
    [
        ("student", "", 86400, 0, 600),
        ("student", "A", 86400, 0, 600),
        ("instructor", "A", 10, 0, 600),
        ("grader", "", 86400, 20, 600),
        ("student", "B", 30, 0, 0),
        ("instructor", "B", 30, 0, 0),
        ("grader", "B", 30, 20, 0),
    ],
)
def test_a_section_counts_before_a_role(role, section, idle, cap, grace):
    assert RULES.limits(role, section) == Limits(
        *(timedelta(seconds=seconds) for seconds in (idle, cap, grace))
    )


def test_who_is_not_in_the_roster_has_the_class_own_limits():
    assert RULES.limits().idle == DAY


# -- times in which nothing is stopped

PEOPLE = (
    Person("ada", 20001, section="A"),
    Person("bob", 20002, section="B"),
    Person("prof", 20003, role="instructor"),
)
ENTRY = {"release": "2030-03-01T08:00", "due": "2030-03-31T12:00"}


def windows(entry=ENTRY, **rules):
    settings = Settings(
        "intro",
        PEOPLE,
        timezone="Europe/Berlin",
        assignments={"ps1": entry},
        cull=Rules(**rules),
    )
    return Windows(settings)


def berlin(text):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)


OPEN = {"assignments": {"ps1": {"open": True}}}
BEFORE = {"before_due": 120}
EXAM = {"exams": [{"from": "2030-06-01T09:00", "to": "2030-06-01T12:00", "sections": ["B"]}]}
ALL = {"exams": [{"from": "2030-06-01T09:00", "to": "2030-06-01T12:00"}]}
CUTOFF = ENTRY | {"cutoff": "2030-04-02T12:00"}
LATER = ENTRY | {"extensions": {"ada": "2030-04-05T12:00"}}
# Each: (entry, rules, user, when in Berlin, whether it holds)
HELD = [
    (ENTRY, {}, "ada", "2030-03-31T11:59", False),
    # open
    (ENTRY, OPEN, "ada", "2030-03-01T07:59", False),
    (ENTRY, OPEN, "ada", "2030-03-01T08:00", True),
    (ENTRY, OPEN, "prof", "2030-03-10T08:00", True),
    (ENTRY, OPEN, "stranger", "2030-03-10T08:00", True),
    (ENTRY, OPEN, "ada", "2030-03-31T11:59", True),
    (ENTRY, OPEN, "ada", "2030-03-31T12:00", False),
    (CUTOFF, OPEN, "ada", "2030-04-02T11:59", True),
    (CUTOFF, OPEN, "ada", "2030-04-02T12:00", False),
    (LATER, OPEN, "ada", "2030-04-05T11:59", True),
    (LATER, OPEN, "bob", "2030-04-05T11:59", False),
    ({"due": "2030-03-31T12:00"}, OPEN, "ada", "2029-01-01T00:00", True),
    ({"release": "2030-03-01T08:00"}, OPEN, "ada", "2030-03-10T08:00", False),
    (ENTRY, {"assignments": {"ps1": {"open": False}}}, "ada", "2030-03-10T08:00", False),
    (ENTRY | {"grace": 600}, OPEN, "ada", "2030-03-31T12:09", True),
    # before it is due; clocks in Berlin go forward at two on March 31
    (ENTRY, BEFORE, "ada", "2030-03-31T09:59", False),
    (ENTRY, BEFORE, "ada", "2030-03-31T10:00", True),
    (ENTRY, BEFORE, "ada", "2030-03-31T12:00", False),
    (ENTRY, BEFORE | {"assignments": {"ps1": {"before_due": 0}}}, "ada", "2030-03-31T11:00", False),
    (
        ENTRY,
        BEFORE | {"assignments": {"ps1": {"before_due": 600}}},
        "ada",
        "2030-03-31T00:59",
        False,
    ),
    (
        ENTRY,
        BEFORE | {"assignments": {"ps1": {"before_due": 600}}},
        "ada",
        "2030-03-31T01:00",
        True,
    ),
    (LATER, BEFORE, "ada", "2030-04-05T11:00", True),
    (LATER, BEFORE, "ada", "2030-03-31T11:00", False),
    (LATER, BEFORE, "bob", "2030-03-31T11:00", True),
    ({"due": "2030-03-31T03:30"}, BEFORE, "ada", "2030-03-31T00:29", False),
    ({"due": "2030-03-31T03:30"}, BEFORE, "ada", "2030-03-31T00:30", True),
    (
        {"due": "2030-10-27T02:30"},
        BEFORE,
        "ada",
        "2030-10-27T00:30",
        True,
    ),  # comes twice: the first
    # exams
    (ENTRY, EXAM, "bob", "2030-06-01T08:59", False),
    (ENTRY, EXAM, "bob", "2030-06-01T09:00", True),
    (ENTRY, EXAM, "bob", "2030-06-01T12:00", False),
    (ENTRY, EXAM, "ada", "2030-06-01T10:00", False),
    (ENTRY, EXAM, "prof", "2030-06-01T10:00", False),
    (ENTRY, ALL, "prof", "2030-06-01T10:00", True),
    (ENTRY, ALL, "stranger", "2030-06-01T10:00", True),
]


@pytest.mark.parametrize(("entry", "rules", "user", "when", "held"), HELD)
def test_times_in_which_nothing_is_stopped(entry, rules, user, when, held):
    assert bool(windows(entry, **rules).protection(user, berlin(when))) == held


def test_two_hours_before_three_in_the_morning_of_the_long_night():
    """The wall clock shows 00:30 two hours before 03:30, as the hour after two is left out; in autumn it is 02:30."""
    spring = windows({"due": "2030-03-31T03:30"}, **BEFORE)
    assert spring.protection("ada", datetime(2030, 3, 30, 23, 30, tzinfo=UTC))
    assert not spring.protection("ada", datetime(2030, 3, 30, 23, 29, tzinfo=UTC))
    autumn = windows({"due": "2030-10-27T03:30"}, **BEFORE)
    assert autumn.protection("ada", datetime(2030, 10, 27, 0, 30, tzinfo=UTC))
    assert not autumn.protection("ada", datetime(2030, 10, 27, 0, 29, tzinfo=UTC))


def test_why_nothing_is_stopped_is_told_with_the_last_end():
    rules = OPEN | {"exams": [{"from": "2030-03-02T09:00", "to": "2030-03-02T12:00"}]}
    told = windows(ENTRY, **rules).protection("ada", berlin("2030-03-02T10:00"))
    assert told == "ps1 is open, until 2030-03-31 12:00"


def test_every_limit_can_be_overridden():
    names = {item.name for item in dataclasses.fields(Rules)}
    assert set(Limits._fields) <= names


@pytest.mark.parametrize(
    ("time", "shown"),
    [(timedelta(0), "0:00"), (-HOUR, "0:00"), (59 * MINUTE, "0:59"), (2 * DAY + MINUTE, "48:01")],
)
def test_durations_are_hours_and_minutes(time, shown):
    assert policy.clock(time) == shown
