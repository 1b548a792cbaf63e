"""The calendar in pillar: every fault is named with its key, and what YAML made of a time is a text again."""

import datetime

import pytest

from tests.support.loading import load

calendar = load("utils", "classhub_calendar")
SOUND = {
    "release": "2030-01-01T08:00",
    "due": "2030-01-31T23:59",
    "cutoff": "2030-02-02T23:59",
    "return": "2030-02-10T12:00",
    "grace": 300,
    "extensions": {"ada": "2030-02-05T23:59"},
}


def faults(changes, name="ps1"):
    return calendar.faults({name: SOUND | changes}, "Europe/Berlin", ["ada"])


def test_a_sound_calendar_has_no_faults():
    assert faults({}) == []
    assert calendar.faults({}, "UTC", []) == []
    assert calendar.faults({"ps1": {"due": "2030-01-31 23:59+05:00"}}, "UTC", []) == []


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ({"autograde": "collect", "due": "2030-01-31T23:59"}, None),
        ({"autograde": "submit"}, None),
        ({"autograde": "always"}, "autograde: 'always' is not one of collect, submit"),
        ({"autograde": "collect"}, "autograde: there is no due time after which all is collected"),
    ],
)
def test_when_it_is_graded_by_itself(entry, fault):
    where = "classhub:course:assignments:ps1:"
    assert calendar.faults({"ps1": entry}, "UTC", []) == ([where + fault] if fault else [])


def test_times_that_yaml_has_made_are_texts_again():
    made = {"ps1": {"due": datetime.datetime(2030, 1, 31, 23, 59), "extensions": {"ada": "x"}}}
    assert calendar.plain(made) == {
        "ps1": {"due": "2030-01-31T23:59:00", "extensions": {"ada": "x"}}
    }


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"do": "2030-01-31T23:59"}, "do: unknown setting; there are release, due"),
        ({"due": "tomorrow"}, "due: 'tomorrow' is not a time; write 2030-01-31T23:59"),
        ({"due": "2030-01-31"}, "due: '2030-01-31' is not a time"),
        ({"due": 5}, "due: 5 is not a time"),
        ({"return": "2030-03-31T02:30"}, "return: 2030-03-31T02:30 does not exist in Europe/Ber"),
        ({"due": "2029-12-31T00:00"}, "due: is before release"),
        ({"cutoff": "2030-01-02T00:00"}, "cutoff: is before due"),
        ({"return": "2030-02-01T00:00"}, "return: is before cutoff"),
        ({"grace": -1}, "grace: -1 is not a number of seconds"),
        ({"grace": "10m"}, "grace: '10m' is not a number of seconds"),
        ({"extensions": {"eve": "2030-02-05T23:59"}}, "extensions:eve: is not in the roster"),
        ({"extensions": {"ada": "2030-01-05T23:59"}}, "extensions:ada: is before due"),
        ({"extensions": {"ada": "soon"}}, "extensions:ada: 'soon' is not a time"),
        ({"extensions": ["ada"]}, "extensions: must be a mapping"),
    ],
)
def test_a_fault_is_named_with_its_key(changes, fault):
    (found,) = faults(changes)
    assert found.startswith(f"classhub:course:assignments:ps1:{fault}")


def test_an_extension_of_nothing():
    found = calendar.faults({"ps1": {"extensions": {"ada": "2030-01-01T00:00"}}}, "UTC", ["ada"])
    assert found == ["classhub:course:assignments:ps1:extensions: there is no due time to extend"]


@pytest.mark.parametrize("name", ["a/b", ".hidden", "a+b", ""])
def test_a_name_that_no_assignment_can_have(name):
    assert "cannot be the name" in faults({}, name)[0]


def test_an_assignment_that_is_no_mapping():
    (found,) = calendar.faults({"ps1": "2030-01-31"}, "UTC", [])
    assert "must be a mapping of release, due" in found


def test_an_hour_that_comes_twice_is_taken():
    assert calendar.faults({"ps1": {"due": "2030-10-27T02:30"}}, "Europe/Berlin", []) == []


# -- when nothing is stopped, and for whom

PEOPLE = [{"username": "ada", "section": "A"}, {"username": "bob", "section": "1"}]
NONE = {"assignments": {}, "exams": [], "sections": {}, "pins": []}
EXAM = {"from": "2030-06-01T09:00", "to": "2030-06-01T12:00"}
CULLS = [
    ({}, None),
    ({"pins": ["ada"], "sections": {"A": {}, "1": {}}}, None),
    ({"assignments": {"ps1": {"open": True, "before_due": 120}}}, None),
    ({"exams": [EXAM, EXAM | {"sections": ["A", 1]}]}, None),
    ({"pins": ["ada", "eve"]}, "pins: eve is not in the roster"),
    ({"pins": [{"ada": 1}]}, "pins: {'ada': 1} is not in the roster"),
    ({"sections": {"B": {}}}, "sections:B: nobody is in it"),
    ({"assignments": {"ps9": {"open": True}}}, "assignments:ps9: is not in the calendar"),
    ({"assignments": {"ps1": True}}, "assignments:ps1: must be a mapping of open, before_due"),
    (
        {"assignments": {"ps1": {"opens": True}}},
        "assignments:ps1: opens: unknown setting; there are open, before_due",
    ),
    ({"assignments": {"ps1": {"open": "yes"}}}, "assignments:ps1: open: must be true or false"),
    (
        {"assignments": {"ps1": {"before_due": "2h"}}},
        "assignments:ps1: before_due: '2h' is not a number of minutes",
    ),
    (
        {"assignments": {"ps2": {"open": True}}},
        "assignments:ps2: it has no due time in the calendar",
    ),
    ({"exams": ["2030-06-01"]}, "exams:0: must be a mapping of from, to, sections"),
    ({"exams": [{"from": EXAM["from"]}]}, "exams:0: to: '' is not a time; write 2030-01-31T23:59"),
    ({"exams": [EXAM, EXAM | {"to": EXAM["from"]}]}, "exams:1: to: is not after from"),
    ({"exams": [EXAM | {"sections": "A"}]}, "exams:0: sections: must be a list"),
    ({"exams": [EXAM | {"sections": ["A", "B"]}]}, "exams:0: sections: nobody is in B"),
    (
        {"exams": [EXAM | {"room": 5}]},
        "exams:0: room: unknown setting; there are from, to, section",
    ),
    ({"exams": [EXAM | {"from": "2030-03-31T02:30"}]}, "exams:0: from: 2030-03-31T02:30 does not"),
]


@pytest.mark.parametrize(("cull", "fault"), CULLS)
def test_what_culling_says_about_times_and_people(cull, fault):
    plan = {"ps1": SOUND, "ps2": {"release": "2030-01-01T08:00"}}
    found = calendar.cull_faults(NONE | cull, plan, "Europe/Berlin", PEOPLE)
    if fault is None:
        assert found == []
    else:
        (told,) = found
        assert told.startswith(f"classhub:cull:{fault}")


def test_times_in_lists_are_texts_too():
    exam = {"from": datetime.datetime(2030, 6, 1, 9), "sections": ["A"]}
    assert calendar.plain({"exams": [exam]}) == {
        "exams": [{"from": "2030-06-01T09:00:00", "sections": ["A"]}]
    }
